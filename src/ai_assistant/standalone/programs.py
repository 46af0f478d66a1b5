"""What the supervisor runs, and how it sees that it is ready."""

import asyncio
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from ai_assistant.standalone.launch import dying_with_parent
from ai_assistant.standalone.output import fatal_in_postgres, never_worrying
from ai_assistant.standalone.postgres import EmbeddedPostgres
from ai_assistant.standalone.process import Program
from ai_assistant.standalone.valkey import EmbeddedValkey

PROBE_TIMEOUT = 2.0


def server_program(server: EmbeddedPostgres | EmbeddedValkey) -> Program:
    """An embedded server."""

    async def ready(pid: int) -> bool:
        return await asyncio.to_thread(server.is_ready, pid)

    is_valkey = isinstance(server, EmbeddedValkey)
    return Program(
        name=server.name,
        command=server.command,
        ready=ready,
        prepare=server.prepare,
        recover=server.recover if isinstance(server, EmbeddedValkey) else None,
        worry=never_worrying if is_valkey else fatal_in_postgres,
        stop_signal=server.stop_signal,
    )


def python_program(name: str, program: Sequence[str], environment: Mapping[str, str], ready_url: str) -> Program:
    """`ai-assistant NAME`, ready once `ready_url` says 200."""

    async def ready(pid: int) -> bool:
        del pid
        return await is_ok(ready_url)

    return Program(name, lambda: dying_with_parent([*program, name]), ready, environment)


def bot_program(program: Sequence[str], environment: Mapping[str, str], live_url: str) -> Program:
    """The bot is ready once it runs: Telegram may be away for long, and everything else does not wait for it."""

    async def ready(pid: int) -> bool:
        del pid
        return await is_ok(live_url)

    return Program("bot", lambda: dying_with_parent([*program, "bot"]), ready, environment, is_optional=True)


async def is_ok(url: str) -> bool:
    """Whether a server on this machine answers 200. An HTTP library would cost more time than the answer."""
    parts = urlsplit(url)
    try:
        async with asyncio.timeout(PROBE_TIMEOUT):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            try:
                writer.write(f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n".encode())
                return b" 200 " in await reader.readline()
            finally:
                writer.close()
    except (OSError, ValueError, TimeoutError):
        return False
