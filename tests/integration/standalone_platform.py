"""A second, tiny `ai-assistant` for tests of the supervisor: the same commands, no database, no model.

What misbehaves is said by files in the folder FAKE_DIR: `crash-gateway` makes it end at once, `slow-worker` ignore SIGTERM.
Every process notes its life in FAKE_DIR/events.
"""

import http.server
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TextIO

FOLDER = Path(os.environ["FAKE_DIR"])


def note(event: str) -> None:
    with (FOLDER / "events").open("a") as file:
        file.write(f"{event}\n")


def write(stream: TextIO, line: object) -> None:
    stream.write(f"{line}\n")
    stream.flush()


def serve(name: str, port: int) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)

    def stop(*_: object) -> None:
        note(f"{name} stopping")
        if not (FOLDER / f"slow-{name}").exists():
            threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, stop)
    note(f"{name} started")
    write(sys.stderr, json.dumps({"level": "info", "event": "calm"}))
    write(sys.stderr, json.dumps({"level": "warning", "event": f"{name} worries", "number": 7}))
    server.serve_forever()
    server.server_close()
    note(f"{name} ended")


def main() -> int:
    name = sys.argv[1]
    environment = {key: value for key, value in os.environ.items() if key.startswith("AI_ASSISTANT_")}
    (FOLDER / f"{name}.json").write_text(json.dumps({"argv": sys.argv[1:], "environment": environment, "sid": os.getsid(0)}))
    if (FOLDER / f"crash-{name}").exists():
        write(sys.stderr, json.dumps({"level": "error", "event": f"{name} is broken"}))
        return 3
    if name == "gateway":
        serve(name, int(os.environ["AI_ASSISTANT_PORT"]))
    elif name == "worker":
        serve(name, int(os.environ["AI_ASSISTANT_WORKER_METRICS_PORT"]))
    elif name == "bot":
        note("bot started")
        time.sleep(600)
    elif name == "model":
        return build()
    return 0


def build() -> int:
    store = Path(sys.argv[sys.argv.index("--store") + 1])
    if (FOLDER / "slow-model").exists():
        note("model building")
        time.sleep(600)
    package = store / "0123456789abcdef"
    package.mkdir(parents=True, exist_ok=True)
    (package / "manifest.json").write_text("{}")
    write(sys.stderr, json.dumps({"stage": "download", "bytes": 50, "total": 100}))
    write(sys.stdout, "some line")
    write(sys.stdout, package)
    return 0


if __name__ == "__main__":
    sys.exit(main())
