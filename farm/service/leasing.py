"""Which coordinator works on which job: leases that are renewed, epochs that fence off who lost one.

A job is held by one coordinator until its lease is not renewed for `lease_ms`, by the database's clock. Taking it
(again) makes its epoch one higher, and every write of a coordinator carries the epoch it was given: one that slept
through its lease changes nothing when it wakes up.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import sqlalchemy as sql
from sqlalchemy import Connection, RowMapping

from core.codec import decode
from farm.service import audit, erasing, tables
from farm.service.database import Database
from farm.service.moves import NO_LEASE, insert, is_in, move
from farm.service.records import Held, JobRow, Problem, TenantQuota
from farm.service.rows import job_row, text_of
from farm.service.share import DAY_MS, Running, Share, Waiting, choose, displaced
from farm.service.states import WORKING, JobState, Wish

job, lease = tables.jobs.c, tables.leases.c
LEASE_MS = 15_000
OFFICE = "coordinator"  # whoever has it works, others stand by
SUSPECT_LAPSES = 3
MOST_LAPSES = 10
MAY_GIVE_BACK = (JobState.indexing, JobState.analysing, JobState.rendering)
A_TENANT = 16  # candidates looked at of each tenant
NO_TURNS: Mapping[str, int] = MappingProxyType({})
POISON = Problem(
    "WorkerLost",
    f"the service's coordinator died {MOST_LAPSES} times while it worked on this job, which got no further",
    hint="see the coordinator's log for these times, then retry the job",
)


@dataclass(frozen=True)
class Taken:
    held: Held
    row: JobRow


def take(
    db: Database,
    holder: str,
    places: int,
    *,
    slots: int = 1,
    lease_ms: int = LEASE_MS,
    turns: Mapping[str, int] = NO_TURNS,
) -> list[Taken]:
    """Take at most `places` jobs that nobody holds: first those whose coordinator died, then by fair share.

    `slots` is how many segments can be rendered at once, which tenants without a quota share evenly. `turns` says when
    a tenant last had one (farm.service.share). What was asked of jobs whose coordinator died is done here as well.

    Rows that somebody else changes at this moment are passed over: no two that wait for one another can come of it.
    """
    with db.write() as connection:
        now_ms = db.now_ms(connection)
        lapsed = _locked(connection, is_in(WORKING), job.lease_ms < now_ms)
        erased = _locked(connection, job.wish == Wish.erase, ~is_in(WORKING))
        ended = _settle_lapsed(connection, now_ms, lapsed, erased)
        taken = [_taken(row) for row in _take_lapsed(connection, now_ms, holder, lapsed, places, lease_ms)]
        if len(taken) < places:
            left = places - len(taken)
            waiting = _waiting(connection, now_ms, left)
            shares = _shares(connection, {one.tenant for one in waiting}, slots, turns)
            chosen = [one.job for one in choose(waiting, shares, left)]
            mine = set(_locked(connection, job.id.in_(chosen), job.state == JobState.queued)) if chosen else set()
            for name in chosen:
                if name in mine:
                    rows = _lease(connection, now_ms, holder, lease_ms, [job.id == name])
                    taken += [_taken(row) for row in rows]
        for name, state in ended:
            reasons = [POISON.kind] if state is JobState.failed else []
            audit.write_end(connection, now_ms, audit.COORDINATOR, name, state.value, reasons)
    return taken


def to_displace(
    db: Database, held_ms: Mapping[str, int], *, slots: int, turns: Mapping[str, int], turn_ms: int
) -> str | None:
    """Which of the jobs `held_ms`, all places of which are taken, gives its place to a tenant that has none
    (farm.service.share). What is put together already or checked ends soon, and keeps its place."""
    with db.read() as connection:
        waiting = _waiting(connection, db.now_ms(connection), 1)
        if not waiting:
            return None
        asked = sql.select(job.id, job.tenant, job.priority).where(job.id.in_(sorted(held_ms)), is_in(MAY_GIVE_BACK))
        running = [Running(row.id, row.tenant, row.priority, held_ms[row.id]) for row in connection.execute(asked)]
        tenants = {one.tenant for one in waiting} | {one.tenant for one in running}
        return displaced(waiting, running, _shares(connection, tenants, slots, turns), turn_ms)


def guaranteed(db: Database, tenants: set[str], slots: int) -> dict[str, float]:
    """What each of these tenants is guaranteed, in segments: its quota of them, or an even share of `slots`."""
    with db.read() as connection:
        return {name: share.guaranteed for name, share in _shares(connection, tenants, slots, NO_TURNS).items()}


def renew(db: Database, holder: str, *, lease_ms: int = LEASE_MS) -> dict[str, tuple[Held, Wish]]:
    """Renew all leases of `holder`; what it holds, and what their owners wish. Others are lost to it."""
    statement = (
        sql.update(tables.jobs)
        .where(job.owner == holder, is_in(WORKING))
        .values(lease_ms=sql.bindparam("until_ms"))
        .returning(job.id, job.tenant, job.epoch, job.wish)
    )
    in_order = sql.select(job.id).where(job.owner == holder, is_in(WORKING)).order_by(job.id).with_for_update()
    with db.write() as connection:
        now_ms = db.now_ms(connection)
        connection.execute(in_order).all()
        rows = connection.execute(statement, {"until_ms": now_ms + lease_ms}).all()
    return {row.id: (Held(row.id, row.tenant, row.epoch), Wish(row.wish)) for row in rows}


def lead(db: Database, name: str, holder: str, *, lease_ms: int = LEASE_MS) -> int | None:
    """Hold the office `name`, which one holder has at a time: take it, or renew it. Its epoch; None where another
    holds it."""
    with db.write() as connection:
        now_ms = db.now_ms(connection)
        values = {"name": name, "holder": holder, "epoch": 1, "until_ms": now_ms + lease_ms}
        new = sql.case((lease.holder == holder, lease.epoch), else_=lease.epoch + 1)
        statement = insert(connection, tables.leases).values(values)
        taking = statement.on_conflict_do_update(
            index_elements=["name"],
            set_={"holder": holder, "epoch": new, "until_ms": now_ms + lease_ms},
            where=sql.or_(lease.holder == holder, lease.until_ms < now_ms),
        ).returning(lease.epoch)
        found = connection.execute(taking).scalar_one_or_none()
    return int(found) if found is not None else None


def resign(db: Database, name: str, holder: str) -> None:
    """Give the office back, so that the next need not wait. Its epoch is kept."""
    with db.write() as connection:
        mine = [lease.name == name, lease.holder == holder]
        connection.execute(sql.update(tables.leases).where(*mine).values(until_ms=0))


# ------------------------------------------------------------ the steps of `take`


def _locked(connection: Connection, *where: sql.ColumnElement[bool]) -> list[str]:
    """The jobs of which this holds and that nobody else has locked; locked until the commit."""
    asked = sql.select(job.id).where(*where).order_by(job.id).with_for_update(skip_locked=True)
    return [str(name) for name in connection.execute(asked).scalars()]


def _settle_lapsed(
    connection: Connection, now_ms: int, names: Sequence[str], erased: Sequence[str]
) -> list[tuple[str, JobState]]:
    """Do what was asked of jobs while their coordinator died; end those that several died of. Which ended, and how."""
    lapsed = [job.id.in_(names), is_in(WORKING)]
    free = {"wish": Wish.run, "epoch": job.epoch + 1, **NO_LEASE}
    ended = {"finished_ms": now_ms, **free}
    over = move(connection, now_ms, JobState.cancelled, [*lapsed, job.wish == Wish.cancel], ended)
    move(connection, now_ms, JobState.paused, [*lapsed, job.wish == Wish.pause], free)
    poisoned = [*lapsed, job.wish == Wish.run, job.lapses >= MOST_LAPSES - 1]
    over += move(connection, now_ms, JobState.failed, poisoned, {"problem": text_of(POISON), **ended})
    dead = sql.select(job.id).where(*lapsed, job.wish == Wish.erase)
    told = [(str(row["id"]), JobState(row["state"])) for row in over]
    for name in [*erased, *(str(name) for name in connection.execute(dead).scalars())]:
        if erasing.erase_row(connection, now_ms, name):
            told.append((name, JobState.cancelled))
    return told


def _take_lapsed(
    connection: Connection, now_ms: int, holder: str, names: Sequence[str], places: int, lease_ms: int
) -> list[RowMapping]:
    """Jobs whose coordinator died. One of them may be why: those that several died of run one at a time, so that each
    is seen to get on, or not, by itself."""
    lapsed = [job.id.in_(names), is_in(WORKING), job.wish == Wish.run]
    suspect = job.lapses >= SUSPECT_LAPSES - 1
    some = sql.select(job.id, suspect.label("suspect")).where(*lapsed).order_by(job.lapses, job.lease_ms, job.id)
    tried = sql.select(sql.func.count()).where(is_in(WORKING), job.lease_ms >= now_ms, job.lapses >= SUSPECT_LAPSES)
    alone = int(connection.execute(tried).scalar_one()) == 0
    rows: list[RowMapping] = []
    for name, is_suspect in connection.execute(some).all():
        if len(rows) < places and (alone or not is_suspect):
            rows += _lease(connection, now_ms, holder, lease_ms, [job.id == name, *lapsed], lapses=1)
            alone = alone and not is_suspect
    return rows


def _lease(
    connection: Connection,
    now_ms: int,
    holder: str,
    lease_ms: int,
    where: list[sql.ColumnElement[bool]],
    *,
    lapses: int = 0,
) -> list[RowMapping]:
    values = {
        "epoch": job.epoch + 1,
        "attempt": job.attempt + 1,
        "lapses": job.lapses + lapses,
        "owner": holder,
        "lease_ms": now_ms + lease_ms,
        "started_ms": sql.func.coalesce(job.started_ms, now_ms),
        "epoch_gpu_ms": 0,
        "epoch_core_ms": 0,
        "epoch_cost_micros": 0,
        "segments_running": 0,
    }
    return move(connection, now_ms, JobState.indexing, where, values)


def _waiting(connection: Connection, now_ms: int, places: int) -> list[Waiting]:
    """The queued jobs of which some could be begun: of each tenant the first few, as farm.service.share compares
    them. Within a tenant that is by priority and age: all else is the same."""
    queued = [job.state == JobState.queued, job.wish == Wish.run, job.not_before_ms <= now_ms]
    first_come = job.priority * DAY_MS - job.created_ms
    rank = sql.func.row_number().over(partition_by=job.tenant, order_by=[first_come.desc(), job.id]).label("place")
    ranked = sql.select(job.id, job.tenant, job.priority, job.created_ms, rank).where(*queued).subquery()
    first = sql.select(ranked).where(ranked.c.place <= max(A_TENANT, places))
    return [
        Waiting(row.id, row.tenant, row.priority, max(0, now_ms - row.created_ms)) for row in connection.execute(first)
    ]


def _shares(connection: Connection, tenants: set[str], slots: int, turns: Mapping[str, int]) -> dict[str, Share]:
    """What each of these tenants has. A job that runs counts as one segment at least."""
    if not tenants:
        return {}
    running: dict[str, float] = defaultdict(float)
    jobs_running: dict[str, int] = defaultdict(int)
    for tenant, segments in connection.execute(sql.select(job.tenant, job.segments_running).where(is_in(WORKING))):
        running[tenant] += max(1, segments)
        jobs_running[tenant] += 1
    even = max(1.0, slots / len(tenants | set(running)))
    shares = {}
    known = tables.tenants.c
    for name, text in connection.execute(sql.select(known.id, known.quota).where(known.id.in_(sorted(tenants)))):
        quota = decode(text.encode(), TenantQuota)
        guaranteed = float(quota.segments) if quota.segments else even
        most = quota.segments, quota.jobs_running
        shares[name] = Share(running[name], jobs_running[name], guaranteed, *most, turn=turns.get(name, 0))
    return shares


def _taken(row: RowMapping) -> Taken:
    return Taken(Held(row["id"], row["tenant"], row["epoch"]), job_row(row))
