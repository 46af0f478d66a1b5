"""What a model hub is asked: which commit a name means, and which files that has.

The client of the hub's makers is not used: it deletes what a killed download left, shows no bytes to a caller, compares no
checksum and reads its settings only when it is imported. The tests hold our test server against it, and us against that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import httpx
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from ai_assistant.errors import AssistantError, SourceError, SourceNotFoundError, SourceUnauthorizedError
from ai_assistant.provision.sources.download import RemoteFile, checked, without_credentials
from ai_assistant.provision.sources.hub_settings import HubSettings
from ai_assistant.provision.sources.retry import Retry

Note = Callable[[str], None]
T = TypeVar("T")


class _LargeFile(BaseModel):
    oid: str = Field(pattern="^[0-9a-f]{64}$")
    size: int = Field(ge=0)


class _Entry(BaseModel):
    """One line of a listing. `oid` is git's; of a large file `lfs.oid` is the SHA-256."""

    type: str
    path: str
    oid: str = Field(pattern="^[0-9a-f]{40}$")
    size: int = Field(default=0, ge=0)
    lfs: _LargeFile | None = None


class Revision(BaseModel):
    """A commit and what the model's card says."""

    sha: str = Field(pattern="^[0-9a-f]{40}$")
    card: dict[str, Any] | None = Field(default=None, alias="cardData")

    @property
    def licence(self) -> str | None:
        card = self.card or {}
        licence = card.get("license_name") if card.get("license") == "other" else card.get("license")
        return licence if isinstance(licence, str) else None


_ENTRIES = TypeAdapter(list[_Entry])


class HubRepository:
    """One repository of models; errors are sentences about it."""

    def __init__(self, name: str, settings: HubSettings, client: httpx.Client, retry: Retry) -> None:
        self._name = name
        self._settings = settings
        self._client = client
        self._retry = retry

    def revision(self, name: str, note: Note) -> Revision:
        """The commit that a branch, a tag or a commit means."""
        response = self._get(f"/api/models/{self._name}/revision/{quote(name, safe='')}", note)
        return self._parsed(response, Revision.model_validate_json)

    def files(self, commit: str, note: Note) -> dict[str, RemoteFile]:
        """All files of a commit by path."""
        return {entry.path: self._remote(commit, entry) for entry in self._entries(commit, note) if entry.type == "file"}

    def refusal(self, response: httpx.Response) -> AssistantError | None:
        """The sentence for what a hub answers instead of a file."""
        return _refused(response, self._name, self._settings)

    def _entries(self, commit: str, note: Note) -> Iterator[_Entry]:
        path = f"/api/models/{self._name}/tree/{commit}"
        query = "recursive=true&expand=false"
        while query:
            response = self._get(f"{path}?{query}", note)
            yield from self._parsed(response, _ENTRIES.validate_json)
            # Only the cursor is taken: a mirror's links may lead to the hub that it mirrors.
            query = urlsplit(response.links.get("next", {}).get("url", "")).query

    def _remote(self, commit: str, entry: _Entry) -> RemoteFile:
        url = f"{self._settings.endpoint}/{self._name}/resolve/{commit}/{quote(entry.path)}"
        if entry.lfs:
            return RemoteFile(url, sha256=entry.lfs.oid, size=entry.lfs.size)
        return RemoteFile(url, git_sha1=entry.oid, size=entry.size)

    def _get(self, path: str, note: Note) -> httpx.Response:
        url = self._settings.endpoint + path
        what = f"The list of files of {self._name}"

        def ask() -> httpx.Response:
            response = self._client.get(url)
            checked(response, what, self.refusal)
            return response

        return self._retry.run(f"{what} on {without_credentials(self._settings.endpoint)}", ask, note=note)

    def _parsed(self, response: httpx.Response, parse: Callable[[bytes], T]) -> T:
        try:
            return parse(response.content)
        except ValidationError as error:
            raise SourceError(
                f"{without_credentials(self._settings.endpoint)} does not answer like a model hub; check HF_ENDPOINT, and whether"
                " something on the way answers in its place (a proxy, a login page)."
            ) from error


def _refused(response: httpx.Response, name: str, settings: HubSettings) -> SourceError:
    host = without_credentials(settings.endpoint)
    page = f"{host}/{name}"
    code, message = response.headers.get("X-Error-Code", ""), response.headers.get("X-Error-Message", "")
    status = response.status_code
    if code == "GatedRepo":
        if settings.token is None:
            return SourceUnauthorizedError(
                f"{name} is gated: accept its terms at {page}, make a token at {host}/settings/tokens, and set HF_TOKEN to it."
            )
        return SourceUnauthorizedError(
            f"{name} is gated and the account of HF_TOKEN has no access yet: accept its terms at {page} with that account (some"
            " owners answer by hand), and let the token read gated repositories."
        )
    if code == "RevisionNotFound":
        return SourceNotFoundError(
            f"{name} has no branch, tag or commit of this name; see {page}/tree/main, or leave out what follows the @."
        )
    if code == "EntryNotFound":
        return SourceNotFoundError(
            f"{response.url.path} is not in the repository any more; try again, and if it stays so, name another revision."
        )
    if message == "Access to this resource is disabled.":
        return SourceUnauthorizedError(f"{name} was disabled by {host}; choose another model.")
    if status == httpx.codes.UNAUTHORIZED and "Invalid credentials" in message:
        return SourceUnauthorizedError(f"{host} does not accept the token in HF_TOKEN; make a new one at {host}/settings/tokens.")
    if code == "RepoNotFound" or status == httpx.codes.UNAUTHORIZED:
        access = "set HF_TOKEN to a token that may read it" if settings.token is None else "HF_TOKEN must be allowed to read it"
        return SourceNotFoundError(f"{host} has no public model {name}: check the name; if it is a private one, {access}.")
    if status == httpx.codes.FORBIDDEN:
        return SourceUnauthorizedError(
            f"{host} forbids access to {name} ({message or 'no reason given'}); check what the token in HF_TOKEN may do."
        )
    told = f" ({message})" if message else ""
    return SourceError(
        f"{host} answers {status} {response.reason_phrase}{told} when asked for {name}; check HF_ENDPOINT and the name."
    )
