"""A gateway whose answers a test writes down beforehand, on a real socket, so that connections can be cut."""

import http.server
import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

CUT = b"cut"
"""At the end of a scripted stream: the connection breaks instead of ending."""
HANG = b"hang"
"""At the end of a scripted stream: nothing more comes until the double is closed."""


def event(name: str, data: Any, event_id: int | None = None) -> bytes:
    identity = f"id: {event_id}\n" if event_id is not None else ""
    return f"{identity}event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


def token(offset: int, text: str) -> bytes:
    return event("token", {"offset": offset, "text": text}, offset + len(text))


def done(text: str, status: str = "succeeded", **more: Any) -> bytes:
    return event("done", {"status": status, "text": text} | more)


class GatewayDouble:
    """`streams` and `posts` are used up in order; everything that is asked is noted in `requests`."""

    def __init__(self) -> None:
        self.posts: list[tuple[int, Any]] = []
        self.streams: list[list[bytes] | int] = []
        self.answers: dict[str, tuple[int, Any]] = {"/livez": (200, {})}
        self.requests: list[tuple[str, str, dict[str, str], Any]] = []
        self.closing = threading.Event()
        self.task_id = str(uuid.uuid4())
        self.conversation_id = str(uuid.uuid4())
        self.url = ""

    def of(self, method: str) -> list[tuple[str, str, dict[str, str], Any]]:
        return [request for request in self.requests if request[0] == method]

    def accepted(self) -> tuple[int, Any]:
        return 202, {"task_id": self.task_id, "conversation_id": self.conversation_id, "status": "queued"}

    def respond(self, method: str, path: str, headers: dict[str, str], body: Any) -> tuple[int, Any] | None:
        """What a double that understands requests answers; None: what is written down."""
        return None

    @contextmanager
    def running(self) -> Iterator["GatewayDouble"]:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield self
        finally:
            self.closing.set()
            server.shutdown()
            thread.join()
            server.server_close()

    def _handler(double) -> type[http.server.BaseHTTPRequestHandler]:
        class Handler(http.server.BaseHTTPRequestHandler):
            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                double.requests.append((self.command, self.path, headers, json.loads(body) if body else None))
                if (understood := double.respond(*double.requests[-1])) is not None:
                    self.answer(*understood)
                elif self.command == "POST":
                    self.answer(*(double.posts.pop(0) if double.posts else double.accepted()))
                elif self.path.endswith("/stream"):
                    self.stream(double.streams.pop(0))
                else:
                    self.answer(
                        *double.answers.get(self.path, (404, {"error": {"code": "x", "message": "There is no such thing."}}))
                    )

            do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = handle_any

            def answer(self, status: int, body: Any) -> None:
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def stream(self, script: list[bytes] | int) -> None:
                if isinstance(script, int):
                    self.answer(script, {"error": {"code": "x", "message": "Not now."}})
                    return
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                if CUT in script:
                    self.send_header("Content-Length", "1000000")
                self.end_headers()
                for part in script:
                    if part == HANG:
                        double.closing.wait(20)
                    elif part != CUT:
                        self.wfile.write(part)
                        self.wfile.flush()

            def log_message(self, *_: object) -> None:
                pass

        return Handler
