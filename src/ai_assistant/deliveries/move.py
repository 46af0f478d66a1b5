"""Moving: a group that was upgraded has another id from then on. What is open for it, and all that belongs to it, follows."""

import uuid
from typing import Any

from sqlalchemy import delete, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from ai_assistant.database.models import Conversation, DeadTarget, Delivery, Task, User
from ai_assistant.deliveries.targets import group_name

MOVE = text(
    """
    UPDATE deliveries SET
        -- messages of the old group have other ids in the new one
        target = jsonb_set(target - 'reply_to', '{chat_id}', to_jsonb(CAST(:chat_id AS bigint))), preview_message_id = NULL,
        target_key = :new, lane = :new || substr(lane, length(target_key) + 1),
        updated_at = clock_timestamp()
    WHERE channel = :channel AND target_key = :old AND state IN ('pending', 'sending')
    RETURNING id
    """
)

REVIVE = text("DELETE FROM dead_targets WHERE channel = :channel AND target_key IN (:old, :new)")
"""A group that tells its new id is not gone."""


async def move(session: AsyncSession, channel: str, old: int, new: int) -> int:
    """Returns the number of open deliveries that go to `new` now. Again does no harm."""
    if old == new:
        return 0
    values: dict[str, Any] = {"channel": channel, "old": str(old), "new": str(new)}
    moved = list(await session.scalars(MOVE, values | {"chat_id": new}))
    await session.execute(REVIVE, values)
    await move_user(session, old, new)
    return len(moved)


async def move_user(session: AsyncSession, old: int, new: int) -> None:
    """All that the group's user has goes to the user with the new name; what was chosen there already stays."""
    before = await session.scalar(select(User).where(User.external_id == group_name(old)).with_for_update())
    if before is None:
        return
    settings = renamed(before.settings, old, new)
    # Somebody may write in the new group at this moment: whoever names a user second waits here for the first.
    statement = insert(User).values(id=uuid.uuid4(), external_id=group_name(new), settings={})
    kept = statement.on_conflict_do_update(index_elements=[User.external_id], set_={"external_id": group_name(new)})
    after = (await session.scalars(kept.returning(User), execution_options={"populate_existing": True})).one()
    after.settings = settings | after.settings
    for table in (Conversation, Task, Delivery, DeadTarget):
        await session.execute(update(table).where(table.user_id == before.id).values(user_id=after.id))
    await session.execute(delete(User).where(User.id == before.id))


def renamed(settings: dict[str, Any], old: int, new: int) -> dict[str, Any]:
    """Settings about conversations in the group, under the new id."""
    prefix = f"conversation:{old}"
    return {
        f"conversation:{new}{key.removeprefix(prefix)}" if key == prefix or key.startswith(f"{prefix}:") else key: value
        for key, value in settings.items()
    }
