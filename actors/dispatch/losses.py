"""What is lost when slots and nodes go, and what becomes of it: queued again, poisoned, or the end of a job."""

from __future__ import annotations

from actors.dispatch import stragglers
from actors.dispatch.events import (
    Cancel,
    Decision,
    NodeGone,
    NodeLeaves,
    Quarantine,
    Release,
    Restart,
    SlotDied,
    SlotLeft,
    SlotUnfit,
)
from actors.dispatch.fleet import Fleet, Node
from actors.dispatch.jobs import Jobs
from actors.dispatch.ledger import RUNNING
from actors.dispatch.slots import Attempt, Slot
from core.errors import FarmError, WorkerLost

MAX_TRIES = 3
MAX_DEATHS_IN_A_ROW = 4
# A slot must be able to poison a task before it is taken out of service, or one bad segment would cost the farm a node.
assert MAX_TRIES < MAX_DEATHS_IN_A_ROW
# At two losses a node and hour and a minute a task, one task in 1e13 meets this many by chance.
MAX_DEPARTURES = 9
# One slot that is unfit may be the exception; with two and none that is fit, nothing is waited for.
UNFIT = 2
NOT_QUEUED = "nothing is queued"
KEPT = "what was finished is kept: run the same command again to resume"


class Losses:
    """The part of the dispatcher that takes slots away."""

    def __init__(self, fleet: Fleet, *, awaits_nodes: bool) -> None:
        self._jobs = Jobs()
        self._fleet = fleet
        self._awaits_nodes = awaits_nodes
        self._unfit_slots = 0  # in a row
        self._unfit_error: FarmError | None = None
        self._out: list[Decision] = []
        self.deaths = 0

    def _died(self, event: SlotDied, at_s: float) -> None:
        slot = self._fleet.slots.get(event.slot)
        if slot is None:
            return
        home = self._fleet.home(slot)
        announced = home is not None and home.leaves
        self.deaths += 1
        self._lose(slot, event.reason, at_s, fault=event.blame and not announced, counts=not announced)
        if announced:
            self._fleet.remove(slot, at_s)
            self._any_left(event.reason)
            return
        slot.deaths_in_a_row += event.blame
        if not event.blame:
            self._fleet.leave_home(slot)  # its next renderer comes up elsewhere, whatever becomes of the node
        if slot.deaths_in_a_row >= MAX_DEATHS_IN_A_ROW or slot.leaving:
            self._fleet.remove(slot, at_s)
            self._out.append(Quarantine(slot.name, event.reason))
            if home is not None:
                self._distrust(home, at_s)
            self._any_left(event.reason)
        elif self._jobs.open:
            if event.blame:  # else a node may have to come up for it first: nothing is held back for it
                self._fleet.starting[slot.name] = None
            self._out.append(Restart(slot.name, event.reason))
        else:
            slot.down = True

    def _distrust(self, home: Node, at_s: float) -> None:
        """A slot of the node was taken out of service; with the second one, the others finish what they have and go."""
        home.bad_slots += 1
        if home.shunned:
            for slot in list(home.slots.values()):
                slot.leaving = True
                self._settle(slot, at_s)

    def _node_leaves(self, event: NodeLeaves, at_s: float) -> None:
        home = self._fleet.nodes.setdefault(event.node, Node())
        home.leaves = True
        for slot in list(home.slots.values()):
            slot.leaving = True
            for task, attempt, left_s in list(stragglers.left_s(slot, self._fleet.rates, at_s)):
                if left_s is not None and at_s + left_s > event.by_s:
                    self._fleet.take_off(slot, task)
                    self._return(attempt)
                    self._out.append(Cancel(slot.name, task, attempt.number, "its node leaves before it can finish"))
            self._settle(slot, at_s)

    def _node_gone(self, event: NodeGone, at_s: float) -> None:
        home = self._fleet.nodes.get(event.node)
        if home is None:
            return
        for slot in list(home.slots.values()):
            self._lose(slot, event.reason, at_s, fault=False, counts=not home.leaves)
            self._fleet.remove(slot, at_s)
        self._fleet.nodes.pop(event.node, None)
        self._any_left(event.reason)

    def _left(self, event: SlotLeft, at_s: float) -> None:
        slot = self._fleet.slots.get(event.slot)
        if slot is not None:
            self._lose(slot, event.reason, at_s, fault=False, counts=False)
            self._fleet.remove(slot, at_s)
            self._any_left(event.reason)

    def _unfit(self, event: SlotUnfit, at_s: float) -> None:
        slot = self._fleet.slots.get(event.slot)
        if slot is None:
            return
        self._lose(slot, str(event.error), at_s, fault=False, counts=False)
        self._fleet.remove(slot, at_s)
        self._out.append(Quarantine(slot.name, str(event.error)))
        self._unfit_slots += 1
        self._unfit_error = event.error
        if not self._fleet.up and (not self._fleet.starting or self._unfit_slots >= UNFIT):
            self._jobs.halt_all(event.error)
        self._any_left(str(event.error))

    def _settle(self, slot: Slot, at_s: float) -> None:
        """Its tasks or its trust changed: put it where it belongs; one that goes and has nothing left is released."""
        if not slot.running:
            slot.idle_since_s = at_s
            if slot.leaving and slot.name in self._fleet.slots:
                self._fleet.remove(slot, at_s)
                self._out.append(Release(slot.name, "its node leaves, or is not trusted"))
                self._any_left("their nodes left")
                return
        self._fleet.bench.seat(slot)

    def _lose(self, slot: Slot, reason: str, at_s: float, *, fault: bool, counts: bool = True) -> None:
        """All that runs on the slot is lost: by a `fault`, or because its node went, which `counts` without notice."""
        lost = sorted(slot.running, key=lambda task: -slot.running[task].ledger.positions[slot.running[task].rank])
        for task in lost:
            attempt = self._fleet.take_off(slot, task)
            ledger, rank = attempt.ledger, attempt.rank
            if fault:
                ledger.losses[rank] += 1
            elif counts:
                ledger.departures[rank] += 1
            losses, departures = ledger.losses[rank], ledger.departures[rank]
            if ledger.state(rank) != RUNNING or ledger.current[rank]:
                continue
            if losses < MAX_TRIES and departures < MAX_DEPARTURES:
                self._return(attempt)
                continue
            what = f"took down its renderer {losses} times" if losses >= MAX_TRIES else f"lost {departures} nodes"
            ledger.drop(rank)
            error = WorkerLost(f"segment {ledger.positions[rank]} {what}, last: {reason}", hint=KEPT)
            self._jobs.halt(ledger.job, error)
        self._fleet.lift(slot, 0, at_s)
        slot.warm = None
        self._fleet.bench.seat(slot)

    def _return(self, attempt: Attempt) -> None:
        """A task of which no attempt is left goes back into the queue."""
        if attempt.ledger.state(attempt.rank) == RUNNING and not attempt.ledger.current[attempt.rank]:
            self._jobs.put_back(attempt.ledger, attempt.rank)

    def _any_left(self, reason: str) -> None:
        if self._fleet.slots or self._awaits_nodes:
            return
        if self._unfit_slots and self._unfit_error is not None:
            self._jobs.halt_all(self._unfit_error)
        else:
            what = f"every renderer died {MAX_DEATHS_IN_A_ROW} times in a row or left, last: {reason}"
            hint = "what was finished is kept: see `farm doctor`, then run the same command again"
            self._jobs.halt_all(WorkerLost(what, hint=hint))
