"""Whoever does not move is told, and the watch comes to an end, whatever the sums of the clock round to."""

from __future__ import annotations

from itertools import islice

from hypothesis import example, given
from hypothesis import strategies as st

from actors.dispatch import Task
from actors.dispatch.ledger import Ledger, Totals
from actors.dispatch.slots import Attempt, Slot
from actors.dispatch.watch import KILL_S, Watch

times = st.floats(0, 1e9)


def at_work(moved_s: float) -> Slot:
    books = Ledger("job", 0, [Task("t", 0, 1.0)], Totals(), priority=0, weight=1.0)
    return Slot("s", capacity=2, running={"t": Attempt(books, 0, 1, moved_s)}, moved_s=moved_s)


@given(moved_s=times, hang_s=st.floats(1, 1e4), late_s=st.floats(-1, 1))
@example(moved_s=0.1, hang_s=50.0, late_s=0.0)
def test_a_slot_hangs_from_one_moment_on(moved_s: float, hang_s: float, late_s: float) -> None:
    watch, slot = Watch(hang_s), at_work(moved_s)
    watch.add(slot)
    at_s = moved_s + hang_s + late_s
    assert list(islice(watch.due(at_s), 2)) == ([slot] if at_s >= moved_s + hang_s else [])


@given(moved_s=times, again_s=times, killed_s=times, late_s=st.floats(-1, 1))
def test_one_that_moved_meanwhile_and_one_that_was_killed(
    moved_s: float, again_s: float, killed_s: float, late_s: float
) -> None:
    watch, slot = Watch(50.0), at_work(moved_s)
    watch.add(slot)
    slot.moved_s = max(moved_s, again_s)
    moved_until_s = slot.moved_s + 50.0
    assert list(islice(watch.due(moved_until_s), 2)) == [slot]
    watch.add(slot)
    slot.killed_s = killed_s = max(moved_until_s, killed_s)
    at_s = killed_s + KILL_S + late_s
    for told in watch.due(at_s):
        told.running.clear()
    assert (not slot.running) == (at_s >= killed_s + KILL_S)
