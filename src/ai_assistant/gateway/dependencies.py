"""What a route asks for by `Depends`: the process's state, who is asking, and for whom."""

from typing import Annotated, cast

from fastapi import Depends, Query
from starlette.requests import HTTPConnection

from ai_assistant.gateway.authentication import Principal
from ai_assistant.gateway.state import AppState


def get_state(connection: HTTPConnection) -> AppState:
    return cast(AppState, connection.app.state.gateway)


def get_principal(connection: HTTPConnection) -> Principal:
    """Whom the access middleware has let in."""
    return cast(Principal, connection.scope["principal"])


State = Annotated[AppState, Depends(get_state)]
Caller = Annotated[Principal, Depends(get_principal)]


def get_user(
    principal: Caller,
    user_id: Annotated[str | None, Query(max_length=255, description="Services only: the user to act for.")] = None,
) -> str:
    """External id of the user that a request without a body is about."""
    return principal.user_for(user_id)


UserId = Annotated[str, Depends(get_user)]
