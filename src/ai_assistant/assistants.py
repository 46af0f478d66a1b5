"""Assistants as the gateway knows them: registered by the operator, or from the settings on one machine."""

from typing import Any

from sqlalchemy import delete, func, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from ai_assistant.contracts import DEFAULT_ASSISTANT
from ai_assistant.database.models import Assistant
from ai_assistant.errors import AssistantNotFoundError, StaleGenerationError


async def list_all(session: AsyncSession) -> list[Assistant]:
    return list(await session.scalars(select(Assistant).order_by(Assistant.name)))


async def resolve(session: AsyncSession, name: str | None) -> Assistant:
    """The assistant called `name`; without a name the default one, or the only one. Raises AssistantNotFoundError."""
    if name is not None:
        found = await session.get(Assistant, name) if "\x00" not in name else None
        if found is None:
            known = ", ".join(item.name for item in await list_all(session)) or "none yet"
            raise AssistantNotFoundError(f"There is no assistant called {name!r}. There are: {known}.")
        return found
    found = await session.get(Assistant, DEFAULT_ASSISTANT)
    if found is not None:
        return found
    every = await list_all(session)
    if not every:
        raise AssistantNotFoundError("No assistant has been set up yet.")
    if len(every) > 1:
        raise AssistantNotFoundError(f"Name an assistant: {', '.join(item.name for item in every)}.")
    return every[0]


async def register(
    session: AsyncSession,
    name: str,
    *,
    instructions: str | None,
    defaults: dict[str, Any],
    state: str = "ready",
    details: dict[str, Any] | None = None,
    uid: str | None = None,
    generation: int = 0,
) -> None:
    """Make or replace the assistant `name`. Raises StaleGenerationError: what is known of the same `uid` is newer."""
    values = {
        "instructions": instructions,
        "defaults": defaults,
        "state": state,
        "details": details or {},
        "uid": uid,
        "generation": generation,
    }
    statement = insert(Assistant).values(name=name, **values)
    statement = statement.on_conflict_do_update(
        index_elements=[Assistant.name],
        set_={**values, "updated_at": func.now()},
        where=or_(Assistant.uid.is_distinct_from(uid), Assistant.generation <= generation),
    )
    if await session.scalar(statement.returning(Assistant.name)) is None:
        raise StaleGenerationError(f"A newer generation than {generation} of the assistant {name!r} is known already.")


async def remove(session: AsyncSession, name: str, *, uid: str | None = None) -> bool:
    """Forget the assistant; conversations stay. With `uid` only that one, not another that has taken its name."""
    statement = delete(Assistant).where(Assistant.name == name)
    if uid is not None:
        statement = statement.where(Assistant.uid == uid)
    return await session.scalar(statement.returning(Assistant.name)) is not None
