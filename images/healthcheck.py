"""Health check of a container: `python healthcheck.py gateway|worker|bot [PATH]` ends with 0 if the process answers.

Standard library only, and no proxy: `urllib` would ask HTTP_PROXY for an address inside the container.
"""

import http.client
import os
import sys
from urllib.parse import urlsplit

SECONDS = 4.0


def setting(name: str, default: str) -> str:
    return os.environ.get(f"AI_ASSISTANT_{name}") or default


def address(process: str) -> str:
    """Where to ask. A bot without a port of its own is well if it reaches its gateway."""
    if process == "bot":
        own = setting("TELEGRAM_HEALTH_PORT", "")
        return f"http://127.0.0.1:{own}" if own else setting("GATEWAY_URL", "http://127.0.0.1:8000")
    port = setting("WORKER_METRICS_PORT", "9100") if process == "worker" else setting("PORT", os.environ.get("PORT") or "8000")
    return f"http://127.0.0.1:{port}"


def main(process: str, path: str = "/livez") -> int:
    url = urlsplit(address(process))
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    connection = kind(url.hostname or "127.0.0.1", url.port, timeout=SECONDS)
    try:
        connection.request("GET", url.path.rstrip("/") + path)
        answer = connection.getresponse()
        text = answer.read(500).decode("utf-8", "replace").strip()
    except (OSError, http.client.HTTPException) as error:
        sys.stdout.write(f"{url.geturl()}{path}: {error}\n")
        return 1
    finally:
        connection.close()
    sys.stdout.write(f"{answer.status} {text}\n")
    return 0 if answer.status == 200 else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
