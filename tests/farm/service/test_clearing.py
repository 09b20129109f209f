"""What clearing up reads: by an index what is to go, and not all that is there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import sqlalchemy as sql
from sqlalchemy import Connection, event

from farm.service import clearing, jobs, tables, uploads, webhooks
from farm.service.clearing import Retention
from farm.service.database import Database
from farm.service.places import ServicePlaces
from farm.service.states import JobState
from tests.farm.service.farmhouse import ACME, Hand, begin, job_in, submit, tenants

DAY_S = 86_400
MANY = 1000  # so many that PostgreSQL reads none of these tables from end to end where an index will do
FEW = 50
URL = "https://hooks.example.com/farm"
ROWS = re.compile(r"rows=([0-9.]+) loops=([0-9]+)|Rows Removed by \w+: ([0-9]+)")


def some_of_all(db: Database, clock: Hand) -> None:
    """Something to clear up of every kind, among many rows that stay."""
    tenants(db)
    webhooks.make(db, ACME, URL)
    old, _ = job_in(db, JobState.succeeded)
    ready, stale = begin(db), begin(db)
    uploads.finish(db, ACME, ready, size_bytes=10, sha256="0", media={})
    clock.forward(40 * DAY_S)
    for state in (JobState.succeeded, JobState.failed):
        job_in(db, state)
    jobs.erase(db, ACME, submit(db).id)
    webhooks.make(db, ACME, URL, job=submit(db).id)
    uploads.remove(db, ACME, begin(db), actor="key1")
    with db.write() as connection:
        copy(connection, tables.jobs, old, store_gone_ms=clock.now_ms, finished_ms=clock.now_ms)
        copy(connection, tables.uploads, stale, state="ready", changed_ms=clock.now_ms)
        letter = str(connection.execute(sql.select(tables.deliveries.c.id).limit(1)).scalar_one())
        copy(connection, tables.deliveries, letter, state="delivered", created_ms=clock.now_ms)
        hook = str(connection.execute(sql.select(tables.webhooks.c.id).limit(1)).scalar_one())
        copy(connection, tables.webhooks, hook, job="copy", off_ms=clock.now_ms)
        connection.exec_driver_sql("ANALYZE jobs, uploads, deliveries, webhooks" if db.postgres else "SELECT 1")


def copy(connection: Connection, table: sql.Table, row: str, **changes: object) -> None:
    """`MANY` rows as `row` of the table, but for the `changes`."""
    one = connection.execute(sql.select(table).where(table.c.id == row)).one()
    rows = [{**one._mapping, **changes, "id": f"copy-{number}"} for number in range(MANY)]
    connection.execute(sql.insert(table), rows)


def test_clearing_reads_what_is_to_go_and_not_all_that_is_there(db: Database, clock: Hand, tmp_path: Path) -> None:
    """By the databases' own words of every statement: SQLite's plan, which does not depend on what is in the tables,
    and the rows that PostgreSQL reads."""
    some_of_all(db, clock)
    engine = db._engine
    asked: list[tuple[str, Any]] = []

    def hear(connection: object, cursor: object, statement: str, given: Any, *_: object) -> None:
        if statement.startswith(("SELECT", "UPDATE", "DELETE")) and not statement.endswith("BEGIN"):
            asked.append((statement, given))

    event.listen(engine, "before_cursor_execute", hear)
    clearing.clear(db, ServicePlaces(tmp_path), Retention(30 * DAY_S, 30 * DAY_S, 30 * DAY_S))
    event.remove(engine, "before_cursor_execute", hear)
    told = {table for statement, _ in asked for table in tables.metadata.tables if table in statement}
    assert told >= {"jobs", "uploads", "job_uploads", "webhooks", "deliveries", "idempotency", "audit", "segments"}
    for statement, given in asked:
        with db.write() as connection:
            explain = "EXPLAIN (ANALYZE, TIMING OFF, COSTS OFF)" if db.postgres else "EXPLAIN QUERY PLAN"
            lines = [str(row[-1]) for row in connection.exec_driver_sql(f"{explain} {statement}", given)]
            connection.rollback()
        if db.postgres:
            found = [match for line in lines for match in ROWS.findall(line)]
            read = [float(rows or 0) * int(loops or 1) + int(removed or 0) for rows, loops, removed in found]
            assert max(read, default=0) < FEW, (statement, lines)
        else:
            in_order = "WHERE" not in statement and " LIMIT " in statement  # it reads no more than it gives
            scans = [line for line in lines if line.startswith("SCAN") and not (in_order and "USING INDEX" in line)]
            assert scans == [], (statement, lines)
