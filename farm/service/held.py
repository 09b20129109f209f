"""What a coordinator writes of the jobs it holds. All of it carries the epoch; `LeaseLost` where that is an old one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sql
from sqlalchemy import ColumnElement, Connection, RowMapping

from core.codec import encode
from core.records import JobReport
from farm.service import audit, erasing, quotas, tables
from farm.service.database import Database
from farm.service.errors import LeaseLost
from farm.service.jobs import REPORT, put_document
from farm.service.moves import NO_LEASE, change, insert, is_in, move, tell
from farm.service.records import Event, Held, Problem, Progress, Result, SegmentRow, Spent
from farm.service.rows import problem_of, text_of
from farm.service.states import ENDED, WORKING, JobState, Wish

job = tables.jobs.c


def stage(db: Database, held: Held, to: JobState) -> bool:
    """The job goes on to the stage `to`; False, and nothing changed, where it is there or further already."""
    earlier = WORKING[: WORKING.index(to)]
    with db.write() as connection:
        moved = move(connection, db.now_ms(connection), to, [*_mine(held), is_in(earlier)])
        if not moved:
            _check(connection, held)
        return bool(moved)


def report(
    db: Database,
    held: Held,
    *,
    progress: Progress | None = None,
    spent: Spent | None = None,
    segments: Sequence[SegmentRow] = (),
    events: Sequence[Event] = (),
) -> None:
    """How the job goes. `spent` is what this epoch used so far, in all: repeating a report counts nothing twice.

    `segments` are those that changed. `events` are told in order; those without any change nothing that is replayed.
    """
    values: dict[str, Any] = {}
    if progress is not None:
        values |= {"progress": text_of(progress), "segments_running": progress.segments_running}
    if any(one.state == "done" for one in segments):
        values |= {"lapses": 0, "losses": 0}  # whatever its coordinators and renderers died of, the job goes on
    with db.write() as connection:
        now_ms = db.now_ms(connection)
        if spent is not None:
            values |= _spend(connection, now_ms, held, spent)
        rows = change(connection, now_ms, [*_mine(held), is_in(WORKING)], values, events=len(events))
        if not rows:
            raise _lost(held)
        for place, event in enumerate(events):
            tell(connection, now_ms, rows[0], event.kind, event.data, before=len(events) - 1 - place)
        _write_segments(connection, held.job, segments)


def clear_segments(db: Database, held: Held) -> None:
    """Forget the segments of an earlier plan of the job."""
    with db.write() as connection:
        _check(connection, held, lock=True)
        connection.execute(sql.delete(tables.segments).where(tables.segments.c.job == held.job))


def succeed(db: Database, held: Held, result: Result, made: JobReport) -> None:
    """The film is published. A wish that came too late is forgotten, but for an erasure. `OverQuota`, and nothing
    changed, where it is more than the tenant may store."""
    with db.write() as connection:
        now_ms = db.now_ms(connection)
        quota = quotas.lock_tenant(connection, held.tenant)  # before the job's row, as who submits
        _check(connection, held, lock=True)
        quotas.check_result(connection, held.tenant, quota, held.job, result.size_bytes)
        values = {
            "result": text_of(result),
            "result_bytes": result.size_bytes,
            "problem": None,
            "finished_ms": now_ms,
            "wish": sql.case((job.wish == Wish.erase, job.wish), else_=Wish.run.value),
            **NO_LEASE,
        }
        row = _end(connection, now_ms, held, JobState.succeeded, values)
        put_document(connection, held.job, REPORT, encode(made).decode())
        _erase_if_wished(connection, now_ms, row)
        _note_end(connection, now_ms, row)


def fail(db: Database, held: Held, problem: Problem, *, refused: bool = False) -> None:
    """The job ends with `problem`; one that its owner cancelled meanwhile is cancelled."""
    with db.write() as connection:
        now_ms = db.now_ms(connection)
        to = JobState.refused if refused else JobState.failed
        _check(connection, held, lock=True)
        if _wish(connection, held) is Wish.cancel:
            to, problem_text = JobState.cancelled, None
        else:
            problem_text = text_of(problem)
        wish = sql.case((job.wish == Wish.erase, job.wish), else_=Wish.run.value)
        values = {"problem": problem_text, "finished_ms": now_ms, "wish": wish, **NO_LEASE}
        row = _end(connection, now_ms, held, to, values)
        _erase_if_wished(connection, now_ms, row)
        _note_end(connection, now_ms, row)


def wait_for_cast(db: Database, held: Held, problem: Problem | None = None) -> None:
    """The job waits for a cast, for the first time or because of `problem` with the one it has. What its owner wished
    meanwhile is done at once."""
    with db.write() as connection:
        now_ms = db.now_ms(connection)
        told = text_of(problem) if problem is not None else None
        row = _end(connection, now_ms, held, JobState.casting, {"problem": told, **NO_LEASE})
        _obey_late(connection, now_ms, row)


def give_back(db: Database, held: Held, *, wait_ms: int = 0, lost: bool = False) -> None:
    """Nobody works on the job any more: it does what its owner wished, else it is queued and goes on later, no sooner
    than after `wait_ms`. `lost`: the run ended with its renderers, which is counted."""
    with db.write() as connection:
        now_ms = db.now_ms(connection)
        to = {Wish.cancel: JobState.cancelled, Wish.pause: JobState.paused}
        _check(connection, held, lock=True)
        wish = _wish(connection, held)
        values = {"epoch": job.epoch + 1, **NO_LEASE, "not_before_ms": now_ms + wait_ms}
        if lost:
            values["losses"] = job.losses + 1
        if wish is Wish.erase:
            _erase(connection, now_ms, held.job)
        else:
            ends = {"finished_ms": now_ms} if wish is Wish.cancel else {}
            row = _end(connection, now_ms, held, to.get(wish, JobState.queued), {"wish": Wish.run, **ends, **values})
            _note_end(connection, now_ms, row)


def lose(db: Database, held: Held, problem: Problem, *, most: int, wait_ms: int) -> None:
    """The run ended with its renderers: the job is queued and goes on after `wait_ms`, or fails with `problem` where
    `most` runs ended so while it got no further."""
    with db.look() as connection:
        losses = connection.execute(sql.select(job.losses).where(*_mine(held))).scalar_one_or_none()
    if losses is None:
        raise _lost(held)
    if losses + 1 >= most:
        fail(db, held, problem)
    else:
        give_back(db, held, wait_ms=wait_ms, lost=True)


# ------------------------------------------------------------ what these share


def _mine(held: Held) -> list[ColumnElement[bool]]:
    return [job.id == held.job, job.epoch == held.epoch]


def _lost(held: Held) -> LeaseLost:
    return LeaseLost("another coordinator has this job by now", where=held.job)


def _check(connection: Connection, held: Held, *, lock: bool = False) -> None:
    """`LeaseLost` unless the job is still held with this epoch; with `lock` it stays so until the commit."""
    asked = sql.select(job.id).where(*_mine(held), is_in(WORKING))
    if connection.execute(asked.with_for_update() if lock else asked).first() is None:
        raise _lost(held)


def _wish(connection: Connection, held: Held) -> Wish:
    return Wish(connection.execute(sql.select(job.wish).where(job.id == held.job)).scalar_one())


def _end(connection: Connection, now_ms: int, held: Held, to: JobState, values: dict[str, Any]) -> RowMapping:
    rows = move(connection, now_ms, to, _mine(held), values)
    if not rows:
        raise _lost(held)
    return rows[0]


def _note_end(connection: Connection, now_ms: int, row: RowMapping) -> None:
    """The audit's line of a job that ended; the last statement of its transaction."""
    if row["state"] in ENDED:
        problem = problem_of(row["problem"])
        reasons = [problem.kind] if problem is not None else []
        audit.write_end(connection, now_ms, audit.COORDINATOR, row["id"], JobState(row["state"]).value, reasons)


def _erase(connection: Connection, now_ms: int, job_id: str) -> None:
    """Erase a job at its owner's wish; the last of its transaction."""
    if erasing.erase_row(connection, now_ms, job_id):
        audit.write_end(connection, now_ms, audit.COORDINATOR, job_id, JobState.cancelled.value)


def _erase_if_wished(connection: Connection, now_ms: int, row: RowMapping) -> None:
    """Of a job that has ended."""
    if row["wish"] == Wish.erase:
        erasing.erase_row(connection, now_ms, row["id"])


def _obey_late(connection: Connection, now_ms: int, row: RowMapping) -> None:
    """What was wished of a job just before it began to wait."""
    one = [job.id == row["id"]]
    free = {"wish": Wish.run, "epoch": job.epoch + 1}
    match Wish(row["wish"]):
        case Wish.erase:
            _erase(connection, now_ms, row["id"])
        case Wish.cancel:
            for ended in move(connection, now_ms, JobState.cancelled, one, {**free, "finished_ms": now_ms}):
                _note_end(connection, now_ms, ended)
        case Wish.pause:
            move(connection, now_ms, JobState.paused, one, free)
        case Wish.run:
            pass


def _spend(connection: Connection, now_ms: int, held: Held, spent: Spent) -> dict[str, Any]:
    """The columns after this report; what is new since the last one counts against the tenant's month."""
    asked = sql.select(job.epoch_gpu_ms, job.epoch_core_ms).where(*_mine(held), is_in(WORKING)).with_for_update()
    before = connection.execute(asked).one_or_none()
    if before is None:
        raise _lost(held)
    gpu_ms = max(0, spent.gpu_ms - before.epoch_gpu_ms)
    core_ms = max(0, spent.core_ms - before.epoch_core_ms)
    if gpu_ms or core_ms:
        quotas.add_use(connection, now_ms, held.tenant, gpu_ms, core_ms)
    values: dict[str, Any] = {
        "gpu_ms": job.gpu_ms + gpu_ms,
        "core_ms": job.core_ms + core_ms,
        "epoch_gpu_ms": job.epoch_gpu_ms + gpu_ms,
        "epoch_core_ms": job.epoch_core_ms + core_ms,
    }
    if spent.cost_micros is not None:
        values |= {
            "cost_micros": sql.func.coalesce(job.cost_micros, 0) + spent.cost_micros - job.epoch_cost_micros,
            "epoch_cost_micros": spent.cost_micros,
            "currency": spent.currency,
        }
    return values


def _write_segments(connection: Connection, job_id: str, segments: Sequence[SegmentRow]) -> None:
    if not segments:
        return
    statement = insert(connection, tables.segments)
    told = ("state", "frames", "frames_done", "faces", "attempt", "slot", "node")
    again = statement.on_conflict_do_update(
        index_elements=["job", "stage", "position"], set_={name: statement.excluded[name] for name in told}
    )
    rows = [
        {"job": job_id, "stage": one.stage, "position": one.index, **{name: getattr(one, name) for name in told}}
        for one in segments
    ]
    connection.execute(again, rows)
