"""A server that speaks the HTTP protocol of a model hub, and breaks where a test wants it to.

Large files are redirected to a second origin, as a hub's are to its CDN, which refuses the hub's credentials as storage
services do. `tests/unit/provision/test_hub_server.py` holds it against the client of the hub's makers.
"""

from __future__ import annotations

import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "hf_tests"
_LARGE = (".safetensors", ".gguf", ".bin", "tokenizer.json")
_PAGE = 4


@dataclass
class Fault:
    """What goes wrong with the next `times` requests whose path holds `path`."""

    path: str = ""
    times: int = 1
    # Answer with this status instead.
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    # Break the connection after so many bytes of the body, or stop there until `Hub.go`.
    cut: int | None = None
    stall: int | None = None
    # Send other bytes, of the same length.
    damage: bool = False
    # Announce another length than is sent.
    content_length: int | None = None
    body: bytes | None = None
    # Take no notice of Range.
    whole: bool = False


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    is_cdn: bool

    @property
    def start(self) -> int:
        """The first byte that was asked for."""
        return int(self.headers.get("range", "bytes=0-").removeprefix("bytes=").rstrip("-"))


@dataclass
class Repository:
    """Commits by hash, branches by name; `access` is "public", "private", "gated" or "gated-refused"."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    access: str = "public"
    card: dict[str, Any] = field(default_factory=dict)

    def commit(self, files: dict[str, bytes], branch: str = "main") -> str:
        """Makes a commit the tip of `branch`."""
        description = json.dumps({name: git_oid(content) for name, content in sorted(files.items())})
        commit = hashlib.sha1(description.encode() + str(len(self.commits)).encode()).hexdigest()
        self.commits[commit] = files
        self.branches[branch] = commit
        return commit


@dataclass
class Hub:
    """What a test sees of the server."""

    url: str = ""
    cdn_url: str = ""
    # Where the links of a listing lead: a mirror's may lead to the hub that it mirrors.
    links_to: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    go: threading.Event = field(default_factory=threading.Event)

    def add(self, name: str, files: dict[str, bytes], **options: Any) -> str:
        """Makes a repository with one commit on main and returns that."""
        self.repositories[name] = Repository(**options)
        return self.repositories[name].commit(files)

    def downloads(self, name: str) -> list[Request]:
        """The requests for one file that were not only for its headers or its place on the CDN."""
        return [r for r in self.requests if r.path.endswith(f"/{name}") and r.method == "GET" and r.is_cdn == _is_large(name)]

    @property
    def environment(self) -> dict[str, str]:
        return {"HF_ENDPOINT": self.url}

    def fault_for(self, path: str) -> Fault | None:
        for fault in self.faults:
            if fault.times and fault.path in path:
                fault.times -= 1
                return fault
        return None


@contextmanager
def hub_server() -> Iterator[Hub]:
    """Serves an empty hub until the block ends."""
    hub = Hub()
    with _server(hub, is_cdn=False) as hub.url, _server(hub, is_cdn=True) as hub.cdn_url:
        yield hub


@contextmanager
def _server(hub: Hub, *, is_cdn: bool) -> Iterator[str]:
    class Handler(_Handler):
        state, serves_cdn = hub, is_cdn

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            hub.go.set()
            server.shutdown()
            thread.join()


def git_oid(content: bytes) -> str:
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


def _is_large(path: str) -> bool:
    return path.endswith(_LARGE)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    state: Hub
    serves_cdn: bool

    def do_HEAD(self) -> None:
        self._serve()

    def do_GET(self) -> None:
        self._serve()

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.state.requests.append(Request(self.command, unquote(parts.path), headers, self.serves_cdn))
        self.fault = self.state.fault_for(("cdn:" if self.serves_cdn else "") + parts.path)
        if self.fault and self.fault.status:
            self._answer(self.fault.status, self.fault.body or b"", self.fault.headers)
        elif self.serves_cdn:
            self._cdn(parts.path)
        elif parts.path.startswith("/api/models/"):
            self._api(parts.path.removeprefix("/api/models/"), parse_qs(parts.query))
        else:
            self._resolve(parts.path.lstrip("/"))

    def _api(self, path: str, query: dict[str, list[str]]) -> None:
        name, kind, rest = self._split(path, "revision", "tree")
        repository = self._allowed(name)
        if repository is None:
            return
        commit = self._commit(repository, unquote(rest.split("/")[0]) or "main")
        if commit is None:
            return
        if kind != "tree":
            card = {"cardData": repository.card} if repository.card else {}
            siblings = [{"rfilename": path} for path in repository.commits[commit]]
            self._json({"_id": "1", "id": name, "modelId": name, "sha": commit, "private": False, "siblings": siblings, **card})
            return
        entries = [_entry(path, content) for path, content in repository.commits[commit].items()]
        folders = {path.rsplit("/", 1)[0] for path in repository.commits[commit] if "/" in path}
        entries += [{"type": "directory", "oid": "0" * 40, "size": 0, "path": folder} for folder in folders]
        begin = int(query.get("cursor", ["0"])[0])
        link = f"{self.state.links_to or self.state.url}/api/models/{name}/tree/{commit}"
        link += f"?recursive=true&expand=false&cursor={begin + _PAGE}"
        more = {"Link": f'<{link}>; rel="next"'} if begin + _PAGE < len(entries) else {}
        self._json(entries[begin : begin + _PAGE], more)

    def _resolve(self, path: str) -> None:
        name, _, rest = self._split(path, "resolve")
        repository = self._allowed(name, is_content=True)
        if repository is None:
            return
        revision, _, file = rest.partition("/")
        commit = self._commit(repository, unquote(revision))
        if commit is None:
            return
        content = repository.commits[commit].get(unquote(file))
        if content is None:
            self._refuse(404, "EntryNotFound", "Entry not found")
            return
        headers = {"X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        if _is_large(file):
            checksum = hashlib.sha256(content).hexdigest()
            headers |= {"X-Linked-Etag": f'"{checksum}"', "X-Linked-Size": str(len(content))}
            headers["Location"] = f"{self.state.cdn_url}/{name}/{commit}/{file}?signature=secret"
            self._answer(302, b"", headers)
        else:
            self._content(content, headers | {"ETag": f'"{git_oid(content)}"'})

    def _cdn(self, path: str) -> None:
        if "Authorization" in self.headers:
            self._answer(400, b"Only one auth mechanism allowed", {})
            return
        *name, commit, file = unquote(path).lstrip("/").split("/", 3)
        content = self.state.repositories["/".join(name)].commits[commit][file]
        self._content(content, {"ETag": f'"{hashlib.md5(content).hexdigest()}"'})

    def _content(self, content: bytes, headers: dict[str, str]) -> None:
        fault = self.fault or Fault()
        start = 0 if fault.whole else self.state.requests[-1].start
        if start and start >= len(content):
            self._answer(416, b"", {"Content-Range": f"bytes */{len(content)}"})
            return
        if fault.damage:
            content = bytes(255 - byte for byte in content)
        content = fault.body if fault.body is not None else content
        ranges = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if start else {}
        self._answer(206 if start else 200, content[start:], headers | ranges)

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        fault = self.fault or Fault()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if fault.content_length is None else fault.content_length))
        self.end_headers()
        if self.command == "HEAD":
            return
        try:
            if fault.stall is not None:
                self.wfile.write(body[: fault.stall])
                self.state.go.wait(30)
                body = body[fault.stall :]
            self.wfile.write(body[: fault.cut])
        except OSError:
            self.close_connection = True
        if fault.cut is not None or fault.content_length is not None:
            self.close_connection = True

    def _json(self, value: Any, headers: dict[str, str] | None = None) -> None:
        self._answer(200, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})})

    def _refuse(self, status: int, code: str | None, message: str) -> None:
        headers = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
        self._answer(status, json.dumps({"error": message}).encode(), headers)

    def _allowed(self, name: str, *, is_content: bool = False) -> Repository | None:
        repository, token = self.state.repositories.get(name), self.headers.get("Authorization")
        if token not in {None, f"Bearer {TOKEN}"}:
            self._refuse(401, None, "Invalid credentials in Authorization header")
        elif repository is None or (repository.access == "private" and token is None):
            # Who is not logged in is not told what exists.
            self._refuse(
                404 if token else 401, "RepoNotFound", "Repository not found" if token else "Invalid username or password."
            )
        elif is_content and repository.access == "gated" and token is None:
            self._refuse(401, "GatedRepo", f"Access to model {name} is restricted. You must be authenticated to access it.")
        elif is_content and repository.access == "gated-refused":
            self._refuse(403, "GatedRepo", f"Access to model {name} is restricted and you are not in the authorized list.")
        else:
            return repository
        return None

    def _commit(self, repository: Repository, revision: str) -> str | None:
        commit = repository.branches.get(revision, revision)
        if commit in repository.commits:
            return commit
        self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return None

    def _split(self, path: str, *kinds: str) -> tuple[str, str, str]:
        """`org/name/KIND/rest` in its parts."""
        for kind in kinds:
            name, found, rest = path.partition(f"/{kind}/")
            if found:
                return name, kind, rest
        return path, "", ""

    def log_message(self, format: str, *args: object) -> None:
        pass


def _entry(path: str, content: bytes) -> dict[str, Any]:
    if not _is_large(path):
        return {"type": "file", "oid": git_oid(content), "size": len(content), "path": path}
    checksum = hashlib.sha256(content).hexdigest()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{checksum}\nsize {len(content)}\n".encode()
    large = {"oid": checksum, "size": len(content), "pointerSize": len(pointer)}
    return {"type": "file", "oid": git_oid(pointer), "size": len(content), "lfs": large, "xetHash": "0" * 64, "path": path}
