"""The embedded servers as processes: they serve, survive kill -9, and do not outlive who started them."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import celery
import psutil
import pytest
import redis
from servers import Server, fresh_database, psql, started_postgres, started_valkey
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from ai_assistant.errors import ConfigurationError
from ai_assistant.standalone.postgres import EmbeddedPostgres


async def select(url: str, statement: str) -> object:
    engine = create_async_engine(url.replace("postgresql:", "postgresql+asyncpg:"))
    try:
        async with engine.connect() as connection:
            return (await connection.execute(text(statement))).scalar()
    finally:
        await engine.dispose()


async def test_sqlalchemy_connects_by_the_url(postgres_url: str) -> None:
    assert await select(postgres_url, "SELECT lower('Ж') || current_setting('server_encoding')") == "жUTF8"


def test_fresh_databases_are_empty_or_copies(postgres_url: str) -> None:
    first = fresh_database(postgres_url)
    psql(first, "CREATE TABLE t AS SELECT 7 AS x")
    assert psql(fresh_database(postgres_url, template=first), "SELECT x FROM t") == "7"
    assert psql(fresh_database(postgres_url), "SELECT count(*) FROM pg_tables WHERE tablename = 't'") == "0"


def test_embedded_postgres_survives_kill_and_keeps_committed_rows(tmp_path: Path) -> None:
    with started_postgres(tmp_path, fsync="on", synchronous_commit="on") as server:
        psql(server.url, "CREATE TABLE t AS SELECT 1 AS x")
        server.kill()
        server.start()
        assert psql(server.url, "SELECT x FROM t") == "1"


def test_postmaster_pid_of_a_reused_process_number_is_harmless(tmp_path: Path) -> None:
    with started_postgres(tmp_path) as server:
        server.kill()
        pid_file = tmp_path / "postgres" / "postmaster.pid"
        lines = pid_file.read_text().splitlines()
        pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
        server.start()
        assert psql(server.url, "SELECT 1") == "1"


def test_server_of_a_killed_run_is_ended_at_the_next_start(tmp_path: Path) -> None:
    with started_postgres(tmp_path) as server:
        old = psutil.Process(server.pid)
        EmbeddedPostgres(tmp_path).prepare()
        assert not old.is_running() or old.status() == psutil.STATUS_ZOMBIE


def test_long_data_folder_gets_a_short_socket_folder(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 60) / ("y" * 60)
    with started_postgres(deep) as server:
        assert psql(server.url, "SELECT 1") == "1"
        assert not str(server.embedded.url).endswith(str(deep / "run"))
    with started_postgres(deep) as server:
        assert psql(server.url, "SELECT 1") == "1"


def test_data_of_another_version_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "PG_VERSION").write_text("16\n")
    with pytest.raises(ConfigurationError, match="made by PostgreSQL 16"):
        EmbeddedPostgres(tmp_path).prepare()


def test_valkey_serves_redis_and_celery_by_one_url(valkey: Server) -> None:
    client = redis.Redis.from_url(valkey.url)
    client.set("x", "1")
    app = celery.Celery(broker=valkey.url)
    app.send_task("ai_assistant.generate", ["id"], queue="assistant.test")
    assert client.llen("assistant.test") == 1
    valkey.flush()
    assert client.dbsize() == 0
    client.close()
    app.close()


def test_valkey_keeps_the_queue_over_a_restart_and_hides_its_password(own_valkey: Server) -> None:
    client = redis.Redis.from_url(own_valkey.url)
    client.rpush("assistant.a", "1")
    own_valkey.restart()
    assert client.llen("assistant.a") == 1
    password = own_valkey.url.split(":")[2].split("@")[0]
    assert password not in " ".join(psutil.Process(own_valkey.pid).cmdline())
    with redis.Redis(port=int(own_valkey.url.split(":")[-1].split("/")[0])) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()
    client.close()


def test_valkey_starts_with_a_truncated_file_and_without_an_unreadable_one(tmp_path: Path) -> None:
    with started_valkey(tmp_path) as server:
        client = redis.Redis.from_url(server.url)
        for number in range(100):
            client.rpush("list", number)
        server.stop()
        log = next((tmp_path / "valkey" / "appendonlydir").glob("*.incr.aof"))
        os.truncate(log, log.stat().st_size - 5)
        server.start()
        assert client.llen("list") == 99
        server.stop()
        log.write_bytes(b"garbage" + log.read_bytes()[7:])
        with pytest.raises(AssertionError, match="valkey ended"):
            server.start()
        assert server.embedded.recover(server.log.read_text())
        server.start()
        assert client.llen("list") == 0
        client.close()


def test_paused_servers_answer_again_after_resume(own_valkey: Server) -> None:
    client = redis.Redis.from_url(own_valkey.url, socket_timeout=0.2, retry=None)
    client.ping()
    own_valkey.pause()
    with pytest.raises(redis.TimeoutError):
        client.ping()
    own_valkey.resume()
    assert client.ping()
    client.close()


STARTER = """
import subprocess, sys, time
from pathlib import Path
from ai_assistant.standalone.postgres import EmbeddedPostgres
from ai_assistant.standalone.valkey import EmbeddedValkey
for embedded in (EmbeddedPostgres(Path(sys.argv[1]), options={"fsync": "off"}), EmbeddedValkey(Path(sys.argv[1]))):
    embedded.prepare()
    process = subprocess.Popen(embedded.command(), start_new_session=True, stdout=2)
    while not embedded.is_ready(process.pid):
        assert process.poll() is None
        time.sleep(0.02)
    print(process.pid, flush=True)
time.sleep(600)
"""


async def test_servers_die_with_a_killed_starter(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STARTER, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as starter:
        assert starter.stdout
        pids = [int(await asyncio.to_thread(starter.stdout.readline)) for _ in range(2)]
        starter.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 5
    while any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids):
        assert time.monotonic() < deadline, "a server outlived the process that started it"
        await asyncio.sleep(0.05)
