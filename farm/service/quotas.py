"""What a tenant may have, and what it has."""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sql
from sqlalchemy import Connection

from core.codec import decode
from farm.service import tables
from farm.service.errors import NotFound, OverQuota, TooLong
from farm.service.moves import insert, is_in
from farm.service.records import TenantQuota, TenantUse
from farm.service.rows import json_of
from farm.service.states import ENDED, WAITING, WORKING, JobState

job, upload, use, bound = tables.jobs.c, tables.uploads.c, tables.usage.c, tables.job_uploads.c


def lock_tenant(connection: Connection, tenant: str) -> TenantQuota:
    """The tenant's quota, locked: what is counted against it stays as it was counted until the commit."""
    asked = sql.select(tables.tenants.c.quota).where(tables.tenants.c.id == tenant)
    text = connection.execute(asked.with_for_update()).scalar_one_or_none()
    if text is None:
        raise NotFound("no such tenant", where=tenant)
    return decode(text.encode(), TenantQuota)


def month_of(now_ms: int) -> str:
    return datetime.fromtimestamp(now_ms / 1000, UTC).strftime("%Y-%m")


def used(connection: Connection, now_ms: int, tenant: str) -> TenantUse:
    """What counts against the tenant's quota now."""
    mine = (job.tenant == tenant, job.erased_ms.is_(None))
    return TenantUse(
        segments=_sum(connection, sql.func.sum(job.segments_running), *mine, is_in(WORKING)),
        jobs_running=_sum(connection, sql.func.count(job.id), *mine, is_in(WORKING)),
        jobs_waiting=_waiting(connection, tenant),
        gpu_ms=_gpu_ms(connection, now_ms, tenant),
        stored_bytes=_stored(connection, tenant),
    )


def _sum(connection: Connection, what: sql.ColumnElement[int], *where: sql.ColumnElement[bool]) -> int:
    return int(connection.execute(sql.select(sql.func.coalesce(what, 0)).where(*where)).scalar() or 0)


def _waiting(connection: Connection, tenant: str) -> int:
    mine = (job.tenant == tenant, job.erased_ms.is_(None), is_in(WAITING))
    return _sum(connection, sql.func.count(job.id), *mine)


def _gpu_ms(connection: Connection, now_ms: int, tenant: str) -> int:
    return _sum(connection, sql.func.sum(use.gpu_ms), use.tenant == tenant, use.month == month_of(now_ms))


def _stored(connection: Connection, tenant: str) -> int:
    kept = (upload.tenant == tenant, upload.state.in_(["open", "ready"]))
    results = _sum(connection, sql.func.sum(job.result_bytes), job.tenant == tenant, job.erased_ms.is_(None))
    return results + _sum(connection, sql.func.sum(upload.size_bytes), *kept) + _reserved(connection, tenant)


def _reserved(connection: Connection, tenant: str, *, but: str = "") -> int:
    """What jobs without a result may come to, or keep for a retry: each as much as its film, where that is an upload.
    One that ended before it was begun keeps nothing. `but` is a job that is left out."""
    ended_unbegun = sql.and_(job.state.in_(sorted(ENDED)), job.started_ms.is_(None))
    asked = (
        sql.select(sql.func.coalesce(sql.func.sum(upload.size_bytes), 0))
        .select_from(tables.jobs)
        .join(tables.job_uploads, bound.job == job.id)
        .join(tables.uploads, upload.id == bound.upload)
        .where(job.tenant == tenant, job.erased_ms.is_(None), job.state != JobState.succeeded, job.id != but)
        .where(upload.purpose == "target", bound.unused_ms.is_(None), sql.not_(ended_unbegun))
    )
    return int(connection.execute(asked).scalar_one())


def check_submission(connection: Connection, now_ms: int, tenant: str, quota: TenantQuota, *, more: int = 1) -> None:
    """`OverQuota` where the tenant may not queue `more` jobs."""
    if quota.jobs_waiting is not None:
        waiting = _waiting(connection, tenant)
        if waiting + more > quota.jobs_waiting:
            raise OverQuota(
                f"{waiting} jobs wait already, and {quota.jobs_waiting} may",
                hint="wait for some of them, or cancel some",
            )
    if quota.gpu_ms is not None:
        check_gpu(_gpu_ms(connection, now_ms, tenant), quota)


def check_gpu(gpu_ms: int, quota: TenantQuota) -> None:
    """`OverQuota` where the month's GPU time is used up."""
    if quota.gpu_ms is not None and gpu_ms >= quota.gpu_ms:
        raise OverQuota(
            f"this month's {quota.gpu_ms / 60_000:.0f} GPU minutes are used up",
            hint="wait for the next month (UTC), or ask the operator for more",
        )


def check_film(connection: Connection, upload_id: str, quota: TenantQuota) -> None:
    """`TooLong` where the film of an upload is longer than the tenant's films may be. What no upload is, and what a
    header did not say, is measured when the film is indexed (farm.stages)."""
    if quota.film_s is None:
        return
    media = connection.execute(sql.select(upload.media).where(upload.id == upload_id)).scalar_one_or_none()
    seconds = json_of(media).get("seconds") if media is not None else None
    if isinstance(seconds, int | float) and seconds > quota.film_s:
        raise TooLong(
            f"the film has {seconds:.1f} s, and {quota.film_s} are allowed",
            hint="cut it into shorter films, or ask the operator for more",
        )


def check_bytes(connection: Connection, tenant: str, quota: TenantQuota, more: int) -> None:
    """`OverQuota` where the tenant may not store `more` bytes."""
    if quota.stored_bytes is None:
        return
    _check_room(_stored(connection, tenant), more, quota.stored_bytes)


def check_room(connection: Connection, tenant: str, quota: TenantQuota, film: str) -> None:
    """`OverQuota` where there is no room for the result of one more job, which is taken to be as much as the upload
    `film`; of a film that lies elsewhere nothing is known, and one byte is asked for."""
    if quota.stored_bytes is None:
        return
    size = connection.execute(sql.select(upload.size_bytes).where(upload.id == film)).scalar_one_or_none()
    check_bytes(connection, tenant, quota, max(1, size or 0))


def check_result(connection: Connection, tenant: str, quota: TenantQuota, job_id: str, size_bytes: int) -> None:
    """`OverQuota` where the result of the job is more than was reserved for it, and more than the tenant may store."""
    if quota.stored_bytes is not None:
        own = _reserved(connection, tenant) - _reserved(connection, tenant, but=job_id)
        _check_room(_stored(connection, tenant) - own, size_bytes, quota.stored_bytes)


def _check_room(have: int, more: int, most: int) -> None:
    if have + more > most:
        raise OverQuota(
            f"{have} bytes are stored or reserved, {more} more would be above {most}",
            hint="erase jobs or uploads that are done with",
        )


def add_use(connection: Connection, now_ms: int, tenant: str, gpu_ms: int, core_ms: int) -> None:
    """Count time that a job of the tenant's used."""
    values = {"tenant": tenant, "month": month_of(now_ms), "gpu_ms": gpu_ms, "core_ms": core_ms}
    statement = insert(connection, tables.usage).values(values)
    more = {"gpu_ms": use.gpu_ms + gpu_ms, "core_ms": use.core_ms + core_ms}
    connection.execute(statement.on_conflict_do_update(index_elements=["tenant", "month"], set_=more))
