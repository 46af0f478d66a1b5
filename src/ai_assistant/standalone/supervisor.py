"""Runs the whole product on one machine: starts everything in order, keeps it running, stops it in order."""

import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

from ai_assistant.provision.sources import shown_source
from ai_assistant.settings import StandaloneSettings
from ai_assistant.standalone.banner import ready_block
from ai_assistant.standalone.commands import Commands
from ai_assistant.standalone.console import Console
from ai_assistant.standalone.data_folder import FIRST_BUILD_BYTES, RUN_BYTES, DataFolder
from ai_assistant.standalone.environment import (
    Plan,
    bot_environment,
    bot_key,
    common_environment,
    gateway_environment,
    make_plan,
    worker_environment,
)
from ai_assistant.standalone.external import require_postgres, require_redis
from ai_assistant.standalone.ports import chosen_port
from ai_assistant.standalone.postgres import EmbeddedPostgres
from ai_assistant.standalone.process import Child, ChildFailedError, Program
from ai_assistant.standalone.programs import bot_program, python_program, server_program
from ai_assistant.standalone.valkey import EmbeddedValkey

PROGRAM = (sys.executable, "-m", "ai_assistant")

START_SECONDS = 300.0
"""A part that lives that long without getting ready never will."""

# Everything is gone within 5 s of Ctrl-C: the sum along the longest way.
BOT_SECONDS = 0.8
GATEWAY_SECONDS = 1.5
GATEWAY_HEAD_START = 0.5
WORKER_SPARE_SECONDS = 1.2
VALKEY_SECONDS = 0.5
POSTGRES_SECONDS = 1.0


class Supervisor:
    """One run of `ai-assistant up`."""

    def __init__(self, settings: StandaloneSettings, console: Console, *, program: Sequence[str] = PROGRAM) -> None:
        self._settings = settings
        self._console = console
        self._program = list(program)
        self._logs = settings.data_dir.expanduser().absolute() / "logs"
        self._children: dict[str, Child] = {}
        self._runs: dict[str, asyncio.Task[None]] = {}
        self._commands: Commands | None = None
        self._stop = asyncio.Event()
        self._drain_seconds = 1.0

    async def run(self) -> None:
        """Returns after Ctrl-C, SIGTERM or SIGHUP; raises an AssistantError with a sentence if something cannot be started."""
        began = time.monotonic()
        settings = self._settings
        host, internal_host = settings.host, settings.internal_address[0]
        folder = DataFolder(settings.data_dir)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, self._on_signal)
        try:
            port = chosen_port(host, settings.port, "PORT", "page and API")
            internal = port + 1 if settings.internal_port is None else settings.internal_port
            internal_port = chosen_port(internal_host, internal, "INTERNAL_PORT", "metrics")
            plan = make_plan(settings, folder.path, port, internal_port)
            self._drain_seconds = plan.drain_seconds
            self._commands = Commands(self._program, self._console, folder.logs)
            if await self._until_stopped(self._start(plan, folder)):
                self._console.show(ready_block(plan, folder.logs, time.monotonic() - began))
                await self._until_stopped(asyncio.Event().wait())
        finally:
            await self._stop_everything()
            folder.release()

    def _on_signal(self) -> None:
        if not self._stop.is_set():
            self._stop.set()
            return
        for child in self._children.values():
            child.kill()
        if self._commands:
            self._commands.kill()

    async def _until_stopped(self, work: Coroutine[Any, Any, Any]) -> bool:
        """Do `work` unless a signal or a child's failure comes first; whether it was done."""
        task = asyncio.ensure_future(work)
        stop = asyncio.ensure_future(self._stop.wait())
        try:
            while True:
                running = (run for run in self._runs.values() if not run.done())
                await asyncio.wait({task, stop, *running}, timeout=0.2, return_when=asyncio.FIRST_COMPLETED)
                for run in self._runs.values():
                    if run.done():
                        run.result()
                if self._stop.is_set():
                    return False
                if task.done():
                    task.result()
                    return True
        finally:
            for pending in (task, stop):
                pending.cancel()
            await asyncio.gather(task, stop, return_exceptions=True)

    async def _start(self, plan: Plan, folder: DataFolder) -> None:
        folder.require_space(RUN_BYTES, "ai-assistant")
        given = plan.worker.model_package
        is_remote = plan.worker.remote_url is not None
        first = not is_remote and given is None and not any(plan.store.glob("*/manifest.json"))
        if first:
            folder.require_space(FIRST_BUILD_BYTES, "The first start (model and database)", plan.store)
        # A build shows a bar, so it has the terminal for itself; a model that is there is only looked up, beside the database.
        building = None if is_remote or given or first else asyncio.create_task(self._build(plan, draws=False))
        try:
            database_url, redis_url = await asyncio.gather(self._postgres(plan), self._valkey(plan))
            common = common_environment(plan, database_url, redis_url)
            async with self._console.step("Preparing the database"):
                await self._commands_or_fail().migrate(common)
            package = given
            if package is None and not is_remote:
                package = await building if building else await self._build(plan, draws=self._console.is_terminal)
        finally:
            if building:
                building.cancel()
                await asyncio.gather(building, return_exceptions=True)
        key = bot_key(plan)
        gateway = python_program("gateway", self._program, gateway_environment(plan, common, key), f"{plan.url}/readyz")
        worker = python_program("worker", self._program, worker_environment(plan, common, package), f"{plan.worker_url}/readyz")
        async with self._console.step("Starting the gateway and the worker"):
            await asyncio.gather(self._healthy(self._launch(gateway)), self._healthy(self._launch(worker)))
        if self._settings.telegram_token is not None:
            self._launch(bot_program(self._program, bot_environment(plan, common, key), f"{plan.bot_url}/livez"))

    async def _postgres(self, plan: Plan) -> str:
        if self._settings.database_url is not None:
            url = self._settings.database_url.get_secret_value()
            await require_postgres(url)
            return url
        embedded = EmbeddedPostgres(plan.data_dir)
        async with self._console.step("Starting PostgreSQL"):
            await self._healthy(self._launch(server_program(embedded)))
        return embedded.url

    async def _valkey(self, plan: Plan) -> str:
        if self._settings.redis_url is not None:
            url = self._settings.redis_url.get_secret_value()
            await require_redis(url)
            return url
        embedded = EmbeddedValkey(plan.data_dir)
        async with self._console.step("Starting Valkey"):
            await self._healthy(self._launch(server_program(embedded)))
        return embedded.url

    async def _build(self, plan: Plan, *, draws: bool) -> Path:
        settings = plan.settings
        precision = "" if settings.precision == "auto" else f" ({settings.precision})"
        async with self._console.step(f"Preparing the model {shown_source(settings.model)}{precision}", announced=draws):
            environment = common_environment(plan, "", "")
            return await self._commands_or_fail().build_model(
                settings.model, settings.precision, settings.device, plan.store, environment
            )

    def _commands_or_fail(self) -> Commands:
        if self._commands is None:
            raise AssertionError("commands exist once the data folder is claimed")
        return self._commands

    def _launch(self, program: Program) -> Child:
        child = Child(program, self._console, self._logs)
        self._children[child.name] = child
        self._runs[child.name] = asyncio.create_task(child.run())
        return child

    async def _healthy(self, child: Child) -> None:
        try:
            await asyncio.wait_for(child.healthy.wait(), START_SECONDS)
        except TimeoutError as error:
            raise ChildFailedError(
                f"{child.name} runs, but is not ready after {START_SECONDS:.0f} s; see the logs in {self._logs}."
            ) from error

    async def _stop_everything(self) -> None:
        if self._commands:
            await self._commands.end()
        await self._stop_child("bot", BOT_SECONDS)
        gateway = asyncio.create_task(self._stop_child("gateway", GATEWAY_SECONDS))
        await asyncio.wait({gateway}, timeout=GATEWAY_HEAD_START)
        await asyncio.gather(gateway, self._stop_child("worker", self._drain_seconds + WORKER_SPARE_SECONDS))
        await self._stop_child("valkey", VALKEY_SECONDS)
        await self._stop_child("postgresql", POSTGRES_SECONDS)

    async def _stop_child(self, name: str, seconds: float) -> None:
        child = self._children.get(name)
        if child is None:
            return
        await child.stop(seconds)
        # A start that was under way (initdb) ends by itself within a second; its result no longer matters.
        with contextlib.suppress(Exception):
            await self._runs[name]
