"""Which assistants there are, and whether they can answer yet."""

from fastapi import APIRouter
from pydantic import BaseModel

from ai_assistant import assistants
from ai_assistant.gateway.dependencies import State
from ai_assistant.gateway.schemas import AssistantView

router = APIRouter(prefix="/api/assistants", tags=["assistants"])


class AssistantList(BaseModel):
    assistants: list[AssistantView]


@router.get("")
async def list_assistants(state: State) -> AssistantList:
    """All assistants by name, with their state and what is known of their model."""
    async with state.database.session() as session:
        found = await assistants.list_all(session)
    return AssistantList(assistants=[AssistantView(name=item.name, state=item.state, details=item.details) for item in found])
