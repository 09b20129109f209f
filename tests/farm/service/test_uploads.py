"""Uploads from the announcement to the erasure, the room that they and results take, and what the audit says of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from farm.service import audit, held, jobs, keys, uploads
from farm.service.database import Database
from farm.service.errors import Conflict, KeyReused, NotFound, OverQuota
from farm.service.records import Problem, TenantQuota
from farm.service.states import JobState
from tests.farm.service.farmhouse import (
    ACME,
    DONE,
    FAILED,
    OTHER,
    begin,
    finish,
    job_in,
    order,
    report,
    submit,
    take,
    tenants,
)


def test_an_upload_from_the_announcement_to_the_job(db: Database) -> None:
    tenants(db)
    name = begin(db)
    for call in (uploads.get, uploads.remove):
        with pytest.raises(NotFound, match="no such upload"):
            call(db, OTHER, name)
    assert uploads.received(db, ACME, name, 4).received_bytes == 4
    film = {"spec": order().spec.__class__(f"upload:{name}", "out.mp4", swapper="none")}
    with pytest.raises(Conflict, match="is not complete"):
        submit(db, **film)
    finish(db, name)
    finish(db, name)
    with pytest.raises(Conflict, match="takes nothing more"):
        uploads.received(db, ACME, name, 5)
    row = uploads.get(db, ACME, name)
    assert (row.state, row.media, row.size_bytes) == ("ready", {"width": 4}, 10)
    with pytest.raises(NotFound):
        submit(db, OTHER, **film)
    job = submit(db, **film).id
    with pytest.raises(Conflict, match=job):
        uploads.remove(db, ACME, name)
    jobs.cancel(db, ACME, job)
    uploads.remove(db, ACME, name)
    for again in (lambda: uploads.get(db, ACME, name), lambda: uploads.remove(db, ACME, name)):
        with pytest.raises(NotFound):
            again()
    with pytest.raises(Conflict, match="a file of this job was removed"):
        jobs.retry(db, ACME, job)
    with pytest.raises(NotFound):
        submit(db, **film)
    assert uploads.listed(db, ACME).items == ()
    assert audit.check(db) > 0


def test_a_refused_upload(db: Database) -> None:
    tenants(db)
    name = begin(db)
    row = uploads.refuse(db, ACME, name, Problem("InputError", "not a film"))
    assert (row.state, row.size_bytes) == ("refused", 0)
    assert row.problem is not None
    with pytest.raises(Conflict, match="was refused"):
        submit(db, spec=order().spec.__class__(f"upload:{name}", "out.mp4", swapper="none"))


def test_a_file_that_is_announced_again_is_counted_once(db: Database) -> None:
    tenants(db, TenantQuota(stored_bytes=100))

    def announced(size_bytes: int = 60, tenant: str = ACME) -> str:
        return uploads.begin(
            db, tenant, purpose="target", name="a", size_bytes=size_bytes, place=lambda made: made, idempotency="k"
        ).id

    first = announced()
    assert announced() == first
    assert keys.use_of(db, ACME).stored_bytes == 60
    assert announced(tenant=OTHER) != first
    with pytest.raises(KeyReused):
        announced(61)
    assert jobs.submit(db, ACME, order(), idempotency="k", request_sha256="a").new
    uploads.remove(db, ACME, first)
    assert announced(61) != first


def test_of_two_that_the_bucket_began_the_first_stays(db: Database) -> None:
    tenants(db, TenantQuota(stored_bytes=100))
    begun, unbegun = begin(db, 60), begin(db, 40)
    assert [uploads.set_ref(db, ACME, begun, ref).upload_ref for ref in ("one", "two")] == ["one", "one"]
    for name in (begun, unbegun):
        uploads.give_up(db, OTHER, name)
        uploads.give_up(db, ACME, name)
    assert [row.id for row in uploads.listed(db, ACME).items] == [begun]
    assert keys.use_of(db, ACME).stored_bytes == 60
    with pytest.raises(NotFound):
        uploads.set_ref(db, ACME, unbegun, "three")
    assert [line.object for line in audit.listed(db).items if line.action == "upload.remove"] == [unbegun]


def test_bytes_are_counted_from_the_announcement(db: Database) -> None:
    tenants(db, TenantQuota(stored_bytes=100))
    first = begin(db, 60)
    with pytest.raises(OverQuota, match="60 bytes are stored or reserved, 41 more would be above 100"):
        begin(db, 41)
    second = begin(db, 40)
    with pytest.raises(OverQuota):
        finish(db, second, 41)
    finish(db, second, 30)
    finish(db, first, 70)
    uploads.remove(db, ACME, second)
    assert keys.use_of(db, ACME).stored_bytes == 70
    begin(db, 30)


def test_results_have_room_before_they_are_made(db: Database) -> None:
    """A job is taken where there is room for as much as its film, which is kept for it; what comes to more than the
    tenant may store is not its result."""
    tenants(db, TenantQuota(stored_bytes=100))
    name = begin(db, 30)
    finish(db, name, 30)
    film = {"spec": order().spec.__class__(f"upload:{name}", "out.mp4", swapper="none")}
    first, second = submit(db, **film).id, submit(db, **film).id
    assert keys.use_of(db, ACME).stored_bytes == 90
    with pytest.raises(OverQuota, match="90 bytes are stored or reserved, 30 more"):
        submit(db, **film)
    with pytest.raises(OverQuota):
        begin(db, 11)
    far = submit(db)  # of a film that lies elsewhere nothing is known
    for one in (second, far.id):
        jobs.cancel(db, ACME, one)
    assert keys.use_of(db, ACME).stored_bytes == 60, "it was never begun"
    (mine,) = take(db)
    assert mine.job == first
    for size, fits in ((71, False), (70, True)):
        made = replace(DONE, size_bytes=size)
        if fits:
            held.succeed(db, mine, made, report())
        else:
            with pytest.raises(OverQuota, match="30 bytes are stored or reserved, 71 more"):
                held.succeed(db, mine, made, report())
            assert jobs.get(db, ACME, first).state is JobState.indexing
    assert keys.use_of(db, ACME).stored_bytes == 100
    for ask in (lambda: jobs.retry(db, ACME, second), lambda: submit(db)):
        with pytest.raises(OverQuota, match=r"1[03]0 bytes"):
            ask()
    assert jobs.get(db, ACME, second).state is JobState.cancelled


def test_what_a_job_keeps_for_a_retry_counts(db: Database) -> None:
    tenants(db)
    name = begin(db, 30)
    finish(db, name, 30)
    film = {"spec": order().spec.__class__(f"upload:{name}", "out.mp4", swapper="none")}
    job = submit(db, **film).id
    (mine,) = take(db)
    held.fail(db, mine, FAILED)
    assert keys.use_of(db, ACME).stored_bytes == 60
    jobs.erase(db, ACME, job)
    assert keys.use_of(db, ACME).stored_bytes == 0


def test_the_audit_says_what_became_of_what(db: Database) -> None:
    tenants(db)
    good, bad = begin(db), begin(db)
    finish(db, good)
    uploads.refuse(db, ACME, bad, FAILED)
    made = {state: job_in(db, state)[0] for state in (JobState.succeeded, JobState.failed, JobState.refused)}
    asked, mine = job_in(db, JobState.rendering)
    assert mine is not None
    jobs.cancel(db, ACME, asked, actor="key1")
    held.give_back(db, mine)
    audit.note(db, "key1", "result.link", made[JobState.succeeded])
    lines = [(one.actor, one.action, one.object, one.decision, one.reasons) for one in audit.listed(db).items]
    assert {line for line in lines if line[1].startswith("upload")} == {
        *((ACME, "upload.begin", one, "done", ()) for one in (good, bad)),
        ("service", "upload.end", good, "ready", ()),
        ("service", "upload.end", bad, "refused", ("InputError",)),
    }
    assert {(*line[:1], *line[2:]) for line in lines if line[1] == "job.end"} == {
        ("coordinator", made[JobState.succeeded], "succeeded", ()),
        *(("coordinator", made[one], one.value, ("InputError",)) for one in (JobState.failed, JobState.refused)),
        ("coordinator", asked, "cancelled", ()),
    }
    assert {line[2] for line in lines if line[1] == "job.submit"} == {*made.values(), asked}
    assert ("key1", "result.link", made[JobState.succeeded], "done", ()) in lines
    assert audit.check(db) == len(lines)
