"""Migrations against a real PostgreSQL: up, down, as the models say, and never two at once."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from servers import fresh_database
from sqlalchemy import Connection, MetaData, inspect, text

from ai_assistant.database.migrate import LOCK, alembic_config, current_revision, head_revision, migrate
from ai_assistant.database.models import Base
from ai_assistant.database.session import Database


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[Database]:
    database = Database(fresh_database(postgres_url))
    yield database
    await database.close()


async def run(database: Database, function: Any) -> Any:
    async with database.connection() as connection:
        return await connection.run_sync(function)


async def tables(database: Database) -> set[str]:
    return await run(database, lambda connection: set(inspect(connection).get_table_names()))


def revisions() -> list[str]:
    """From the first to the last."""
    return [item.revision for item in reversed(list(ScriptDirectory.from_config(alembic_config()).walk_revisions()))]


async def test_one_head() -> None:
    assert len(ScriptDirectory.from_config(alembic_config()).get_heads()) == 1


async def test_up_from_empty_and_again(database: Database) -> None:
    assert await current_revision(database) is None
    assert await migrate(database) == (None, head_revision())
    assert await migrate(database) == (head_revision(), head_revision())
    assert set(Base.metadata.tables) < await tables(database)


async def test_each_step_up_down_and_up(database: Database) -> None:
    steps = revisions()
    for before, revision in zip(["base", *steps], steps, strict=False):
        await migrate(database, revision)
        await migrate(database, before)
        assert await current_revision(database) == (None if before == "base" else before)
        await migrate(database, revision)
        assert await current_revision(database) == revision
    for revision in [*reversed(steps[:-1]), "base"]:
        await migrate(database, revision)
    assert await tables(database) == {"alembic_version"}


async def test_models_are_what_migrations_make(database: Database) -> None:
    await migrate(database)

    def compare(connection: Connection) -> list[Any]:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True, "compare_type": True})
        return compare_metadata(context, Base.metadata)

    assert await run(database, compare) == []


async def test_constraints_and_defaults_to_the_letter(database: Database, postgres_url: str) -> None:
    """What Alembic does not compare: check constraints, conditions of indexes, identities, deletion rules."""
    await migrate(database)
    by_models = Database(fresh_database(postgres_url))
    try:
        await run(by_models, Base.metadata.create_all)
        migrated, made = await run(database, describe), await run(by_models, describe)
    finally:
        await by_models.close()
    migrated.pop("alembic_version")
    assert migrated == made


def describe(connection: Connection) -> dict[str, Any]:
    inspector = inspect(connection)
    found = MetaData()
    found.reflect(connection)
    return {
        name: {
            "columns": [
                (item["name"], str(item["type"]), item["nullable"], item["default"], bool(item.get("identity")))
                for item in inspector.get_columns(name)
            ],
            "primary key": inspector.get_pk_constraint(name),
            "checks": sorted((item["name"], item["sqltext"]) for item in inspector.get_check_constraints(name)),
            "unique": sorted((item["name"], *item["column_names"]) for item in inspector.get_unique_constraints(name)),
            "foreign keys": sorted(map(repr, inspector.get_foreign_keys(name))),
            "indexes": sorted(
                connection.scalars(text("SELECT indexdef FROM pg_indexes WHERE tablename = :name"), {"name": name})
            ),
        }
        for name in found.tables
    }


async def test_two_migrations_at_once(database: Database, postgres_url: str) -> None:
    other = Database(str(database.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)))
    try:
        results = await asyncio.gather(migrate(database), migrate(other), migrate(database))
    finally:
        await other.close()
    assert sorted(results, key=str) == sorted([(None, head_revision()), *[(head_revision(), head_revision())] * 2], key=str)


async def test_a_migration_waits_for_the_one_that_runs(database: Database) -> None:
    async with database.connection() as running:
        await running.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        waiting = asyncio.create_task(migrate(database))
        done, _ = await asyncio.wait({waiting}, timeout=0.3)
        assert not done
        assert await tables(database) == set()
    assert await waiting == (None, head_revision())
