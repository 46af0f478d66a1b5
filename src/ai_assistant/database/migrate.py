"""Migrations: run under an advisory lock, and asked for by processes that must wait for the schema."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from ai_assistant.database.session import Database

LOCK = 0x41495F4D  # one migration at a time, whoever starts it


def alembic_config(connection: Connection | None = None) -> Config:
    """Alembic's configuration, without an ini file."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config


def head_revision() -> str | None:
    """The revision that this code needs."""
    return ScriptDirectory.from_config(alembic_config()).get_current_head()


def read_revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


async def current_revision(database: Database) -> str | None:
    """The revision that the database has; None if it is empty."""
    async with database.connection() as connection:
        return await connection.run_sync(read_revision)


async def migrate(database: Database, revision: str = "head") -> tuple[str | None, str | None]:
    """Bring the schema to `revision` (down too, if it is older). Returns the revision before and after.

    Give it a Database with `command_seconds=None`: a change of a large table, and waiting for another migration, take their time.
    """

    def run(connection: Connection) -> tuple[str | None, str | None]:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        before = read_revision(connection)
        config = alembic_config(connection)
        if revision == "base" or (before is not None and is_older(config, revision, before)):
            command.downgrade(config, revision)
        else:
            command.upgrade(config, revision)
        return before, read_revision(connection)

    async with database.connection() as connection:
        return await connection.run_sync(run)


def is_older(config: Config, revision: str, than: str) -> bool:
    """Whether `revision` is an ancestor of `than`."""
    script = ScriptDirectory.from_config(config)
    ancestors = {item.revision for item in script.iterate_revisions(than, "base")}
    wanted = script.get_revision(revision)
    return wanted is not None and wanted.revision != than and wanted.revision in ancestors
