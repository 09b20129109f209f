"""Nodes that are bad as they come: what is asked for in their place, how often, and when that is the end."""

from __future__ import annotations

from actors.dispatch import SlotDied, SlotLeft, SlotReady, SlotsMayCome, SlotUnfit
from actors.dispatch.keeper import BAD_IN_A_ROW, COMING_S, HOUR_S, REPLACE_S, REPLACED_AN_HOUR
from core.errors import WorkerLost
from tests.actors.test_keeper import Pool


def unfit(pool: Pool, slot: str, node: str) -> None:
    pool.tell(SlotUnfit(slot, WorkerLost(f"{node} cannot do it"), node))


def test_all_slots_of_one_bad_node_are_replaced_as_one() -> None:
    pool = Pool(5, 5)
    pool.add("a", 20)
    *bad, good = pool.joined()
    pool.tell(SlotReady(good, 1, "y"))
    for slot in bad:
        unfit(pool, slot, "x")
    pool.at_s += REPLACE_S
    assert len(pool.joined()) == len(bad)


def test_one_bad_node_is_not_the_end_while_others_come() -> None:
    """Four slots of the first node to come up are bad; the other nodes still boot."""
    pool = Pool(0, 12)
    pool.add("a", 20)
    first, *slots = pool.joined()
    for slot in (first, *slots[:3]):
        unfit(pool, slot, "x")
    assert not [event for event in pool.look() if isinstance(event, SlotsMayCome | SlotLeft)]
    for number, slot in enumerate(slots[3:6]):
        unfit(pool, slot, f"z{number}")
    assert not [event for event in pool.look() if isinstance(event, SlotsMayCome | SlotLeft)], "some still come"
    pool.at_s += COMING_S / 2
    assert pool.joined() == [], "as many nodes are bad as are the end: no more are asked for"
    pool.tell(SlotReady(slots[6], 1, "y"))
    pool.finish(1)
    assert len(pool.joined()) == 7
    assert not pool.ends()


def test_what_does_not_come_does_not_put_off_the_end_for_ever() -> None:
    pool = Pool(0, 12)
    pool.add("a", 20)
    for number, slot in enumerate(pool.joined()[:BAD_IN_A_ROW]):
        unfit(pool, slot, f"z{number}")
    pool.at_s += COMING_S - 1.0
    pool.look()
    assert not pool.ends()
    pool.at_s += 1.0
    pool.look()
    assert len(pool.ends()) == 1
    assert not pool.dispatcher.slots


def test_the_only_good_renderer_may_start_again_beside_bad_ones() -> None:
    pool = Pool(0, 12)
    pool.add("a", 20)
    good, *slots = pool.joined()
    pool.tell(SlotReady(good, 1, "y"))
    for number, slot in enumerate(slots):
        unfit(pool, slot, f"z{number}")
    pool.at_s += COMING_S
    pool.tell(SlotDied(good, "died"))
    pool.look()
    pool.tell(SlotReady(good, 1, "y"))
    pool.look()
    assert not pool.ends()
    assert good in pool.dispatcher.slots


def test_beside_a_good_renderer_bad_nodes_come_seldom_and_that_is_told() -> None:
    """All that comes is bad at once, while one renderer does its work: for three hours, looked at each second."""
    hours, good_s = 3, 20
    pool = Pool(0, 200)
    pool.add("a", hours * 3600)
    good, *coming = pool.joined()
    pool.tell(SlotReady(good, 1, "y"))
    bad_s: list[float] = []
    told: list[str] = []
    for second in range(hours * 3600):
        pool.at_s += 1.0
        for slot in coming:
            unfit(pool, slot, f"z{len(bad_s)}")
            bad_s.append(pool.at_s)
        if second % good_s == 0:
            pool.finish(1)
        coming = pool.joined()
        words = pool.keeper.words(pool.at_s, waits=True)
        told += [words] if words else []
    later = [at_s for at_s in bad_s if at_s > bad_s[0]]
    for at_s in later:
        assert len([other for other in later if at_s <= other < at_s + HOUR_S]) <= REPLACED_AN_HOUR
    assert not pool.ends()
    assert good in pool.dispatcher.slots
    assert told
    assert len(told) <= hours
    assert f"{REPLACED_AN_HOUR} renderers" in told[0]
    assert told[0].endswith("cannot do it")
