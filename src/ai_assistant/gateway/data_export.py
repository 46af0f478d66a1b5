"""Everything that is stored about a user, as the text of one JSON file.

It is read in pages, each in a short transaction of its own: neither the size nor a slow reader holds anything, and somebody with
thousands of conversations needs some dozens of queries. What is deleted meanwhile is left out.
"""

import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

from sqlalchemy import Select, or_, select, text, tuple_
from sqlalchemy.orm import aliased

from ai_assistant.database.models import Conversation, Delivery, Message, Task
from ai_assistant.database.session import Database

PAGE = 1000
TALKS = 200
"""Conversations whose messages are read together."""

MESSAGES = text(
    """
    SELECT place, messages.id, parent_id, role, messages.text, messages.created_at, seq
    FROM unnest(CAST(:talks AS uuid[])) WITH ORDINALITY AS wanted(id, place) JOIN messages ON conversation_id = wanted.id
    WHERE place > 1 OR seq > :after ORDER BY place, seq LIMIT :limit
    """
)


async def pieces(database: Database, user_id: uuid.UUID, about: str) -> AsyncIterator[str]:
    """The file, a piece at a time; `about` is its first member's JSON."""
    yield f'{{"user": {about},\n"conversations": ['
    async for piece in conversations(database, user_id):
        yield piece
    for name, page in (("requests", requests), ("messages_in_groups", authored), ("deliveries", deliveries)):
        yield f'],\n"{name}": ['
        separator = "\n"
        async for item in paged(lambda after, page=page: page(database, user_id, after)):  # type: ignore[misc]
            yield separator + json.dumps(item, ensure_ascii=False)
            separator = ",\n"
    yield "]}\n"


async def conversations(database: Database, user_id: uuid.UUID) -> AsyncIterator[str]:
    """Those that the user owns, with all branches, separated by commas."""
    is_first, last = True, None
    while True:
        query = select(Conversation).where(Conversation.user_id == user_id)
        if last is not None:
            query = query.where(tuple_(Conversation.created_at, Conversation.id) > (last.created_at, last.id))
        async with database.session() as session:
            found = (await session.scalars(query.order_by(Conversation.created_at, Conversation.id).limit(TALKS))).all()
        if not found:
            return
        last = found[-1]
        async for piece in talks(database, found):
            yield ("\n" if is_first else ",\n") + piece if piece.startswith("{") else piece
            is_first = False


async def talks(database: Database, found: Sequence[Conversation]) -> AsyncIterator[str]:
    """Each conversation as pieces, the first of which begins with `{` and no other does."""
    at, begun = 0, False
    async for place, message in messages(database, [item.id for item in found]):
        while at < place:
            yield "]}" if begun else head(found[at]) + "]}"
            at, begun = at + 1, False
        yield (", " if begun else head(found[at])) + json.dumps(message, ensure_ascii=False)
        begun = True
    while at < len(found):
        yield "]}" if begun else head(found[at]) + "]}"
        at, begun = at + 1, False


def head(conversation: Conversation) -> str:
    """A conversation's JSON up to its messages."""
    members = {
        "id": str(conversation.id),
        "assistant": conversation.assistant,
        "title": conversation.title,
        "created_at": conversation.created_at.isoformat(),
    }
    return json.dumps(members, ensure_ascii=False).removesuffix("}") + ', "messages": ['


async def messages(database: Database, talks: Sequence[uuid.UUID]) -> AsyncIterator[tuple[int, dict[str, Any]]]:
    """(index of the conversation, message) in order."""
    first, after = 0, -1
    while True:
        values = {"talks": list(talks[first:]), "after": after, "limit": PAGE}
        async with database.session() as session:
            rows = (await session.execute(MESSAGES, values)).all()
        for row in rows:
            yield first + row.place - 1, message_json(row)
        if len(rows) < PAGE:
            return
        first, after = first + rows[-1].place - 1, rows[-1].seq


def message_json(row: Any) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "parent_id": str(row.parent_id) if row.parent_id else None,
        "role": row.role,
        "text": row.text or "",
        "created_at": row.created_at.isoformat(),
    }


async def paged(
    read: "Callable[[int], Awaitable[list[tuple[int, dict[str, Any]]]]]",
) -> AsyncIterator[dict[str, Any]]:
    """All items of a list that is read by the number of the last one."""
    after = -1
    while True:
        page = await read(after)
        for _, item in page:
            yield item
        if len(page) < PAGE:
            return
        after = page[-1][0]


async def rows_of(database: Database, query: Select[Any], seq: Any, after: int) -> Sequence[Any]:
    async with database.session() as session:
        rows: Sequence[Any] = (await session.execute(query.where(seq > after).order_by(seq).limit(PAGE))).all()
    return rows


async def requests(database: Database, user_id: uuid.UUID, after: int) -> list[tuple[int, dict[str, Any]]]:
    """Requests that brought their own messages, with their answers."""
    columns = (Task.seq, Task.id, Task.assistant, Task.messages, Task.checkpoint_text, Task.created_at)
    query = select(*columns).where(Task.user_id == user_id, Task.messages.is_not(None))
    return [
        (
            row.seq,
            {
                "id": str(row.id),
                "assistant": row.assistant,
                "messages": row.messages,
                "answer": row.checkpoint_text,
                "created_at": row.created_at.isoformat(),
            },
        )
        for row in await rows_of(database, query, Task.seq, after)
    ]


async def authored(database: Database, user_id: uuid.UUID, after: int) -> list[tuple[int, dict[str, Any]]]:
    """What the user wrote in conversations of others, with the answers."""
    question = aliased(Message)
    answers = select(question.id).where(question.author_id == user_id)
    query = select(Message).where(
        or_(Message.author_id == user_id, (Message.role == "assistant") & Message.parent_id.in_(answers))
    )
    rows = await rows_of(database, query, Message.seq, after)
    return [(item.seq, {"conversation_id": str(item.conversation_id)} | message_json(item)) for (item,) in rows]


async def deliveries(database: Database, user_id: uuid.UUID, after: int) -> list[tuple[int, dict[str, Any]]]:
    """What a channel brought to the user, or still owes."""
    query = select(Delivery).where(Delivery.user_id == user_id)
    return [
        (
            item.seq,
            {
                "id": str(item.id),
                "task_id": str(item.task_id) if item.task_id else None,
                "channel": item.channel,
                "target": item.target,
                "state": item.state,
                "parts": item.parts,
                "plan": item.plan,
                "last_error": item.last_error,
                "created_at": item.created_at.isoformat(),
                "updated_at": item.updated_at.isoformat(),
            },
        )
        for (item,) in await rows_of(database, query, Delivery.seq, after)
    ]
