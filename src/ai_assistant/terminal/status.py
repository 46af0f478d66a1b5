"""`ai-assistant status`: what a running gateway says of itself and its parts."""

import json
import re
from typing import Annotated, Any

import httpx
import typer
from pydantic import AliasChoices, Field
from rich.console import Console
from rich.table import Table

from ai_assistant.errors import AssistantError
from ai_assistant.settings import PREFIX, ClientSettings
from ai_assistant.terminal.gateway_client import GatewayClient

QUEUE_METRICS = {
    "ai_assistant_queue_depth": "in Redis",
    "ai_assistant_tasks": "",
    "ai_assistant_queue_oldest_seconds": "oldest, s",
}
_SAMPLE = re.compile(r"^(\w+)\{([^}]*)\} (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


class StatusSettings(ClientSettings):
    """ClientSettings, and where /metrics is: it has the numbers of the queues."""

    internal_port: int | None = Field(
        None, validation_alias=AliasChoices(f"{PREFIX}INTERNAL_PORT", "INTERNAL_PORT", "internal_port")
    )

    @property
    def metrics_url(self) -> str | None:
        """Only on this machine: elsewhere the second port is nobody's business."""
        return None if self.gateway_url else f"http://127.0.0.1:{self.internal_port or self.port + 1}/metrics"


def status(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show whether a running ai-assistant is ready, its queues and its workers; exit code 0 if it is."""
    try:
        settings = StatusSettings.load()
        key = settings.gateway_key.get_secret_value() if settings.gateway_key else None
        with GatewayClient(settings.url, key) as client:
            is_ready, body = client.readiness()
        if queues := read_queues(settings.metrics_url):
            body["queues"] = queues
    except AssistantError as error:
        if as_json:
            typer.echo(json.dumps({"status": "unreachable", "error": {"code": error.code, "message": error.message}}))
        typer.echo(f"error: {error.message}", err=True)
        raise typer.Exit(1) from error
    if as_json:
        typer.echo(json.dumps(body, ensure_ascii=False, indent=2))
    else:
        console = Console(highlight=False, markup=False)
        console.print(parts_table(settings.url, body))
        for name in ("assistants", "queues", "workers"):
            if items := rows(body.get(name)):
                console.print(items_table(name, items))
    raise typer.Exit(0 if is_ready else 1)


def read_queues(url: str | None) -> list[dict[str, Any]]:
    """Numbers of each assistant's queue; none where /metrics cannot be read."""
    if url is None:
        return []
    try:
        response = httpx.get(url, timeout=3, trust_env=False)
    except httpx.HTTPError:
        return []
    return queues_in(response.text) if response.is_success else []


def queues_in(metrics: str) -> list[dict[str, Any]]:
    """The queue metrics of a page of metrics, one row per assistant."""
    found: dict[str, dict[str, Any]] = {}
    for name, labels, value in _SAMPLE.findall(metrics):
        if name not in QUEUE_METRICS:
            continue
        label = dict(_LABEL.findall(labels))
        assistant = label.get("assistant", "")
        row = found.setdefault(assistant, {"assistant": assistant})
        row[QUEUE_METRICS[name] or label.get("state", "")] = round(float(value), 1)
    return list(found.values())


def parts_table(url: str, body: dict[str, Any]) -> Table:
    """The gateway and what it depends on, one row each."""
    table = Table("Part", "State", title="ai-assistant", title_justify="left")
    table.add_row("gateway", f"{body.get('status', 'unknown')}  ({url})")
    for name, value in body.items():
        if name != "status" and not isinstance(value, list):
            table.add_row(name, plain(value))
    if isinstance(body.get("workers"), list):
        # The gateway knows workers by the tasks that they hold.
        table.add_row("workers", f"{len(body['workers'])} busy" if body["workers"] else "none is busy")
    return table


def items_table(title: str, items: list[dict[str, Any]]) -> Table:
    """One row per assistant or worker; the columns are what the gateway tells."""
    columns = list(dict.fromkeys(name for item in items for name in item))
    table = Table(*columns, title=title.capitalize(), title_justify="left")
    for item in items:
        table.add_row(*(plain(item.get(column)) for column in columns))
    return table


def rows(value: Any) -> list[dict[str, Any]]:
    """A list of objects or names, or an object of objects, as a list of objects."""
    if isinstance(value, dict):
        value = [{"name": name} | (item if isinstance(item, dict) else {"value": item}) for name, item in value.items()]
    if not isinstance(value, list):
        return []
    return [item if isinstance(item, dict) else {"name": item} for item in value]


def plain(value: Any) -> str:
    """A value for a cell."""
    if value is None:
        return "-"
    if isinstance(value, dict):
        return ", ".join(f"{name} {plain(item)}" for name, item in value.items())
    if isinstance(value, list):
        return ", ".join(plain(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
