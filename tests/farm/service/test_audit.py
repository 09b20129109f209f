"""How long the audit is kept: lines go from its beginning, and that they went is told in it."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sql

from core.errors import StorageError
from farm.service import audit, tables
from farm.service.clearing import Retention, clear
from farm.service.database import Database
from farm.service.places import ServicePlaces
from tests.farm.service.farmhouse import Hand

DAY_S = 86_400
KEEP_S = 10 * DAY_S
line = tables.audit.c


def noted(db: Database, clock: Hand, days: int) -> None:
    """Two lines a day."""
    for number in range(2 * days):
        audit.note(db, "key1", "result.link", f"job_{number}")
        clock.forward(DAY_S / 2)


def lines(db: Database) -> list[tuple[int, str]]:
    return [(one.seq, one.action) for one in reversed(audit.listed(db, limit=1000).items)]


def test_lines_go_when_they_are_old_enough_and_the_chain_says_so(db: Database, clock: Hand) -> None:
    places, keep = ServicePlaces(Path("/nowhere")), Retention(audit_s=KEEP_S)
    noted(db, clock, 11)
    clear(db, places, keep)
    assert len(lines(db)) == 22, "the oldest is not so old for a day yet"
    clear(db, places)
    clock.forward(1)
    clear(db, places, keep)
    assert lines(db) == [*((seq, "result.link") for seq in range(4, 23)), (23, audit.TRIM)]
    assert audit.check(db) == 20
    noted(db, clock, 30)
    for _ in range(3):
        clear(db, places, keep)
    left = lines(db)
    assert [action for _, action in left].count(audit.TRIM) == 1, "one line for all that went"
    assert left[-1] == (left[0][0] + len(left) - 1, audit.TRIM)
    assert audit.check(db) == len(left) == 21


def test_as_much_as_went_is_what_the_chain_says(db: Database, clock: Hand) -> None:
    noted(db, clock, 20)
    assert audit.trim(db, "retention", KEEP_S) == 20
    assert audit.check(db) == 21
    with db.write() as connection:
        first = connection.execute(sql.select(sql.func.min(line.seq))).scalar_one()
        connection.execute(sql.delete(tables.audit).where(line.seq == first))
    with pytest.raises(StorageError, match=f"lines before line {first + 1} of the audit were removed"):
        audit.check(db)


def test_a_line_from_between_is_missed_as_ever(db: Database, clock: Hand) -> None:
    noted(db, clock, 20)
    audit.trim(db, "retention", KEEP_S)
    with db.write() as connection:
        connection.execute(sql.delete(tables.audit).where(line.seq == 30))
    with pytest.raises(StorageError, match="the audit was edited at line 30"):
        audit.check(db)


def test_the_end_of_the_chain_stays_however_old_it_is(
    db: Database, clock: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert audit.trim(db, "retention", KEEP_S) == 0
    noted(db, clock, 3)
    clock.forward(1000 * DAY_S)
    monkeypatch.setattr(audit, "TRIM_BATCH", 2)
    assert [audit.trim(db, "retention", KEEP_S) for _ in range(4)] == [2, 2, 2, 0]
    assert lines(db) == [(7, audit.TRIM), (8, audit.TRIM), (9, audit.TRIM)]
    assert audit.check(db) == 3
    audit.note(db, "key1", "result.link", "job_x")
    assert audit.check(db) == 4
