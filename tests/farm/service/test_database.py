"""Opening a database, bringing it up to date, and what is told when it is not there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sql
from psycopg.pq import TransactionStatus
from sqlalchemy import event

from core.errors import FarmError, InputError, StorageError
from farm.service import database, jobs, tables
from farm.service.database import Database, Listing, open_database, parse_url
from farm.service.errors import Unreachable
from farm.service.migrations import STEPS, Step, migrate
from tests.farm.service.farmhouse import ACME, submit, tenants
from tests.postgres import Postgres

TYPES = {"TEXT": "TEXT", "BIGINT": "BIGINT"}


def test_the_migrations_make_the_tables(db: Database) -> None:
    """What the code takes the tables to be is what the migrations make: names, order, types, keys, nulls."""
    with db.read() as connection:
        look = sql.inspect(connection)
        assert set(look.get_table_names()) == {*tables.metadata.tables, "farm_schema"}
        for table in tables.metadata.sorted_tables:
            found = look.get_columns(table.name)
            key = look.get_pk_constraint(table.name)["constrained_columns"]
            assert [column["name"] for column in found] == [column.name for column in table.columns]
            for column, made in zip(table.columns, found, strict=True):
                assert str(made["type"]).split(" ")[0].strip('"') == str(column.type), column
                assert (column.name in key) == column.primary_key, column
                assert bool(made["nullable"]) == bool(column.nullable) or column.primary_key, column


def test_opening_twice_changes_nothing(db: Database, url: str) -> None:
    tenants(db)
    job = submit(db)
    with open_database(url) as again:
        assert jobs.get(again, ACME, job.id) == job
        with again.read() as connection:
            assert connection.execute(sql.text("SELECT count(*) FROM farm_schema")).scalar_one() == len(STEPS)


def test_a_look_is_one_statement_and_a_read_sees_one_state(db: Database) -> None:
    """Whoever looks twice may see what was written between; who reads does not, where the database is SQLite."""
    tenants(db)
    count = sql.text("SELECT count(*) FROM jobs")
    with db.look() as looks:
        assert looks.execute(count).scalar_one() == 0
        submit(db)
        assert looks.execute(count).scalar_one() == 1
    with db.read() as reads:
        assert reads.execute(count).scalar_one() == 1
        submit(db)
        assert reads.execute(count).scalar_one() == (2 if db.postgres else 1)


def test_on_postgres_a_look_begins_no_transaction_and_all_else_one_in_one_message(postgres: Postgres) -> None:
    with open_database(postgres.new_database()) as db:
        tenants(db)
        said: list[str] = []
        event.listen(db._engine, "before_cursor_execute", lambda *told: said.append(told[2]))

        def status(connection: sql.Connection) -> TransactionStatus:
            connection.execute(sql.text("SELECT count(*) FROM jobs")).scalar_one()
            driver: Any = connection.connection.driver_connection
            return TransactionStatus(driver.info.transaction_status)

        with db.look() as connection:
            assert status(connection) is TransactionStatus.IDLE
            with pytest.raises(AssertionError, match="no transaction"):
                db.now_ms(connection)
        assert len(said) == 1
        for begin in (db.read, db.write):
            said.clear()
            with begin() as connection:
                assert status(connection) is TransactionStatus.INTRANS
                assert db.now_ms(connection) == db.now_ms(connection)
            assert len(said) == 2


def test_rows_are_the_same_as_one_by_one(db: Database) -> None:
    tenants(db)
    for title in ("plain", '"quoted" \\ {json} \x01 \u2028', "Ångström 🎬", "1e5", ""):
        submit(db, title=title, labels={title[:3] or "x": title})
    some = sql.select(tables.jobs.c.id, tables.jobs.c.last_seq).limit(sql.bindparam("most"))
    for asked, given in ((sql.select(tables.jobs), {}), (some, {"most": 2})):
        ordered = asked.order_by(tables.jobs.c.id)
        with db.look() as connection:
            one_by_one = [dict(row) for row in connection.execute(ordered, given).mappings()]
            at_once = [dict(row) for row in db.rows(connection, Listing(ordered), given)]
        assert sorted(at_once, key=lambda row: str(row["id"])) == one_by_one
    with db.look() as connection:
        assert list(db.rows(connection, Listing(sql.select(tables.jobs).where(sql.false())), {})) == []


def test_two_that_start_at_once_migrate_once(postgres: Postgres, tmp_path: Path) -> None:
    for url in (postgres.new_database(), f"sqlite:///{tmp_path}/new.db"):
        opened: list[Database] = []
        failed: list[Exception] = []

        def start(url: str = url, opened: list[Database] = opened, failed: list[Exception] = failed) -> None:
            try:
                opened.append(open_database(url))
            except Exception as error:
                failed.append(error)

        threads = [threading.Thread(target=start) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(opened), failed) == (6, [])
        for one in opened:
            one.ping()
            one.close()


def test_a_later_step_is_carried_out_once_and_whole(db: Database) -> None:
    last = len(STEPS)
    more = Step(last + 1, "one's more", ("CREATE TABLE more (id BIGINT PRIMARY KEY)",))
    broken = Step(last + 2, "broken", ("CREATE TABLE half (id BIGINT PRIMARY KEY)", "CREATE TABLE more (id BIGINT)"))
    for _ in range(2):
        with db.write() as connection:
            migrate(connection, where="x", steps=(*STEPS, more))
    with pytest.raises(FarmError), db.write() as connection:
        migrate(connection, where="x", steps=(*STEPS, more, broken))
    with db.read() as connection:
        assert "more" in sql.inspect(connection).get_table_names()
        assert "half" not in sql.inspect(connection).get_table_names()
        numbers = connection.execute(sql.text("SELECT number FROM farm_schema ORDER BY number")).scalars().all()
        assert numbers == [*range(1, last + 2)]


def test_a_newer_database_is_refused(db: Database, url: str) -> None:
    with db.write() as connection:
        connection.execute(sql.text("INSERT INTO farm_schema (number, name) VALUES (99, 'later')"))
    with pytest.raises(InputError, match="of a newer farm \\(schema 99"):
        open_database(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "farm.db",
        "mysql://u:geheim@host/db",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file:x?mode=memory",
        "postgresql+asyncpg://u:geheim@h/d",
        "postgresql+psycopg2://u:geheim@h/d",
        "postgresql://u:geheim@h:port/d",
        "://geheim",
    ],
)
def test_what_is_no_address_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(InputError) as refused:
        open_database(url)
    assert "geheim" not in str(refused.value)


def test_addresses_as_people_write_them() -> None:
    for text in ("postgres://u:p@h/d", "postgresql://u:p@h/d", "postgresql+psycopg://u:p@h/d"):
        assert parse_url(text).drivername == "postgresql+psycopg"
    assert parse_url("sqlite:///x.db").database == str(Path.cwd() / "x.db")


def test_places_where_no_database_can_be(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="folder does not exist"):
        open_database(f"sqlite:///{tmp_path}/none/farm.db")
    (tmp_path / "film.mp4").write_bytes(os.urandom(5000))
    before = (tmp_path / "film.mp4").read_bytes()
    with pytest.raises(InputError, match="no SQLite database"):
        open_database(f"sqlite:///{tmp_path}/film.mp4")
    assert (tmp_path / "film.mp4").read_bytes() == before
    with pytest.raises(StorageError):
        open_database(f"sqlite:///{tmp_path}")
    with pytest.raises(Unreachable, match="does not answer") as refused:
        open_database(f"postgresql://u:geheim@/d?host={tmp_path}")
    assert "geheim" not in str(refused.value)


def test_the_server_dies_and_comes_back(tmp_path: Path) -> None:
    """Who asks meanwhile is told so in one line; what was committed is there, and the same Database goes on."""
    server = Postgres()
    try:
        with open_database(server.new_database()) as db:
            tenants(db)
            job = submit(db)
            server.kill()
            for _ in range(3):
                with pytest.raises(Unreachable, match="try again"):
                    jobs.get(db, ACME, job.id)
            with pytest.raises(Unreachable):
                submit(db)
            server.restart()
            assert jobs.get(db, ACME, job.id) == job
            with pytest.raises(Unreachable):
                _write_while_it_dies(db, server)
            server.restart()
            assert jobs.get(db, ACME, job.id) == job
            assert len(jobs.listed(db, ACME).items) == 1
    finally:
        server.close()


def test_a_connection_that_the_server_ended_is_replaced_before_it_is_used(postgres: Postgres) -> None:
    """As a server does that is told to, or that was begun again: whoever asks next is told nothing of it."""
    url = postgres.new_database()
    with open_database(url, connections=3) as db:
        tenants(db)
        job = submit(db)
        with db.look(), db.look(), db.look():
            pass  # three are open
        with psycopg.connect(url, autocommit=True) as other:
            mine = "FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'farm'"
            ended = other.execute(f"SELECT pg_terminate_backend(pid, 10000) {mine}").fetchall()
        assert ended == [(True,)] * 3
        for _ in range(3):
            assert jobs.get(db, ACME, job.id).id == job.id
            assert jobs.pause(db, ACME, job.id).title == job.title


def test_a_connection_is_asked_whether_it_is_there_where_it_was_idle_for_long(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    execute = psycopg.Connection.execute

    def noted(self: Any, query: Any, *more: Any, **named: Any) -> Any:
        asked.append(query)
        return execute(self, query, *more, **named)

    with open_database(postgres.new_database(), connections=1) as db:
        monkeypatch.setattr(psycopg.Connection, "execute", noted)
        tenants(db)
        submit(db)
        assert asked == []
        monkeypatch.setattr(database, "IDLE_S", -1.0)
        db.ping()
        assert asked == ["SELECT 1"]


def _write_while_it_dies(db: Database, server: Postgres) -> None:
    with db.write() as connection:
        connection.execute(sql.update(tables.jobs).values(title="never"))
        server.kill()
        connection.execute(sql.select(tables.jobs))


def test_a_process_that_dies_in_a_transaction_leaves_nothing(url: str) -> None:
    """SIGKILL between the change and the commit: the row is as it was, and nobody waits for the dead."""
    with open_database(url) as db:
        tenants(db)
        job = submit(db)
        program = (
            "import sys; import sqlalchemy as sql; from farm.service import tables\n"
            "from farm.service.database import open_database\n"
            "with open_database(sys.argv[1]) as db, db.write() as connection:\n"
            "    connection.execute(sql.update(tables.jobs).values(title='half'))\n"
            "    print('now', flush=True); sys.stdin.read()\n"
        )
        child = subprocess.Popen([sys.executable, "-c", program, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert child.stdout is not None
        assert child.stdin is not None
        assert child.stdout.readline() == b"now\n"
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdin.close()
        child.stdout.close()
        assert jobs.pause(db, ACME, job.id).title == job.title


def test_the_clock_of_the_database(url: str) -> None:
    with open_database(url) as db, db.read() as connection:
        first = db.now_ms(connection)
        assert 1_700_000_000_000 < first <= db.now_ms(connection)
        assert not db.postgres or first == db.now_ms(connection)
        assert first <= connection.execute(sql.select(db.now), db.given()).scalar_one() <= first + 60_000
