"""Keys, tenants and quotas: who may come in, and how much."""

from __future__ import annotations

import re

import pytest
import sqlalchemy as sql

from core.codec import decode
from core.errors import InputError
from core.records import JobSpec
from farm.service import held, jobs, keys, tables, uploads
from farm.service.database import Database
from farm.service.errors import Conflict, NoKey, NotFound, OverQuota, TooLong
from farm.service.quotas import month_of
from farm.service.records import Asked, AskedSpec, JobOrder, Spent, TenantQuota
from farm.service.rows import asked_of, order_of
from farm.service.states import JobState
from tests.farm.service.farmhouse import ACME, OTHER, Hand, begin, job_in, order, submit, take, tenants


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


def test_a_page_of_some_states_is_what_a_list_would_filter(db: Database) -> None:
    """Again and again on the same connection, with another number of states each time: statements are kept."""
    tenants(db)
    made = {submit(db).id: JobState.queued for _ in range(9)}
    for number, name in enumerate(made):
        if number % 3 == 1:
            jobs.cancel(db, ACME, name)
            made[name] = JobState.cancelled
        elif number % 3 == 2:
            jobs.pause(db, ACME, name)
            made[name] = JobState.paused
    queued, cancelled, paused = JobState.queued, JobState.cancelled, JobState.paused
    for states in [(queued, paused), (paused,), (queued, cancelled, paused), (), (cancelled, queued)] * 8:
        expected = sorted((name for name, state in made.items() if not states or state in states), reverse=True)
        seen: list[str] = []
        cursor = None
        while True:
            page = jobs.listed(db, ACME, states=states, cursor=cursor, limit=2)
            seen += [row.id for row in page.items]
            if (cursor := page.cursor) is None:
                break
        assert seen == expected, states


def test_what_is_told_of_an_order_is_the_orders_own(db: Database) -> None:
    """Of one that says nothing but what it must, of one that says all, and in both by the same defaults."""
    plain = JobOrder(JobSpec("s3://films/a.mp4", "out.mp4"))
    full = order("title", wait_for_cast=True, priority=3, labels={"shot": "12", "": "\u2028"})
    tenants(db)
    for asked in (plain, full):
        row = jobs.get(db, ACME, jobs.submit(db, ACME, asked).job.id)
        assert order_of(row) == asked
        told = row.asked
        assert told is not None
        assert (told.spec.target, told.spec.output, told.spec.swapper, told.wait_for_cast, told.labels) == (
            asked.spec.target,
            asked.spec.output,
            asked.spec.swapper,
            asked.wait_for_cast,
            asked.labels,
        )
    short = '{"spec":{"target":"a","output":"b"}}'
    told, whole = decode(short.encode(), Asked), decode(short.encode(), JobOrder)
    assert told == Asked(AskedSpec("a", "b", whole.spec.swapper), whole.wait_for_cast, whole.labels)
    assert asked_of('{"spec":{}}') is None
    assert asked_of("no JSON") is None


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
