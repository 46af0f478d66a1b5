"""The page's session: an API key is traded for a cookie that scripts cannot read."""

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from ai_assistant.gateway.authentication import SESSION_COOKIE, SESSION_SECONDS, Principal
from ai_assistant.gateway.dependencies import State
from ai_assistant.gateway.schemas import SessionRequest

router = APIRouter(prefix="/api/session", tags=["session"])


class SessionView(BaseModel):
    required: bool
    """Whether this gateway asks for a key."""
    authenticated: bool
    user: str | None


@router.get("")
async def read_session(request: Request, state: State) -> SessionView:
    """Whether a key is needed, and who is signed in."""
    principal: Principal | None = request.scope["principal"]
    return view(state.keyring.is_required, principal)


@router.post("")
async def start_session(request: Request, response: Response, state: State, body: SessionRequest) -> SessionView:
    """Sign in with an API key: sets the cookie."""
    if not state.keyring.is_required:
        return view(required=False, principal=request.scope["principal"])
    principal = state.keyring.by_key(body.key)
    response.set_cookie(
        SESSION_COOKIE,
        state.keyring.make_session(body.key),
        max_age=SESSION_SECONDS,
        httponly=True,
        samesite="strict",
        secure=is_https(request),
        path="/",
    )
    return view(required=True, principal=principal)


@router.delete("", status_code=204)
async def end_session(request: Request, response: Response) -> None:
    """Sign out: removes the cookie."""
    response.delete_cookie(SESSION_COOKIE, httponly=True, samesite="strict", secure=is_https(request), path="/")


def view(required: bool, principal: Principal | None) -> SessionView:
    return SessionView(required=required, authenticated=principal is not None, user=principal.user if principal else None)


def is_https(request: Request) -> bool:
    """Whether the browser came by https, also where a proxy ends it."""
    forwarded = request.headers.get("x-forwarded-proto", "").split(",")[0].strip().lower()
    return (forwarded or request.url.scheme) == "https"
