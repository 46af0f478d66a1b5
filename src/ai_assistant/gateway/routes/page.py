"""The chat page: one HTML file, its scripts and styles, and Markdown for it.

Everything comes from this package and nothing from elsewhere. The page holds no data, so it needs no key; `/api/markdown` is work
for the machine, so whoever mounts `api` puts the gateway's authentication in front of it.
"""

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Annotated

from fastapi import APIRouter, Header, Response
from pydantic import BaseModel, ConfigDict

from ai_assistant.errors import BodyTooLargeError, NotFoundError
from ai_assistant.gateway import markdown

MAX_MARKDOWN_CHARACTERS = markdown.MAX_CHARACTERS

_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_SECURITY = {
    "Content-Security-Policy": "; ".join(
        [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "connect-src 'self'",
            "img-src 'self' data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            # Only the one place that shows rendered Markdown may turn a string into HTML.
            "require-trusted-types-for 'script'",
            "trusted-types markdown",
        ]
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_FOREVER = "public, max-age=31536000, immutable"
_REVALIDATE = "no-cache"

public = APIRouter(include_in_schema=False)
api = APIRouter(prefix="/api", tags=["page"])


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    media_type: str
    etag: str


class MarkdownRequest(BaseModel):
    """Body of POST /api/markdown."""

    model_config = ConfigDict(extra="forbid")

    text: str


class MarkdownResponse(BaseModel):
    html: str


@public.api_route("/", methods=["GET", "HEAD"])
def page(if_none_match: Annotated[str | None, Header()] = None) -> Response:
    """The page itself; always checked for a newer one, because it names the current scripts."""
    return _answer(_page_files()["index.html"], _REVALIDATE, if_none_match)


@public.api_route("/static/{digest}/{name}", methods=["GET", "HEAD"])
def static(digest: str, name: str, if_none_match: Annotated[str | None, Header()] = None) -> Response:
    """A script, style sheet or icon. The address carries the digest of all files, so a browser may keep it forever."""
    file = _page_files().get(name)
    if file is None or name == "index.html":
        raise NotFoundError("There is no such file.")
    # During a rolling update a page of one version may ask a replica of another: serve it, but let nobody keep it.
    return _answer(file, _FOREVER if digest == _digest() else _REVALIDATE, if_none_match)


@api.post("/markdown")
def render_markdown(body: MarkdownRequest) -> MarkdownResponse:
    """Markdown as safe HTML, the same that conversations are read back with."""
    if len(body.text) > MAX_MARKDOWN_CHARACTERS:
        raise BodyTooLargeError(f"The text is longer than {MAX_MARKDOWN_CHARACTERS} characters.")
    return MarkdownResponse(html=markdown.render(body.text))


router = APIRouter()
"""Both parts, for a gateway that authenticates by path. Others mount `public` and `api` apart."""
router.include_router(public)
router.include_router(api)


def _answer(file: _File, cache_control: str, if_none_match: str | None) -> Response:
    headers = {**_SECURITY, "Cache-Control": cache_control, "ETag": file.etag}
    if if_none_match and file.etag in re.findall(r'"[^"]*"', if_none_match):
        return Response(status_code=304, headers=headers)
    return Response(file.content, media_type=file.media_type, headers=headers)


@cache
def _sources() -> dict[str, bytes]:
    folder = files("ai_assistant.gateway") / "page"
    return {entry.name: entry.read_bytes() for entry in folder.iterdir() if _suffix(entry.name) in _MEDIA_TYPES}


@cache
def _digest() -> str:
    digest = hashlib.sha256()
    for name, content in sorted(_sources().items()):
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]


@cache
def _page_files() -> dict[str, _File]:
    result = {}
    for name, source in _sources().items():
        content = source
        if name == "index.html":
            scripts = sorted(other for other in _sources() if other.endswith(".js"))
            preload = "\n  ".join(f'<link rel="modulepreload" href="static/{_digest()}/{script}">' for script in scripts)
            content = source.replace(b"<!-- modules -->", preload.encode()).replace(b"{digest}", _digest().encode())
        etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        result[name] = _File(content, _MEDIA_TYPES[_suffix(name)], etag)
    return result


def _suffix(name: str) -> str:
    return name[name.rfind(".") :] if "." in name else ""
