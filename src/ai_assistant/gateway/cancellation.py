"""Cancelling a task from here: the row decides, then workers and readers are told as far as Redis can be reached."""

import contextlib
import logging
import uuid

from redis.exceptions import RedisError

from ai_assistant.contracts import CANCEL_CHANNEL, EVENTS_CHANNEL
from ai_assistant.gateway.state import AppState
from ai_assistant.tasks.cancel import Cancellation, cancel

logger = logging.getLogger(__name__)


async def cancel_task(state: AppState, task_id: uuid.UUID, assistant: str) -> Cancellation | None:
    """None if it is over already. Does not wait for Redis: the worker sees the flag at its next heartbeat at the latest."""
    async with state.database.session() as session:
        cancellation = await cancel(session, task_id)
    if cancellation is not None:
        announce(state, task_id, assistant, cancellation)
    return cancellation


def announce(state: AppState, task_id: uuid.UUID, assistant: str, cancellation: Cancellation) -> None:
    """Tell of a cancellation that is committed, without waiting."""
    channel = EVENTS_CHANNEL if cancellation.ended else CANCEL_CHANNEL
    state.hub.background.spawn(publish(state, channel, task_id))
    if cancellation.next_task_id is not None:
        state.hub.background.spawn(state.dispatcher.push(assistant, [cancellation.next_task_id]))


async def cancel_abandoned(state: AppState, task_id: uuid.UUID, assistant: str) -> None:
    """For a client that has gone; nobody is left to tell of an error."""
    try:
        await cancel_task(state, task_id, assistant)
    except Exception as error:
        # without PostgreSQL the answer is written to its end, which does no harm
        logger.warning("A task that nobody waits for could not be cancelled (%s)", error, extra={"task_id": str(task_id)})


async def publish(state: AppState, channel: str, task_id: uuid.UUID) -> None:
    """Best effort."""
    with contextlib.suppress(RedisError, OSError):
        await state.redis.publish(channel, str(task_id))
