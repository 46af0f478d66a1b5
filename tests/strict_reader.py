"""An SSE reader that must see each character once, in order, however often its connection is cut."""

import json
import threading
import time
from typing import Any

import httpx


class StrictReader(threading.Thread):
    """Reads a task's stream as a browser does: reconnects with Last-Event-ID until `done` or `error`."""

    def __init__(self, base_url: str, task_id: str, *, headers: dict[str, str] | None = None) -> None:
        super().__init__(daemon=True)
        self._url = f"{base_url}/api/chat/{task_id}/stream"
        self._headers = headers or {}
        self.text = ""
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.violations: list[str] = []
        self.final: dict[str, Any] | None = None
        self.connections = 0
        self.resets = 0
        self._last_id: str | None = None
        self._stopping = threading.Event()

    def run(self) -> None:
        while self.final is None and not self._stopping.is_set():
            headers = dict(self._headers) | ({"Last-Event-ID": self._last_id} if self._last_id is not None else {})
            try:
                timeout = httpx.Timeout(5.0, read=20.0)
                with httpx.stream("GET", self._url, headers=headers, timeout=timeout) as response:
                    if response.status_code != 200:
                        time.sleep(0.2)
                        continue
                    self.connections += 1
                    self._read(response)
            except httpx.HTTPError:
                time.sleep(0.1)

    def _read(self, response: httpx.Response) -> None:
        event, data, event_id = "message", [], None
        for line in response.iter_lines():
            if self._stopping.is_set():
                return
            if not line:
                if data:
                    if event_id is not None:
                        self._last_id = event_id
                    self._take(event, json.loads("\n".join(data)))
                    if self.final is not None:
                        return
                event, data, event_id = "message", [], None
            elif not line.startswith(":"):
                name, _, value = line.partition(":")
                value = value.removeprefix(" ")
                if name == "event":
                    event = value
                elif name == "data":
                    data.append(value)
                elif name == "id":
                    event_id = value

    def _take(self, event: str, data: dict[str, Any]) -> None:
        self.events.append((event, data))
        if event == "token":
            if data["offset"] != len(self.text):
                self.violations.append(f"token at {data['offset']} when {len(self.text)} characters had been read")
            if not data["text"]:
                self.violations.append("an empty token")
            self.text = self.text[: data["offset"]] + data["text"]
        elif event == "reset":
            self.resets += 1
            self.text = self.text[: data["offset"]]
        elif event in ("done", "error"):
            self.final = data

    def wait_for(self, characters: int, seconds: float = 60) -> "StrictReader":
        """Until so many characters have been read."""
        deadline = time.monotonic() + seconds
        while len(self.text) < characters:
            assert self.final is None, f"the answer ended early: {self.final}"
            assert time.monotonic() < deadline, f"only {len(self.text)} characters in {seconds} s"
            time.sleep(0.01)
        return self

    def finish(self, seconds: float = 90) -> dict[str, Any]:
        """The final status, after checking that what was read is exactly its text."""
        self.join(seconds)
        assert self.final is not None, f"no end in {seconds} s; read {len(self.text)} characters: {self.events[-3:]}"
        assert not self.violations, self.violations
        assert self.text == self.final["text"]
        return self.final

    def close(self) -> None:
        """Go away without a word, as a closed browser tab does."""
        self._stopping.set()
