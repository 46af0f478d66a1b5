"""Tells the gateway which assistants there are. It keeps the list; this side only says what has changed."""

import hashlib
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp


class GatewayError(Exception):
    """The gateway could not be told; `is_final` when telling it again would not help."""

    def __init__(self, message: str, *, is_final: bool = False) -> None:
        super().__init__(message)
        self.is_final = is_final


class ServiceToken:
    """The token that the gateway expects, read anew when the file changes, as a mounted Secret does on rotation."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._read: tuple[int, str] = (-1, "")

    def headers(self) -> dict[str, str]:
        """Raises GatewayError."""
        if self._path is None:
            return {}
        try:
            changed = self._path.stat().st_mtime_ns
            if changed != self._read[0]:
                self._read = (changed, self._path.read_text().strip())
        except OSError as error:
            raise GatewayError(f"the gateway's token cannot be read: {error}") from error
        return {"Authorization": f"Bearer {self._read[1]}"}


class Gateway:
    """The gateway's second port."""

    def __init__(self, url: str, token: ServiceToken, *, timeout: float = 5.0) -> None:
        self._url, self._token = url.rstrip("/"), token
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def put(self, name: str, body: dict[str, Any]) -> None:
        """Makes or replaces an assistant. Raises GatewayError."""
        await self._send("PUT", f"/internal/assistants/{quote(name)}", json=body)

    async def delete(self, name: str, uid: str | None = None) -> None:
        """Forgets an assistant, if it is still the one with that uid. Raises GatewayError."""
        await self._send("DELETE", f"/internal/assistants/{quote(name)}", params={"uid": uid} if uid else {})

    async def _send(self, method: str, path: str, **what: Any) -> None:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=self._timeout, connector=aiohttp.TCPConnector(limit=8))
        try:
            async with self._session.request(method, self._url + path, headers=self._token.headers(), **what) as response:
                status, text = response.status, (await response.content.read(1000)).decode("utf-8", "replace")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise GatewayError(f"the gateway at {self._url} cannot be reached ({error or type(error).__name__})") from error
        if status >= 400 and not (status == 404 and method == "DELETE"):
            message = f"the gateway answers HTTP {status} to {method} {path}: {text[:200]}"
            raise GatewayError(message, is_final=status in (409, 422))


def fingerprint(body: dict[str, Any]) -> str:
    """The same for the same content: what has been said already need not be said again."""
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]
