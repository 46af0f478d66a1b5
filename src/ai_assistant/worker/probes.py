"""The worker's small HTTP server: /metrics, /livez, /readyz. It runs on a thread of its own and asks nothing of the broker."""

import http.server
import threading
from collections.abc import Callable

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

Probe = Callable[[], str | None]
"""None: well. Otherwise a sentence that says what is wrong."""


def start_probes(host: str, port: int, registry: CollectorRegistry, live: Probe, ready: Probe) -> http.server.HTTPServer:
    """Serve until the process ends; port 0 takes a free one. Raises OSError if the port is taken."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/metrics":
                self.answer(200, CONTENT_TYPE_LATEST, generate_latest(registry))
            elif path in ("/livez", "/readyz"):
                problem = live() if path == "/livez" else ready()
                self.answer(503 if problem else 200, "text/plain; charset=utf-8", f"{problem or 'ok'}\n".encode())
            else:
                self.answer(404, "text/plain; charset=utf-8", b"not found\n")

        def answer(self, status: int, content_type: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Probes are not worth a line each."""

    server = http.server.ThreadingHTTPServer((host, port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="probes", daemon=True).start()
    return server
