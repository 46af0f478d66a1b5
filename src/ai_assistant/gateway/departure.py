"""Clients that go away while their request waits."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi import Request

T = TypeVar("T")

GONE = 499
"""Status for the log of a request whose client went away."""


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> tuple[T] | None:
    """The result of `work`; None if the client goes away first."""
    working, leaving = asyncio.create_task(work), asyncio.create_task(disconnect(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return (working.result(),) if working.done() else None
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def disconnect(request: Request) -> None:
    """Returns when the client has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
