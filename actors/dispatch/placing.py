"""Who gets what: queued tasks to slots with room, and at the end moves and copies. No rule here looks at all slots but
`copy_late`, which its caller asks at most once a second."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import islice

from actors.dispatch import stragglers
from actors.dispatch.events import Assign, Cancel, Decision
from actors.dispatch.fleet import Fleet
from actors.dispatch.jobs import Jobs
from actors.dispatch.ledger import LOOK_AT, Ledger
from actors.dispatch.slots import Slot

Given = tuple[Slot, Ledger, int]


def place(jobs: Jobs, fleet: Fleet, at_s: float) -> Iterator[Decision]:
    """Give out all that can be given out now."""
    totals, bench = jobs.totals, fleet.bench
    while len(bench.held) > totals.suspects:
        released = next(iter(bench.held.values()))
        released.held = False
        bench.seat(released)
    while totals.queued and bench.room:
        idle = bench.idle()
        if idle is None:
            found = _to_busy(jobs, fleet)
        elif totals.suspects:
            found = _to_idle(jobs, fleet)
        else:
            found = _with(idle, jobs.take(fleet.rates.share(idle), _none_waits))
        if found is None:
            break
        slot, ledger, rank = found
        yield fleet.give(slot, ledger, rank, at_s)
    if not totals.queued and bench.doubled:
        yield from move_waiting(fleet, at_s)


def _none_waits(_: Ledger, __: int) -> bool:
    """Whether a slot may have a suspect, where there is none."""
    return True


def _with(slot: Slot, taken: tuple[Ledger, int] | None) -> Given | None:
    return (slot, *taken) if taken is not None else None


def _to_idle(jobs: Jobs, fleet: Fleet) -> Given | None:
    """A task for a slot without work: the fastest one, or where all that is queued took down that one or its like, the
    first that may have some of it. Those that may not are few: they are where something died of all that is queued."""
    for slot in fleet.bench.idles():
        taken = jobs.take(fleet.rates.share(slot), partial(fleet.may_have, slot))
        if taken is not None:
            return (slot, *taken)
        if not jobs.passed_over:
            break
    return None


def _to_busy(jobs: Jobs, fleet: Fleet) -> Given | None:
    """A second task for a slot. None while a slot that starts could take it, or where only suspects are queued."""
    totals = jobs.totals
    if totals.queued <= len(fleet.starting):
        return None
    if totals.suspects > len(fleet.bench.held):
        _hold(jobs, fleet)
    slot = fleet.bench.beside() if totals.queued > totals.suspects else None
    return _with(slot, jobs.take(fleet.rates.share(slot), None)) if slot is not None else None


def _hold(jobs: Jobs, fleet: Fleet) -> None:
    """For each suspect that waits one slot that may have one is held back: it runs empty and then takes one alone."""
    bench = fleet.bench
    waiting = list(islice(jobs.suspects(), LOOK_AT))
    fit = (slot for slot in bench.besides() if any(fleet.may_have(slot, *suspect) for suspect in waiting))
    for slot in list(islice(fit, jobs.totals.suspects - len(bench.held))):
        slot.held = True
        bench.seat(slot)


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
    idle = list(fleet.bench.idles())
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
