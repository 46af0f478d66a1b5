"""From a validated request to a stored task and its wake token. What is stored is answered, whatever Redis does."""

import asyncio
import hashlib
import json
import uuid
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from ai_assistant import assistants, users
from ai_assistant.database.models import Assistant, Conversation, Message, Task
from ai_assistant.deliveries.register import Destination, register, withdraw
from ai_assistant.errors import BodyTooLargeError, InvalidRequestError, OverloadedError, PersonaForbiddenError
from ai_assistant.gateway.authentication import Principal
from ai_assistant.gateway.cancellation import announce
from ai_assistant.gateway.state import AppState
from ai_assistant.gateway.task_snapshot import TaskSnapshot, read_snapshots
from ai_assistant.logs import request_id
from ai_assistant.settings import GatewaySettings
from ai_assistant.tasks.accept import DuplicateRequestError, Submission, accept, find_duplicate
from ai_assistant.tasks.cancel import Cancellation
from ai_assistant.tasks.supersede import supersede

TOKEN_WAIT_SECONDS = 0.05
"""How long an answer is held back for its wake token; Redis needs a few milliseconds, and without it nobody waits."""

HINT_WAIT_SECONDS = 0.005
MAX_KEY_CHARS = 255
DUPLICATE_ROUNDS = 5
FOREIGN_KEY_VIOLATION = "23503"


@dataclass(frozen=True, kw_only=True)
class Order:
    """A valid request of either API."""

    user: str
    """External id of the user whom the answer is for."""
    assistant: str | None = None
    sampling: dict[str, Any] = field(default_factory=dict)
    """What the request names; the assistant's defaults and then the settings fill the rest."""
    idempotency_key: str | None = None
    fingerprint: str | None = None
    message: str | None = None
    conversation_id: uuid.UUID | None = None
    regenerate_of: uuid.UUID | None = None
    edit_of: uuid.UUID | None = None
    messages: list[dict[str, Any]] | None = None
    author: str | None = None
    """External id of who wrote the message, where that is not `user`."""
    persona: str | None = None
    """None where the request says nothing about it; empty: none."""
    destination: Destination | None = None
    """Where the answer has to be delivered; None where the client reads it itself."""


@dataclass(frozen=True)
class Submitted:
    """A stored task."""

    task: TaskSnapshot
    is_repeat: bool
    """An earlier request with the same Idempotency-Key made it."""
    superseded: dict[uuid.UUID, Cancellation] = field(default_factory=dict)
    """Answers to the same question that are not wanted any more."""


async def submit(state: AppState, principal: Principal, order: Order) -> Submitted:
    """Store the task and call a worker. Raises what `accept` raises, and AssistantNotFoundError."""
    for _ in range(DUPLICATE_ROUNDS):
        try:
            submitted = await _store(state, principal, order)
        except DuplicateRequestError:
            continue
        except IntegrityError as error:
            # the user or the conversation was deleted between two statements: the next round makes or misses it
            if getattr(error.orig, "sqlstate", None) != FOREIGN_KEY_VIOLATION:
                raise
            continue
        if not submitted.is_repeat:
            await wake(state, submitted.task.assistant, submitted.task.id)
            for task_id, cancellation in submitted.superseded.items():
                announce(state, task_id, submitted.task.assistant, cancellation)
        return submitted
    raise OverloadedError("Requests like this one follow each other too fast; try again.", retry_after=1)


async def wake(state: AppState, assistant: str, task_id: uuid.UUID) -> None:
    """Push one wake token, without waiting for a Redis that does not answer: the sweep makes up for it."""
    # the operator may have to start a worker first: its hint goes ahead of the token
    hint = state.hub.background.spawn(state.queue_feed.publish(assistant))
    await asyncio.wait({hint}, timeout=HINT_WAIT_SECONDS)
    push = state.hub.background.spawn(state.dispatcher.push(assistant, [task_id]))
    await asyncio.wait({push}, timeout=TOKEN_WAIT_SECONDS)


async def _store(state: AppState, principal: Principal, order: Order) -> Submitted:
    async with state.database.session() as session:
        assistant = await _resolve_assistant(session, order)
        user = await users.hold(session, order.user)
        author = await users.hold(session, order.author) if order.author not in (None, order.user) else None
        persona = await _persona(session, order, assistant)
        has_own_instructions = order.messages is not None and any(item["role"] == "system" for item in order.messages)
        submission = Submission(
            assistant=assistant.name,
            user_id=user.id,
            principal=principal.name,
            deadline_seconds=state.settings.task_seconds,
            max_queued=state.settings.max_queued,
            sampling=fill_sampling(order.sampling, assistant.defaults, state.settings),
            author_id=author.id if author else None,
            instructions=None if has_own_instructions else join(assistant.instructions, persona),
            persona=persona,
            request_id=request_id.get(),
            idempotency_key=order.idempotency_key,
            fingerprint=order.fingerprint,
            message=order.message,
            conversation_id=order.conversation_id,
            regenerate_of=order.regenerate_of,
            edit_of=order.edit_of,
            messages=order.messages,
        )
        earlier = await find_duplicate(session, submission)
        task = earlier or await accept(session, submission)
        superseded: dict[uuid.UUID, Cancellation] = {}
        if earlier is None:
            question_id = order.edit_of or (task.user_message_id if order.regenerate_of else None)
            if question_id is not None:
                superseded = await supersede(session, question_id, by=task.id)
                await withdraw(session, superseded.keys())
            if order.destination is not None:
                await register(session, task, order.destination)
        snapshots = await read_snapshots(session, [task.id])
    return Submitted(snapshots[task.id], is_repeat=earlier is not None, superseded=superseded)


async def _persona(session: AsyncSession, order: Order, assistant: Assistant) -> str | None:
    """The request's own, or that of the answer which it replaces. Raises PersonaForbiddenError."""
    is_allowed = assistant.details.get("persona") is not False
    if order.persona is not None:
        if order.persona and not is_allowed:
            raise PersonaForbiddenError(f"The assistant {assistant.name!r} takes no `instructions`.")
        return order.persona or None
    if not is_allowed or (order.regenerate_of is None and order.edit_of is None):
        return None
    replaced = Task.answer_message_id == order.regenerate_of if order.regenerate_of else Task.user_message_id == order.edit_of
    found: str | None = await session.scalar(select(Task.persona).where(replaced).order_by(Task.seq.desc()).limit(1))
    return found


def join(instructions: str | None, persona: str | None) -> str | None:
    """The assistant's instructions come first."""
    return "\n\n".join(part for part in (instructions, persona) if part) or None


async def _resolve_assistant(session: AsyncSession, order: Order) -> Assistant:
    """A turn of a conversation that names no assistant is for the conversation's."""
    name = order.assistant
    if name is None and order.messages is None:
        turn = order.regenerate_of or order.edit_of
        query = select(Conversation.assistant)
        if order.conversation_id is not None:
            name = await session.scalar(query.where(Conversation.id == order.conversation_id))
        elif turn is not None:
            name = await session.scalar(query.join(Message).where(Message.id == turn))
    return await assistants.resolve(session, name)


def fill_sampling(wanted: dict[str, Any], defaults: dict[str, Any], settings: GatewaySettings) -> dict[str, Any]:
    """The request's own values, then the assistant's, then the settings'."""
    base = {"max_tokens": settings.max_tokens, "temperature": settings.temperature, "top_p": settings.top_p}
    given = {name: value for name, value in wanted.items() if value is not None}
    return base | {name: value for name, value in defaults.items() if value is not None} | given


def check_message(message: str, settings: GatewaySettings, name: str = "message") -> None:
    """Raises InvalidRequestError or BodyTooLargeError. (Characters that cannot be stored are refused with the body.)"""
    if not message.strip():
        raise InvalidRequestError(f"`{name}` is empty: say what the assistant should answer.")
    check_length(message, settings, name)


def check_length(message: str, settings: GatewaySettings, name: str = "message") -> None:
    if len(message) > settings.max_message_chars:
        raise BodyTooLargeError(f"`{name}` is longer than {settings.max_message_chars} characters.")


def check_idempotency_key(key: str | None) -> None:
    """Raises InvalidRequestError."""
    if key is not None and not (1 <= len(key) <= MAX_KEY_CHARS and key.isprintable()):
        raise InvalidRequestError(f"Idempotency-Key must have 1 to {MAX_KEY_CHARS} printable characters.")


def fingerprint(user: str, body: dict[str, Any]) -> str:
    """The same for the same request, however its JSON is written."""
    canonical = json.dumps([user, body], sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
