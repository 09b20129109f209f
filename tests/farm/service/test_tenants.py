"""Keys, tenants and quotas: who may come in, and how much."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import sqlalchemy as sql
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InputError
from farm.service import audit, held, jobs, keys, tables, uploads
from farm.service.database import Database
from farm.service.errors import Conflict, KeyReused, NoKey, NotFound, OverQuota, TooLong
from farm.service.quotas import month_of
from farm.service.records import Problem, Spent, TenantQuota
from farm.service.share import Share, Waiting, choose, score
from farm.service.states import JobState
from tests.farm.service.farmhouse import ACME, DONE, FAILED, OTHER, Hand, job_in, order, report, submit, take, tenants


def test_a_key_opens_its_own_tenant(db: Database, clock: Hand) -> None:
    tenants(db)
    made = keys.make_key(db, ACME, "laptop", ["jobs:read", "jobs:write"])
    assert re.fullmatch(r"farm_[0-9a-z]{10}_[A-Za-z0-9_-]{43}", made.secret)
    key = keys.check_key(db, made.secret)
    assert (key.id, key.tenant, key.scopes) == (made.row.id, ACME, ("jobs:write", "jobs:read"))
    assert (key.may("jobs:read"), key.may("admin"), key.may("consent:issue")) == (True, False, False)
    clock.forward(30)
    assert keys.make_key(db, ACME, "root", ["admin"]).row.may("consent:issue")
    keys.check_key(db, made.secret)
    used = keys.listed(db, ACME)[0].used_ms
    clock.forward(31)
    keys.check_key(db, made.secret)
    assert keys.listed(db, ACME)[0].used_ms == (used or 0) + 61_000
    assert [row.name for row in keys.listed(db, ACME)] == ["laptop", "root"]
    assert keys.listed(db, OTHER) == ()


def test_the_secret_is_kept_nowhere(db: Database) -> None:
    tenants(db)
    made = keys.make_key(db, ACME, "laptop", ["admin"])
    secret = made.secret.split("_", 2)[2]
    with db.read() as connection:
        for table in tables.metadata.sorted_tables:
            assert secret not in repr(connection.execute(sql.select(table)).all())


def test_every_other_text_is_no_key(db: Database, clock: Hand) -> None:
    """Unknown, altered, expired, revoked: the same error in the same words."""
    tenants(db)
    made = keys.make_key(db, ACME, "short", ["admin"], expires_ms=clock.now_ms + 1000)
    other = keys.make_key(db, ACME, "other", ["admin"])
    letter = made.secret[-1]
    texts = [
        "",
        "farm",
        made.secret[:-1],
        made.secret[:-1] + ("A" if letter != "A" else "B"),
        made.secret + "A",
        made.secret.upper(),
        f" {made.secret}",
        made.row.id,
        f"farm_{made.row.id}_{other.secret.split('_', 2)[2]}",
        f"farm_0000000000_{made.secret.split('_', 2)[2]}",
        "\ud800" * 60,
        "farm_" + "\u0000" * 54,
    ]
    told = set()
    for text in texts:
        with pytest.raises(NoKey) as refused:
            keys.check_key(db, text)
        told.add(str(refused.value))
    keys.check_key(db, made.secret)
    clock.forward(1)
    with pytest.raises(NoKey) as refused:
        keys.check_key(db, made.secret)
    told.add(str(refused.value))
    with pytest.raises(NotFound):
        keys.revoke(db, OTHER, other.row.id)
    first = keys.revoke(db, ACME, other.row.id)
    clock.forward(5)
    assert keys.revoke(db, ACME, other.row.id) == first
    with pytest.raises(NoKey) as refused:
        keys.check_key(db, other.secret)
    told.add(str(refused.value))
    assert len(told) == 1


def test_what_no_key_or_tenant_can_be(db: Database) -> None:
    tenants(db)
    for scopes in ([], ["jobs:all"]):
        with pytest.raises(InputError, match="no scope"):
            keys.make_key(db, ACME, "x", scopes)  # type: ignore[arg-type]
    with pytest.raises(NotFound):
        keys.make_key(db, "nobody", "x", ["admin"])
    with pytest.raises(Conflict):
        keys.make_tenant(db, "Acme", tenant_id=ACME)
    for name in ("", "A", "a/b", "..", "-a", "a" * 64, "a\n"):
        with pytest.raises(InputError):
            keys.make_tenant(db, "x", tenant_id=name)
    with pytest.raises(InputError):
        keys.set_quota(db, ACME, TenantQuota(segments=-1))
    with pytest.raises(NotFound):
        keys.tenant(db, "nobody")
    made = keys.make_tenant(db, "Somebody")
    assert keys.tenant(db, made.id) == made
    assert [row.id for row in keys.tenants(db)] == sorted([ACME, OTHER, made.id])


def test_what_a_tenant_may_have(db: Database) -> None:
    tenants(db)
    keys.set_quota(db, ACME, TenantQuota(jobs_waiting=2, gpu_ms=1000, stored_bytes=100, jobs_running=1))
    first, second = submit(db), submit(db)
    with pytest.raises(OverQuota, match="2 jobs wait already"):
        submit(db)
    (mine,) = take(db, places=5)
    third = submit(db)
    assert take(db, places=5) == [], "one job of the tenant runs already"

    held.report(db, mine, spent=Spent(gpu_ms=1000))
    jobs.cancel(db, ACME, third.id)
    with pytest.raises(OverQuota, match="GPU minutes are used up"):
        submit(db)
    use = keys.use_of(db, ACME)
    assert (use.jobs_running, use.jobs_waiting, use.gpu_ms, use.stored_bytes) == (1, 1, 1000, 0)
    assert submit(db, OTHER).tenant == OTHER
    assert {first.id, second.id} >= {mine.job}


def test_a_film_that_is_too_long_is_refused(db: Database) -> None:
    tenants(db, TenantQuota(film_s=60))
    for seconds, taken in ((60, True), (60.5, False), (10_000, False)):
        name = begin(db)
        uploads.finish(db, ACME, name, size_bytes=10, sha256="0" * 64, media={"seconds": seconds})
        film = order().spec.__class__(f"upload:{name}", "out.mp4", swapper="none")
        if taken:
            submit(db, spec=film)
        else:
            with pytest.raises(TooLong, match="and 60 are allowed"):
                submit(db, spec=film)
    assert len(jobs.listed(db, ACME).items) == 1


def test_a_month_begins_at_midnight_utc(db: Database, clock: Hand) -> None:
    tenants(db)
    clock.now_ms = 1_798_761_599_000  # 2026-12-31 23:59:59 UTC
    _, mine = job_in(db, JobState.rendering)
    assert mine is not None

    held.report(db, mine, spent=Spent(gpu_ms=500))
    assert (month_of(clock.now_ms), keys.use_of(db, ACME).gpu_ms) == ("2026-12", 500)
    clock.forward(1)
    assert (month_of(clock.now_ms), keys.use_of(db, ACME).gpu_ms) == ("2027-01", 0)
    held.report(db, mine, spent=Spent(gpu_ms=700))
    assert keys.use_of(db, ACME).gpu_ms == 200


# ------------------------------------------------------------ uploads


def begin(db: Database, size_bytes: int = 10, tenant: str = ACME) -> str:
    row = uploads.begin(
        db, tenant, purpose="target", name="a.mp4", size_bytes=size_bytes, place=lambda made: f"/x/{made}"
    )
    assert (row.state, row.place) == ("open", f"/x/{row.id}")
    return row.id


def finish(db: Database, name: str, size_bytes: int = 10, tenant: str = ACME) -> None:
    uploads.finish(db, tenant, name, size_bytes=size_bytes, sha256="0" * 64, media={"width": 4})


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


# ------------------------------------------------------------ lists


def test_pages_are_complete_whatever_is_added_meanwhile(db: Database) -> None:
    tenants(db)
    made = [submit(db).id for _ in range(7)]
    submit(db, OTHER)
    seen: list[str] = []
    cursor = None
    while True:
        page = jobs.listed(db, ACME, cursor=cursor, limit=3)
        seen += [row.id for row in page.items]
        submit(db)
        if (cursor := page.cursor) is None:
            break
    assert seen == sorted(made, reverse=True)
    jobs.cancel(db, ACME, made[2])
    assert [row.id for row in jobs.listed(db, ACME, states=[JobState.cancelled]).items] == [made[2]]
    assert jobs.jobs_by_state(db)[JobState.cancelled] == 1
    assert set(jobs.jobs_by_state(db)) == set(JobState)


@pytest.mark.parametrize("cursor", ["", "x", "=", "AAAA", "\u00e9", "e30", "a" * 5000])
def test_a_cursor_that_no_list_gave(db: Database, cursor: str) -> None:
    tenants(db)
    with pytest.raises(InputError, match="did not give that cursor"):
        jobs.listed(db, ACME, cursor=cursor)


def test_a_cursor_is_of_its_list(db: Database) -> None:
    tenants(db)
    for _ in range(3):
        submit(db)
    cursor = jobs.listed(db, ACME, limit=1).cursor
    for other in ({"states": [JobState.queued]}, {}):
        with pytest.raises(InputError, match="did not give that cursor"):
            jobs.listed(db, OTHER if not other else ACME, cursor=cursor, **other)


# ------------------------------------------------------------ whose job is next


def test_the_formula_of_the_share() -> None:
    assert score(5, 2, 4, 86_400_000) == 5 + 50 + 1
    assert score(0, 4, 4, 0) == 0
    assert score(0, 8, 4, 0) == -100


@given(
    counts=st.lists(st.integers(0, 6), min_size=2, max_size=4),
    guaranteed=st.lists(st.sampled_from([1, 2, 4, 8]), min_size=4, max_size=4),
    places=st.integers(0, 12),
)
def test_places_go_by_share(counts: list[int], guaranteed: list[int], places: int) -> None:
    """All places are used while anything waits; and who got a place was not ahead of one who had to wait, by more than
    the place itself."""
    waiting = [Waiting(f"j{who}.{n}", f"t{who}", 0, 0) for who, count in enumerate(counts) for n in range(count)]
    shares = {f"t{who}": Share(0, 0, guaranteed[who]) for who in range(len(counts))}
    chosen = choose(waiting, shares, places)
    assert len(chosen) == min(places, len(waiting))
    assert len({one.job for one in chosen}) == len(chosen)
    got = {f"t{who}": sum(one.tenant == f"t{who}" for one in chosen) for who in range(len(counts))}
    for who, count in enumerate(counts):
        if got[f"t{who}"] < count:
            for other in range(len(counts)):
                assert (got[f"t{other}"] - 1) / guaranteed[other] <= got[f"t{who}"] / guaranteed[who]


def test_limits_of_tenants_hold() -> None:
    waiting = [Waiting(f"{tenant}{n}", tenant, 0, 0) for tenant in "ab" for n in range(5)]
    shares = {"a": Share(3, 1, 8, most_segments=4), "b": Share(0, 1, 8, most_jobs=3)}
    chosen = choose(waiting, shares, 10)
    assert sorted(one.tenant for one in chosen) == ["a", "b", "b"]


def test_priority_and_age_decide_within_a_tenant(db: Database, clock: Hand) -> None:
    tenants(db)
    old, low, high = submit(db), submit(db, priority=-5), submit(db, priority=5)
    assert [mine.job for mine in take(db, places=2)] == [high.id, old.id]
    clock.forward(86_400 * 6)
    newer = submit(db)
    assert {mine.job for mine in take(db, places=3)} >= {low.id}
    assert newer.state is JobState.queued


def test_a_tenant_with_many_jobs_does_not_hold_up_another(db: Database) -> None:
    tenants(db)
    for _ in range(10):
        submit(db)
    submit(db, OTHER)
    assert {mine.tenant for mine in take(db, places=2)} == {ACME, OTHER}
