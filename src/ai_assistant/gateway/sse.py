"""Server-sent events: their text, and a response that ends its source when the client goes away."""

import json
from collections.abc import AsyncGenerator, Callable
from typing import Any

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

HEADERS = {
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",  # nginx would collect events otherwise
}
PING_SECONDS = 15.0
PING = ": ping\n\n"
RETRY = "retry: 1000\n\n"


def event(name: str | None, data: Any, *, event_id: int | None = None) -> str:
    """One event; JSON has no raw line breaks, so the data is one line."""
    lines = [f"event: {name}"] if name else []
    if event_id is not None:
        lines.append(f"id: {event_id}")
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return "\n".join([*lines, f"data: {text}", "", ""])


class EventStream(StreamingResponse):
    """Closes the generator in any case, so that what it holds is released at once. `closing` is called also when the client
    went away before the first event, when the generator has not begun."""

    media_type = "text/event-stream"

    def __init__(self, source: AsyncGenerator[str, None], closing: Callable[[], None] | None = None) -> None:
        self._source, self._closing = source, closing
        super().__init__(source, headers=HEADERS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._source.aclose()
            if self._closing is not None:
                self._closing()
