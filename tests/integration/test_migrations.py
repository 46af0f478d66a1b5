"""Migrations against a real PostgreSQL: up, down, as the models say, and never two at once."""

import asyncio
import itertools
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from servers import fresh_database
from sqlalchemy import Connection, MetaData, func, inspect, select, text
from sqlalchemy.exc import IntegrityError

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


async def test_the_release_before_can_go_on_working(database: Database) -> None:
    """Migrations only expand: what a release wrote and read by its own tables, it can write and read after the next step."""
    steps = revisions()
    for before, revision in itertools.pairwise(steps):
        await migrate(database, before)
        known = await run(database, describe)
        await migrate(database, revision)
        after = await run(database, describe)
        known.pop("alembic_version")
        for name, table in known.items():
            now = {column[0]: column for column in after[name]["columns"]}
            for column, kind, nullable, default, identity in table["columns"]:
                assert now[column][1] == kind, f"{revision} changes the type of {name}.{column}"
                assert now[column][2] or not nullable, f"{revision} demands {name}.{column}"
                assert default is None or now[column][3] == default, f"{revision} drops the default of {name}.{column}"
                assert now[column][4] == identity
            for column in now.keys() - {item[0] for item in table["columns"]}:
                _, _, nullable, default, _ = now[column]
                assert nullable or default is not None, f"{revision} demands {name}.{column}, which the release before leaves out"
            assert after[name]["primary key"] == table["primary key"]


async def test_rows_of_the_release_before(database: Database) -> None:
    """Its statements against the tables of this one, by the columns that it knows."""
    await migrate(database, "0002")
    known = MetaData()
    await run(database, known.reflect)
    await migrate(database)
    user, task = uuid.uuid4(), uuid.uuid4()
    deliveries = known.tables["deliveries"]
    async with database.connection() as connection:
        await connection.execute(known.tables["users"].insert().values(id=user, external_id="tg:1"))
        row: dict[str, Any] = {"id": task, "assistant": "a", "user_id": user, "principal": "p", "sampling": {}}
        await connection.execute(known.tables["tasks"].insert().values(**row, deadline=text("now()")))
        row = {"task_id": task, "user_id": user, "channel": "telegram", "target": {}, "target_key": "1", "lane": "1:0"}
        await connection.execute(deliveries.insert().values(id=uuid.uuid4(), **row))
        # a broadcast of this release, which the one before joins with tasks and so never sees
        await connection.execute(
            text("INSERT INTO broadcasts (id, channel, key, text, targets) VALUES (:id, 'telegram', 'k', 'x', 1)"), {"id": task}
        )
        row["task_id"] = None
        values = deliveries.insert().values(id=uuid.uuid4(), **row)
        with pytest.raises(IntegrityError, match="content"):
            async with connection.begin_nested():
                await connection.execute(values)
        found = await connection.execute(deliveries.join(known.tables["tasks"]).select())
        assert len(found.all()) == 1
    async with database.connection() as connection:
        await connection.execute(known.tables["users"].delete())
        assert await connection.scalar(select(func.count()).select_from(deliveries)) == 0
