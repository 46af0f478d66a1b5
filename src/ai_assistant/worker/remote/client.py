"""HTTP to a model server. Whatever goes wrong leaves here as a FailureError, and never with the key in it."""

from collections.abc import AsyncGenerator, Collection
from dataclasses import dataclass
from typing import Any

import httpx

from ai_assistant import __version__
from ai_assistant.settings import RemoteSettings
from ai_assistant.sse import MAX_EVENT_BYTES, EventParser
from ai_assistant.worker.remote.failures import FailureError, broken, of_status, of_transport
from ai_assistant.worker.remote.reply import Piece, parse_piece

LIST_SECONDS = 10.0
MAX_REFUSAL_BYTES = 65_536
DONE = "[DONE]"
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class RemoteModel:
    name: str
    context: int | None
    """Tokens of prompt and answer, where the server tells."""


class RemoteClient:
    """One server. Used on one event loop."""

    def __init__(self, settings: RemoteSettings) -> None:
        key = settings.remote_api_key
        self._secret = key.get_secret_value() if key else None
        headers = {"User-Agent": f"ai-assistant/{__version__}"} | ({"Authorization": f"Bearer {self._secret}"} if key else {})
        connect = settings.remote_connect_seconds
        self._http = httpx.AsyncClient(
            base_url=f"{settings.remote_url}/",
            headers=headers,
            # reading is limited by who reads: a sign of life is not yet a token
            timeout=httpx.Timeout(connect, read=None),
            # a proxy is for the way out
            trust_env=httpx.URL(settings.remote_url or "").host not in LOOPBACK,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=settings.remote_concurrency),
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def models(self) -> list[RemoteModel] | None:
        """What the server has; None if it keeps no list. Raises FailureError."""
        try:
            response = await self._http.get("models", timeout=LIST_SECONDS)
        except Exception as error:
            raise of_transport(error) from None
        if response.status_code in (404, 405, 501):
            return None
        if response.status_code != 200:
            raise of_status(response.status_code, response.headers, response.content, secret=self._secret)
        return parse_models(response)

    async def stream(self, body: dict[str, Any], optional: Collection[str]) -> AsyncGenerator[Piece, None]:
        """The answer as it comes, whether the server streams or not; it is complete when this ends. Raises FailureError."""
        is_finished = False
        try:
            async with self._http.stream("POST", "chat/completions", json=body) as response:
                await self._require_success(response, optional)
                async for data in read_events(response):
                    if data == DONE:
                        return
                    piece = parse_piece(data, self._secret)
                    is_finished = is_finished or piece.finish_reason is not None
                    yield piece
        except Exception as error:
            # after the last word, only the usage can be missing
            if not is_finished:
                raise (error if isinstance(error, FailureError) else of_transport(error)) from None
        if not is_finished:
            raise broken("the connection ended in mid-answer")

    async def _require_success(self, response: httpx.Response, optional: Collection[str]) -> None:
        if response.status_code != 200:
            refusal = await read_some(response, MAX_REFUSAL_BYTES)
            raise of_status(response.status_code, response.headers, refusal, sent=optional, secret=self._secret)


async def read_events(response: httpx.Response) -> AsyncGenerator[str, None]:
    """The data of each event; for a server that does not stream, the whole body as the only one, then DONE."""
    parser = EventParser()
    head = b""
    async for chunk in response.aiter_bytes():
        if not parser.is_used:
            head = (head + chunk).lstrip(b" \t\r\n\xef\xbb\xbf")
            if not head:
                continue
            if head.startswith((b"{", b"[")):
                if len(head) > MAX_EVENT_BYTES:
                    raise broken("it sent too much at once")
                continue
            chunk, head = head, b""
        try:
            for event in parser.push(chunk):
                yield event.data
        except ValueError:
            raise broken("it sent too much at once") from None
    if head:
        yield head.decode("utf-8", "replace")
        yield DONE
    elif (last := parser.finish()) is not None:
        yield last.data


async def read_some(response: httpx.Response, limit: int) -> bytes:
    """The beginning of a body."""
    found = b""
    async for chunk in response.aiter_bytes():
        found += chunk
        if len(found) >= limit:
            break
    return found[:limit]


def parse_models(response: httpx.Response) -> list[RemoteModel] | None:
    try:
        items = response.json()["data"]
        return [RemoteModel(str(item["id"]), context_of(item)) for item in items]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise broken("its list of models is none; check AI_ASSISTANT_REMOTE_URL") from None


def context_of(item: dict[str, Any]) -> int | None:
    """vLLM and some others tell it."""
    value = item.get("max_model_len") or item.get("context_length") or item.get("context_window")
    return value if isinstance(value, int) and value > 0 else None
