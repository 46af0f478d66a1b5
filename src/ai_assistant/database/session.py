"""Connections to PostgreSQL. Every failure to reach it leaves here as DatabaseUnavailableError."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

from sqlalchemy import exc, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from ai_assistant.errors import AssistantError, ConfigurationError, DatabaseUnavailableError

CONNECT_SECONDS = 3.0
COMMAND_SECONDS = 15.0
"""A server that does not answer for this long counts as unreachable (a frozen host keeps its sockets open)."""

UNAVAILABLE_SQLSTATES = ("08", "53", "57P", "25006", "58")
"""Connection failure, insufficient resources (disk full, too many connections), shutdown, read-only stand-by, I/O error."""


def async_url(url: str) -> URL:
    """Accept `postgresql://…` as people write it and name the driver; raises ConfigurationError."""
    try:
        parsed = make_url(url)
    except exc.ArgumentError as error:
        raise ConfigurationError("AI_ASSISTANT_DATABASE_URL is not a URL like postgresql://user:password@host/name") from error
    if parsed.get_backend_name() not in ("postgresql", "postgres"):
        raise ConfigurationError("AI_ASSISTANT_DATABASE_URL must be a PostgreSQL URL like postgresql://user:password@host/name")
    return parsed.set(drivername="postgresql+asyncpg")


def is_unavailable(error: BaseException) -> bool:
    """Whether `error` says that the server cannot serve now, rather than that the statement is wrong."""
    if isinstance(error, (OSError, asyncio.TimeoutError, exc.TimeoutError)):
        return True
    if isinstance(error, exc.DBAPIError):
        state = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None) or ""
        return (
            error.connection_invalidated
            or str(state).startswith(UNAVAILABLE_SQLSTATES)
            or isinstance(error, exc.InterfaceError)
            or isinstance(error.orig.__cause__ if error.orig else None, (OSError, asyncio.TimeoutError))
        )
    # asyncpg's own errors while connecting are not wrapped by SQLAlchemy
    state = getattr(error, "sqlstate", None)
    if state is not None:
        return str(state).startswith(UNAVAILABLE_SQLSTATES)
    return type(error).__module__.startswith("asyncpg") and "connection" in str(error).lower()


class Database:
    """A pool of connections; `session()` is one unit of work with one commit at its end."""

    def __init__(
        self, url: str, *, pool_size: int = 10, max_overflow: int = 0, command_seconds: float | None = COMMAND_SECONDS
    ) -> None:
        self.engine: AsyncEngine = create_async_engine(
            async_url(url),
            pool_size=pool_size,
            max_overflow=max_overflow,
            pool_pre_ping=True,
            hide_parameters=True,  # what people write does not belong into logs
            pool_timeout=CONNECT_SECONDS + COMMAND_SECONDS,
            connect_args={"timeout": CONNECT_SECONDS, "command_timeout": command_seconds},
        )
        self._sessions = async_sessionmaker(self.engine, expire_on_commit=False)

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncSession]:
        """One transaction: committed at the end of the block, rolled back on an error."""
        with translated():
            async with self._sessions() as session:
                try:
                    yield session
                    await session.commit()
                except BaseException:
                    # a dead connection cannot roll back; the first error is the one to report
                    with contextlib.suppress(Exception):
                        await session.rollback()
                    raise

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection]:
        """One transaction without the ORM."""
        with translated():
            async with self.engine.begin() as connection:
                yield connection

    async def ping(self) -> None:
        """Raise DatabaseUnavailableError if the server does not answer."""
        async with self.connection() as connection:
            await connection.execute(text("SELECT 1"))

    async def close(self) -> None:
        await self.engine.dispose()


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Turn a failure to reach the server into DatabaseUnavailableError."""
    try:
        yield
    except AssistantError:
        raise
    except Exception as error:
        if is_unavailable(error):
            raise DatabaseUnavailableError from error
        raise
