"""Backlog -> wanted nodes: cheapest first, never more than there is to do, nothing for nodes that come too late."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.dispatch import Backlog, NodeOffer, wanted_nodes
from core.errors import PlanError

SPOT = NodeOffer("spot", slots=1, rate=10.0, price_h=0.3, at_most=100)
DEMAND = NodeOffer("demand", slots=1, rate=10.0, price_h=0.8, at_most=100)


def test_enough_nodes_to_finish_in_time_and_no_more() -> None:
    assert wanted_nodes(Backlog(1000, 0, 36_000.0), [SPOT], {}, finish_s=360.0) == {"spot": 10}
    assert wanted_nodes(Backlog(1000, 0, 36_001.0), [SPOT], {}, finish_s=360.0) == {"spot": 11}


def test_the_cheapest_work_first_and_the_dear_one_where_that_runs_out() -> None:
    few = NodeOffer("spot", slots=1, rate=10.0, price_h=0.3, at_most=4)
    wanted = wanted_nodes(Backlog(1000, 0, 36_000.0), [DEMAND, few], {}, finish_s=360.0)
    assert wanted == {"spot": 4, "demand": 6}
    gone = NodeOffer("spot", slots=1, rate=10.0, price_h=0.3, at_most=0)
    assert wanted_nodes(Backlog(1000, 0, 36_000.0), [DEMAND, gone], {}, finish_s=360.0) == {"spot": 0, "demand": 10}


def test_never_more_slots_than_open_tasks() -> None:
    assert wanted_nodes(Backlog(3, 0, 1e9), [SPOT], {}, finish_s=60.0) == {"spot": 3}
    many = NodeOffer("many", slots=8, rate=10.0, price_h=1.0, at_most=100)
    assert wanted_nodes(Backlog(9, 0, 1e9), [many], {}, finish_s=60.0) == {"many": 2}


def test_nothing_queued_keeps_what_works_and_nothing_open_keeps_the_least() -> None:
    least = NodeOffer("spot", slots=1, rate=10.0, price_h=0.3, at_most=100, at_least=2)
    assert wanted_nodes(Backlog(0, 7, 0.0), [least], {"spot": 20}, finish_s=60.0) == {"spot": 7}
    assert wanted_nodes(Backlog(0, 0, 0.0), [least], {"spot": 20}, finish_s=60.0) == {"spot": 2}


def test_nodes_that_would_come_too_late_are_not_asked_for() -> None:
    slow = NodeOffer("slow", slots=1, rate=10.0, price_h=0.1, at_most=100, boot_s=300.0)
    assert wanted_nodes(Backlog(100, 0, 36_000.0), [slow, DEMAND], {}, finish_s=300.0) == {"slow": 0, "demand": 12}
    # One node of the kind is there and has 100 s of work: another would come after that.
    assert wanted_nodes(Backlog(50, 0, 1000.0), [slow], {"slow": 1}, finish_s=3600.0) == {"slow": 1}
    # What has booted counts with all of the time.
    assert wanted_nodes(Backlog(999, 0, 90_000.0), [slow], {"slow": 10}, finish_s=600.0) == {"slow": 20}


@given(
    queued=st.integers(0, 5000),
    running=st.integers(0, 500),
    cost=st.floats(0, 1e7),
    finish_s=st.floats(1, 1e5),
    there=st.integers(0, 300),
    offers=st.lists(
        st.builds(
            NodeOffer,
            kind=st.sampled_from(["a", "b", "c"]),
            slots=st.integers(1, 8),
            rate=st.floats(0.1, 100),
            price_h=st.floats(0, 5),
            at_most=st.integers(3, 1000),
            at_least=st.integers(0, 3),
            boot_s=st.floats(0, 1000),
        ),
        min_size=1,
        max_size=3,
        unique_by=lambda offer: offer.kind,
    ),
)
def test_wishes_keep_their_bounds(
    queued: int, running: int, cost: float, finish_s: float, there: int, offers: list[NodeOffer]
) -> None:
    cost = cost if queued else 0.0
    present = {offers[0].kind: there}
    wanted = wanted_nodes(Backlog(queued, running, cost), offers, present, finish_s=finish_s)
    assert set(wanted) == {offer.kind for offer in offers}
    for offer in offers:
        assert offer.at_least <= wanted[offer.kind] <= offer.at_most
    slots = sum(offer.slots * wanted[offer.kind] for offer in offers)
    least = sum(offer.slots * offer.at_least for offer in offers)
    assert slots <= max(least, queued + running + max(offer.slots for offer in offers) - 1)
    more = wanted_nodes(Backlog(queued * 2, running, cost * 2), offers, present, finish_s=finish_s)
    assert sum(offer.slots * more[offer.kind] for offer in offers) >= slots - max(offer.slots for offer in offers)
    if cost and math.isfinite(cost) and all(offer.boot_s == 0 for offer in offers):
        work = sum(offer.slots * offer.rate * wanted[offer.kind] for offer in offers) * finish_s
        full = all(wanted[offer.kind] == offer.at_most for offer in offers)
        assert work >= cost * (1 - 1e-9) or slots >= queued + running or full


@pytest.mark.parametrize("what", [{"slots": 0}, {"rate": 0.0}, {"at_least": 5, "at_most": 4}, {"price_h": -1.0}])
def test_types_that_cannot_be_are_refused(what: dict[str, float]) -> None:
    good = {"kind": "x", "slots": 1, "rate": 1.0, "price_h": 1.0, "at_most": 9}
    with pytest.raises(PlanError):
        NodeOffer(**{**good, **what})  # type: ignore[arg-type]
