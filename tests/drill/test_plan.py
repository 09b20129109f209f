"""The plan of a drill: every part dies, whatever the seed, and the same seed kills the same parts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as some

from tests.drill.plan import VICTIMS, plan_of


@given(some.integers(0, 10_000), some.integers(0, 5))
def test_every_part_dies_in_the_middle(seed: int, more: int) -> None:
    plan = plan_of(seed, 20, more)
    assert plan == plan_of(seed, 20, more)
    assert {kill.victim for kill in plan} == set(VICTIMS)
    assert len(plan) == len(VICTIMS) + more
    assert [kill.ended for kill in plan] == sorted(kill.ended for kill in plan)
    assert all(0 <= kill.ended <= 12 for kill in plan)
