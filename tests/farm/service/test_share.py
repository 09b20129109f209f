"""Whose job is next."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from farm.service.database import Database
from farm.service.share import Share, Waiting, choose, score
from farm.service.states import JobState
from tests.farm.service.farmhouse import ACME, OTHER, Hand, submit, take, tenants


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
