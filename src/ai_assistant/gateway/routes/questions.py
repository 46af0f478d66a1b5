"""Questions of a channel, for services that bring answers there: what an edit or a retry is about."""

import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel

from ai_assistant.deliveries.questions import Asked, find_questions
from ai_assistant.gateway.delivery_schemas import Channel
from ai_assistant.gateway.delivery_schemas import State as StateName
from ai_assistant.gateway.dependencies import State
from ai_assistant.gateway.routes.deliveries import require_service


class QuestionView(BaseModel):
    """A question as it was asked once; an edit asks again."""

    task_id: uuid.UUID
    conversation_id: uuid.UUID | None
    user_message_id: uuid.UUID
    """For `edit_of`."""
    answer_message_id: uuid.UUID | None
    """For `regenerate_of`."""
    target: dict[str, Any]
    state: StateName
    """Of the answer's delivery."""
    text: str


class QuestionList(BaseModel):
    questions: list[QuestionView]


router = APIRouter(prefix="/api/deliveries", tags=["deliveries"], dependencies=[Depends(require_service)])


@router.get("/questions")
async def list_questions(
    state: State,
    channel: Channel,
    target: Annotated[str, Query(max_length=255, description="Telegram: chat id.")],
    message_id: Annotated[int | None, Query(ge=-(2**63), lt=2**63, description="The channel's, as the target has it.")] = None,
    conversation_id: uuid.UUID | None = None,
    is_open: Annotated[bool, Query(description="Only those whose answer is not delivered yet.")] = False,
    limit: Annotated[int, Query(ge=1, le=100)] = 100,
) -> QuestionList:
    """The last questions that came from a target, oldest first."""
    async with state.database.session() as session:
        found = await find_questions(
            session, channel, target, message_id=message_id, conversation_id=conversation_id, is_open=is_open, limit=limit
        )
        return QuestionList(questions=[view(asked) for asked in found])


def view(asked: Asked) -> QuestionView:
    assert asked.task.user_message_id is not None
    return QuestionView(
        task_id=asked.task.id,
        conversation_id=asked.task.conversation_id,
        user_message_id=asked.task.user_message_id,
        answer_message_id=asked.task.answer_message_id,
        target=asked.delivery.target,
        state=asked.state,
        text=asked.text,
    )
