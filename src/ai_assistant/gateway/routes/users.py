"""Users: settings, export of all data, and being forgotten. `me` is the caller's own user."""

import dataclasses
import json
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from ai_assistant import users
from ai_assistant.database.models import Task, User
from ai_assistant.deliveries.targets import target_key_of
from ai_assistant.errors import InvalidRequestError, NotFoundError
from ai_assistant.gateway.data_export import pieces
from ai_assistant.gateway.dependencies import Caller, State
from ai_assistant.gateway.erasure import Erasure, announce, cancel_all
from ai_assistant.gateway.schemas import UserPatch, UserStats, UserView

MAX_SETTINGS_BYTES = 16_384

router = APIRouter(prefix="/api/users", tags=["users"])


class Forgotten(BaseModel):
    """What DELETE /api/users/{id} did."""

    deleted_messages: int


class UserNotFoundError(NotFoundError):
    """There is no such user."""

    code = "user_not_found"


def named_user(principal: Caller, name: Annotated[str, Path(description="`me`, or for services any user id.")]) -> str:
    return principal.user_for(None if name == "me" else name)


Named = Annotated[str, Depends(named_user)]


@router.get("/{name:path}/export")
async def export_user(state: State, name: Named) -> StreamingResponse:
    """Everything that is stored about the user, as one JSON file."""
    async with state.database.session() as session:
        user = await find(session, name)
    headers = {"Content-Disposition": 'attachment; filename="ai-assistant-export.json"', "Cache-Control": "no-store"}
    return StreamingResponse(
        pieces(state.database, user.id, view(user).model_dump_json()), media_type="application/json", headers=headers
    )


@router.get("/{name:path}/stats")
async def read_stats(state: State, name: Named) -> UserStats:
    """How much the user has asked and been answered. What was deleted does not count, save for tokens."""
    async with state.database.session() as session:
        user = await find(session, name)
        used = await users.usage(session, user)
    return UserStats(**dataclasses.asdict(used), since=user.created_at)


@router.get("/{name:path}")
async def read_user(state: State, name: Named) -> UserView:
    """A user's settings."""
    async with state.database.session() as session:
        return view(await find(session, name))


@router.patch("/{name:path}")
async def update_user(state: State, name: Named, body: UserPatch) -> UserView:
    """Merge settings into the user's; `null` removes one."""
    async with state.database.session() as session:
        user = await users.get_or_create(session, name)
        # two changes at once are made one after the other, so neither is lost
        await session.refresh(user, with_for_update={"key_share": True})
        await users.update_settings(session, user, body.settings)
        check_size(user.settings)
    return view(user)


@router.delete("/{name:path}")
async def forget_user(state: State, name: Named) -> Forgotten:
    """Delete the user with all conversations, tasks and deliveries, and what the user wrote in groups, with the answers.

    Doing it twice is no error.
    """
    erasure = Erasure()
    count = 0
    async with state.database.session() as session:
        user = await session.scalar(select(User).where(User.external_id == name).with_for_update())
        if user is not None:
            await users.lock_conversations(session, user)
            erasure = await cancel_all(session, or_(Task.user_id == user.id, users.wrote(user)))
            count = await users.forget(session, user, target_key_of(name))
    await announce(state.redis, erasure)
    return Forgotten(deleted_messages=count)


async def find(session: AsyncSession, name: str) -> User:
    """Raises UserNotFoundError."""
    user = await users.find(session, name)
    if user is None:
        raise UserNotFoundError("There is no such user: nothing has been asked in this name yet.")
    return user


def check_size(settings: dict[str, Any]) -> None:
    if len(json.dumps(settings, ensure_ascii=False).encode()) > MAX_SETTINGS_BYTES:
        raise InvalidRequestError(f"`settings` may have {MAX_SETTINGS_BYTES} bytes in all.")


def view(user: User) -> UserView:
    return UserView(id=user.external_id, settings=user.settings, created_at=user.created_at)
