"""Who gets what: queued tasks to slots with room, and at the end moves and copies. No rule here looks at all slots but
`copy_late`, which its caller asks at most once a second."""

from __future__ import annotations

from collections.abc import Iterator

from actors.dispatch import stragglers
from actors.dispatch.events import Assign, Cancel, Decision
from actors.dispatch.fleet import Fleet
from actors.dispatch.jobs import Jobs
from actors.dispatch.slots import Slot


def place(jobs: Jobs, fleet: Fleet, at_s: float) -> Iterator[Decision]:
    """Give out all that can be given out now."""
    totals, bench = jobs.totals, fleet.bench
    while len(bench.held) > totals.suspects:
        released = next(iter(bench.held.values()))
        released.held = False
        bench.seat(released)
    while totals.queued:
        idle = bench.idle()
        slot = idle if idle is not None else _beside(jobs, fleet)
        taken = jobs.take(fleet.rates.share(slot), beside=idle is None) if slot is not None else None
        if slot is None or taken is None:
            break
        yield fleet.give(slot, *taken, at_s)
    if not totals.queued and bench.doubled:
        yield from move_waiting(fleet, at_s)


def _beside(jobs: Jobs, fleet: Fleet) -> Slot | None:
    """The slot for a second task. None while a slot that starts could take it, or where only suspects are queued.

    For each suspect that waits one slot is held back: it runs empty and then takes the suspect alone.
    """
    totals, bench = jobs.totals, fleet.bench
    if totals.queued <= len(fleet.starting):
        return None
    while (slot := bench.beside()) is not None and totals.suspects > len(bench.held):
        slot.held = True
        bench.seat(slot)
    return slot if totals.queued > totals.suspects else None


def move_waiting(fleet: Fleet, at_s: float) -> Iterator[Decision]:
    """Nothing is queued: slots without work take over what waits behind another task."""
    bench = fleet.bench
    while bench.doubled and (idle := bench.idle()) is not None:
        found = stragglers.to_move(bench.doubled.values(), idle, fleet.rates, at_s)
        if found is None:
            return
        slot, task, attempt = found
        fleet.take_off(slot, task)
        bench.seat(slot)
        yield Cancel(slot.name, task, attempt.number, "moved to a renderer without work")
        yield fleet.give(idle, attempt.ledger, attempt.rank, at_s)


def copy_late(fleet: Fleet, at_s: float) -> Iterator[Assign]:
    """Nothing is queued: slots without work take a copy of what is late, on another node than the original's."""
    idle = fleet.bench.idle_slots()
    if not idle:
        return
    for late in stragglers.late(fleet.slots.values(), fleet.rates.of(idle[0]), fleet.rates, at_s):
        other = next((slot for slot in idle if not slot.node or slot.node != late.slot.node), None)
        if other is None:
            continue
        if late.gains(fleet.rates.of(other)):
            idle.remove(other)
            yield fleet.give(other, late.attempt.ledger, late.attempt.rank, at_s)
        if not idle:
            return
