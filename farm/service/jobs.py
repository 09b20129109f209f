"""Jobs as their tenants see them: submit, look, and ask for something else."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from typing import Any

import sqlalchemy as sql
from sqlalchemy import ColumnElement, Connection, RowMapping

from core.codec import decode
from core.errors import InputError
from core.records import JobReport
from farm.service import audit, bindings, erasing, naming, quotas, tables
from farm.service.database import Database, Listing
from farm.service.errors import Conflict, NotFound
from farm.service.ids import make_cursor, new_id, read_cursor
from farm.service.moves import NO_LEASE, change, insert, is_free, is_in, move, tell, tell_state
from farm.service.records import UPLOAD_SCHEME, JobOrder, JobRow, Page, Progress, Submitted
from farm.service.resolving import cast_uploads
from farm.service.rows import job_row, order_of, text_of
from farm.service.states import ENDED, WAITING, WORKING, JobState, Wish

job = tables.jobs.c
CAST, REPORT = "cast.toml", "report.json"
MOST_PRIORITY = 100
HAS = (JobState.succeeded, JobState.failed)  # what is said of a job in these states


def submit(
    db: Database, tenant: str, order: JobOrder, *, key_id: str = "", idempotency: str = "", request_sha256: str = ""
) -> Submitted:
    """Queue a job. With an `idempotency` key that made a job before, that job: the network may repeat a request.

    Raises `KeyReused` where that was another request, `OverQuota`, `NotFound` and `Conflict` for uploads that are not
    there or not ready.
    """
    check_order(order)
    with db.write() as connection:
        now_ms = db.now_ms(connection)
        quota = quotas.lock_tenant(connection, tenant)
        made = new_id("job")
        if idempotency:
            earlier = _claim_name(connection, now_ms, tenant, idempotency, request_sha256, made)
            if earlier is not None:
                return Submitted(job_row(earlier), new=False)
        quotas.check_submission(connection, now_ms, tenant, quota)
        bindings.use(connection, tenant, made, uploads_of(order))
        film = order.spec.target.removeprefix(UPLOAD_SCHEME)
        quotas.check_film(connection, film, quota)
        quotas.check_room(connection, tenant, quota, film)
        row = _insert(connection, now_ms, tenant, order, made, key_id)
        tell_state(connection, now_ms, row)
        audit.write(connection, now_ms, key_id or tenant, "job.submit", made)
        return Submitted(job_row(row), new=True)


def submitted(db: Database, tenant: str, idempotency: str, request_sha256: str) -> JobRow | None:
    """The job that a submission with this idempotency key made, whatever became of its uploads since; None where there
    was none. `KeyReused` where that was another request."""
    with db.look() as connection:
        row = _named(connection, tenant, idempotency, request_sha256)
        return job_row(row) if row is not None else None


def check_order(order: JobOrder) -> None:
    """`InputError` for what no job may ask for, whoever asks."""
    if abs(order.priority) > MOST_PRIORITY:
        raise InputError(f"priority {order.priority} is not between -{MOST_PRIORITY} and {MOST_PRIORITY}")
    if order.spec.cast is not None:
        raise InputError("a job's cast is not a file", hint="set wait_for_cast, and put the cast")
    name = order.spec.output
    if not name or name.startswith(".") or any(letter in name for letter in "/\\\0") or not name.isprintable():
        raise InputError("the output is a file name without folders", where=repr(name)[:80])
    if len(name.encode()) > 200:
        raise InputError("the output's name is too long", where=name[:80])


def uploads_of(order: JobOrder) -> tuple[str, ...]:
    """The uploads that the order names, once each."""
    spec = order.spec
    sources = (spec.source.path, *spec.source.more) if spec.source is not None else ()
    named = (spec.target, *sources, *([spec.reference] if spec.reference is not None else []))
    return tuple(dict.fromkeys(place.removeprefix(UPLOAD_SCHEME) for place in named if place.startswith(UPLOAD_SCHEME)))


def get(db: Database, tenant: str, job_id: str) -> JobRow:
    """The job. `NotFound` where there is none of this tenant's, or it was erased."""
    with db.look() as connection:
        row = find(connection, tenant, job_id)
    return job_row(row)


def listed(
    db: Database, tenant: str, *, states: Collection[JobState] = (), cursor: str | None = None, limit: int = 50
) -> Page[JobRow]:
    """The tenant's jobs, the newest first; of these `states` where any are named."""
    name = f"jobs {tenant} {sorted(states)}"
    wanted: dict[str, object] = {"tenant": tenant, "most": limit + 1}
    if states:
        wanted["states"] = sorted(states)
    if cursor is not None:
        wanted["before"] = read_cursor(name, cursor)[0]
    with db.look() as connection:
        rows = db.rows(connection, _page_of(bool(states), cursor is not None), wanted)
    items = tuple(sorted(map(job_row, rows), key=lambda row: row.id, reverse=True)[:limit])
    return Page(items, make_cursor(name, items[-1].id) if len(rows) > limit else None)


@cache
def _page_of(states: bool, cursor: bool) -> Listing:
    """The statement of a page: of some states alone, behind a cursor."""
    asked = sql.select(tables.jobs).where(job.tenant == sql.bindparam("tenant"), *visible())
    if states:
        asked = asked.where(job.state.in_(sql.bindparam("states", expanding=True)))
    if cursor:
        asked = asked.where(job.id < sql.bindparam("before"))
    return Listing(asked.order_by(job.id.desc()).limit(sql.bindparam("most", type_=sql.BigInteger)))


def jobs_by_state(db: Database) -> dict[JobState, int]:
    """How many jobs of all tenants are in which state; every state is named."""
    asked = sql.select(job.state, sql.func.count()).where(job.erased_ms.is_(None)).group_by(job.state)
    with db.look() as connection:
        found = {str(state): int(count) for state, count in connection.execute(asked)}
    return {state: found.get(state, 0) for state in JobState}


def cancel(db: Database, tenant: str, job_id: str, *, actor: str = "") -> JobRow:
    """End the job: now where nobody works on it, else as soon as its coordinator hears of it."""
    return _ask(db, tenant, job_id, Wish.cancel, JobState.cancelled, actor)


def pause(db: Database, tenant: str, job_id: str, *, actor: str = "") -> JobRow:
    """Stop the job for a while: what is rendered stays, `resume` goes on."""
    return _ask(db, tenant, job_id, Wish.pause, JobState.paused, actor)


def resume(db: Database, tenant: str, job_id: str, *, actor: str = "") -> JobRow:
    """Queue a paused job, or take back a pause that the coordinator has not obeyed yet."""
    with db.write() as connection:
        now_ms = db.now_ms(connection)
        one = [job.id == job_id, job.tenant == tenant, *visible()]
        rows = move(connection, now_ms, JobState.queued, [*one, job.state == JobState.paused], {"wish": Wish.run})
        if not rows:
            rows = change(connection, now_ms, [*one, job.wish == Wish.pause], {"wish": Wish.run})
            for row in rows:
                tell(connection, now_ms, row, "wish", {"wish": Wish.run})
        row = rows[0] if rows else find(connection, tenant, job_id)
        if row["state"] in ENDED:
            raise _conflict(row, "resumed", "retry it, or submit another" if row["state"] != "succeeded" else "")
        if rows:
            audit.write(connection, now_ms, actor or tenant, "job.resume", job_id)
        return job_row(row)


def retry(db: Database, tenant: str, job_id: str, *, actor: str = "") -> JobRow:
    """Queue a job that failed, was refused or cancelled; what it finished is not done again. `Conflict` where one of
    its uploads is gone."""
    ended = [job.state.in_(["failed", "cancelled", "refused"])]
    values = {
        "wish": Wish.run,
        "epoch": job.epoch + 1,
        "attempt": 0,
        "lapses": 0,
        "losses": 0,
        "problem": None,
        "finished_ms": None,
        "progress": text_of(Progress()),
        **NO_LEASE,
    }
    with db.write() as connection:
        now_ms = db.now_ms(connection)
        quota = quotas.lock_tenant(connection, tenant)
        one = [job.id == job_id, job.tenant == tenant, *visible()]
        rows = move(connection, now_ms, JobState.queued, [*one, *ended], values)
        if not rows:
            row = find(connection, tenant, job_id)
            if row["state"] == JobState.succeeded:
                raise _conflict(row, "retried", "submit another job")
            return job_row(row)
        quotas.check_submission(connection, now_ms, tenant, quota, more=0)
        quotas.check_bytes(connection, tenant, quota, 0)
        bindings.check(connection, tenant, job_id)
        audit.write(connection, now_ms, actor or tenant, "job.retry", job_id)
        return job_row(rows[0])


def put_cast(db: Database, tenant: str, job_id: str, toml: str, *, actor: str = "") -> JobRow:
    """Say who becomes whom. A job that waits for it is queued; one that ended takes it when it is retried. `Conflict`
    where the job was submitted without wait_for_cast: nobody looks for the people of its film.

    Its sources are uploads, as "upload:upl_...", and addresses: `InputError`, `NotFound` and `Conflict` as for a job's.
    Pictures that it no longer names may be removed; they go with the job.
    """
    pictures = cast_uploads(toml)
    with db.write() as connection:
        now_ms = db.now_ms(connection)
        order = order_of(job_row(find(connection, tenant, job_id)))
        if order is not None and not order.wait_for_cast:
            hint = "submit another job with wait_for_cast"
            raise Conflict("the job was submitted without wait_for_cast and takes no cast", where=job_id, hint=hint)
        one = [job.id == job_id, job.tenant == tenant, *visible()]
        values = {"has_cast": 1, "problem": None}
        rows = move(connection, now_ms, JobState.queued, [*one, job.state == JobState.casting], values)
        if not rows:
            others = {JobState.queued, JobState.paused, JobState.failed, JobState.refused, JobState.cancelled}
            rows = change(connection, now_ms, [*one, is_in(others)], {"has_cast": 1})
            for row in rows:
                tell(connection, now_ms, row, "cast", {"cast": "put"})
        if not rows:
            row = find(connection, tenant, job_id)
            done = row["state"] == JobState.succeeded
            raise _conflict(row, "given a cast", "submit another job" if done else "pause it first")
        put_document(connection, job_id, CAST, toml)
        named = {*pictures, *(uploads_of(order) if order is not None else ())}
        bindings.use(connection, tenant, job_id, pictures)
        bindings.keep(connection, now_ms, job_id, named)
        audit.write(connection, now_ms, actor or tenant, "job.cast", job_id)
        return job_row(rows[0])


def cast_of(db: Database, tenant: str, job_id: str) -> str | None:
    """The cast.toml that was put, None where none was."""
    with db.read() as connection:
        find(connection, tenant, job_id)
        return document(connection, job_id, CAST)


def report_of(db: Database, tenant: str, job_id: str) -> JobReport:
    """What was done, of a job that succeeded; `NotFound` before."""
    with db.read() as connection:
        find(connection, tenant, job_id)
        text = document(connection, job_id, REPORT)
    if text is None:
        raise NotFound("this job has no report yet", where=job_id, hint="wait until it has succeeded")
    return decode(text.encode(), JobReport)


def erase(db: Database, tenant: str, job_id: str, *, actor: str = "") -> None:
    """Take away the job, its inputs, vectors and outputs; a line of the audit stays. `NotFound` from now on.

    A job that a coordinator works on is stopped first; the files go when the coordinator next clears up.
    """
    with db.write() as connection:
        now_ms = db.now_ms(connection)
        mine = sql.select(tables.jobs).where(job.id == job_id, job.tenant == tenant)
        row = connection.execute(mine.with_for_update()).mappings().one_or_none()
        if row is None:
            raise NotFound("no such job", where=job_id)
        if row["erased_ms"] is not None or row["wish"] == Wish.erase:
            return
        by, ended = actor or tenant, False
        if row["state"] in WORKING and row["lease_ms"] >= now_ms:
            change(connection, now_ms, [job.id == job_id], {"wish": Wish.erase}, events=0)
            known = tables.idempotency  # else a submission with that key would be answered by a job that is not there
            connection.execute(sql.delete(known).where(known.c.job == job_id))
        else:
            ended = erasing.erase_row(connection, now_ms, job_id)
        audit.write(connection, now_ms, by, "job.erase", job_id)
        if ended:
            audit.write_end(connection, now_ms, by, job_id, JobState.cancelled.value)


# ------------------------------------------------------------ what these share


def visible() -> list[ColumnElement[bool]]:
    """Not erased, and not about to be."""
    return [job.erased_ms.is_(None), job.wish != Wish.erase]


def find(connection: Connection, tenant: str, job_id: str) -> RowMapping:
    """The row of a tenant's job; `NotFound`, in the same words and by the same query, for any other id."""
    row = connection.execute(_one(), {"job_id": job_id, "tenant": tenant}).mappings().one_or_none()
    if row is None:
        raise NotFound("no such job", where=job_id[:80], hint="see the list of your jobs")
    return row


@cache
def _one() -> sql.Select[Any]:
    """Built once: every call that names a job asks it, and to build it takes longer than to have it answered."""
    one = [job.id == sql.bindparam("job_id"), job.tenant == sql.bindparam("tenant")]
    return sql.select(tables.jobs).where(*one, *visible())


def document(connection: Connection, job_id: str, name: str) -> str | None:
    kept = tables.documents.c
    asked = sql.select(kept.content).where(kept.job == job_id, kept.name == name)
    found = connection.execute(asked).scalar_one_or_none()
    return str(found) if found is not None else None


def put_document(connection: Connection, job_id: str, name: str, content: str) -> None:
    statement = insert(connection, tables.documents).values(job=job_id, name=name, content=content)
    again = statement.on_conflict_do_update(index_elements=["job", "name"], set_={"content": content})
    connection.execute(again)


def _ask(db: Database, tenant: str, job_id: str, wish: Wish, to: JobState, actor: str) -> JobRow:
    """Carry the job to `to` at once where nobody holds it, else leave the wish with whoever does: one statement."""
    with db.write() as connection:
        now_ms = db.now_ms(connection)
        free = is_free(now_ms)
        ends = to in ENDED
        values: dict[str, Any] = {
            "state": sql.case((free, to.value), else_=job.state),
            "wish": sql.case((free, Wish.run.value), else_=wish.value),
            "epoch": sql.case((free, job.epoch + 1), else_=job.epoch),
            "finished_ms": sql.case((free, now_ms), else_=job.finished_ms) if ends else job.finished_ms,
            **{name: sql.case((free, value), else_=job[name]) for name, value in NO_LEASE.items()},
        }
        # a pause does not take back a cancellation
        asked = [job.wish == Wish.run] if wish is Wish.pause else [job.wish.in_([Wish.run, Wish.pause])]
        where = [job.id == job_id, job.tenant == tenant, *visible(), *asked, is_in({*WAITING, *WORKING} - {to})]
        rows = change(connection, now_ms, where, values)
        if rows:
            row = rows[0]
            if row["state"] == to:
                tell_state(connection, now_ms, row)
            else:
                tell(connection, now_ms, row, "wish", {"wish": wish})
            audit.write(connection, now_ms, actor or tenant, f"job.{wish}", job_id)
            if row["state"] == to and ends:
                audit.write_end(connection, now_ms, actor or tenant, job_id, to.value)
            return job_row(row)
        row = find(connection, tenant, job_id)
        if row["state"] == to or (row["wish"] == wish and row["state"] not in ENDED):
            return job_row(row)
        done = row["state"] == JobState.succeeded
        hint = "fetch its result, or erase it with DELETE" if done else "retry it, or erase it with DELETE"
        raise _conflict(row, to.value, "" if row["state"] not in ENDED else hint)


def _conflict(row: RowMapping, done: str, hint: str) -> Conflict:
    leaves = row["wish"] == Wish.cancel and row["state"] not in ENDED
    how = "is being cancelled" if leaves else f"has {row['state']}" if row["state"] in HAS else f"is {row['state']}"
    hint = hint or ("wait until it is cancelled" if leaves else "see its state")
    return Conflict(f"the job {how} and cannot be {done}", where=row["id"], hint=hint)


def _claim_name(
    connection: Connection, now_ms: int, tenant: str, name: str, request_sha256: str, made: str
) -> RowMapping | None:
    """Claim an idempotency key for the job `made`; the earlier job where it was claimed before."""
    for _ in range(naming.CLAIMS):
        if naming.claim(connection, now_ms, tenant, name, request_sha256, made):
            return None
        earlier = _named(connection, tenant, name, request_sha256)
        if earlier is not None:
            return earlier
        # An erasure took the key and its job away since the claim: it is free now.
    raise Conflict("the job of this idempotency key is being erased", where=name[:80], hint="submit it again")


def _named(connection: Connection, tenant: str, name: str, request_sha256: str) -> RowMapping | None:
    """The job of an idempotency key; None where no job was made with it or the job was erased, which frees the key;
    `KeyReused` where it was another request's."""
    earlier = naming.made_with(connection, tenant, name, request_sha256)
    if earlier is None:
        return None
    asked = sql.select(tables.jobs).where(job.id == earlier, job.tenant == tenant, *visible())
    return connection.execute(asked).mappings().one_or_none()


def _insert(connection: Connection, now_ms: int, tenant: str, order: JobOrder, made: str, key_id: str) -> RowMapping:
    numbers = (
        "epoch",
        "attempt",
        "lapses",
        "losses",
        "gpu_ms",
        "core_ms",
        "epoch_gpu_ms",
        "epoch_core_ms",
        "epoch_cost_micros",
    )
    values = dict(
        id=made,
        tenant=tenant,
        state=JobState.queued,
        wish=Wish.run,
        version=1,
        last_seq=1,
        title=order.title,
        priority=order.priority,
        job_order=text_of(order),
        progress=text_of(Progress()),
        currency="",
        result_bytes=0,
        has_cast=0,
        created_ms=now_ms,
        changed_ms=now_ms,
        key_id=key_id,
        **dict.fromkeys(numbers, 0),
        **NO_LEASE,
    )
    return connection.execute(sql.insert(tables.jobs).returning(tables.jobs), values).mappings().one()
