"""What is lost when slots and nodes go, and what becomes of it: queued again, poisoned, or the end of a job."""

from __future__ import annotations

import math

from actors.dispatch import stragglers
from actors.dispatch.events import (
    Cancel,
    Decision,
    GiveUp,
    NodeGone,
    NodeLeaves,
    NoPlace,
    Quarantine,
    Release,
    Restart,
    Shun,
    SlotDied,
    SlotLeft,
    SlotUnfit,
    Trust,
)
from actors.dispatch.fleet import ELSEWHERE, THERE, Fleet, Node
from actors.dispatch.jobs import Jobs
from actors.dispatch.ledger import RUNNING, Ledger
from actors.dispatch.refusals import ANY_JOB, MEMORY_S, Refusal, Refusals
from actors.dispatch.slots import Attempt, Slot
from core.errors import FarmError, WorkerLost

MAX_TRIES = 3
MAX_DEATHS_IN_A_ROW = 4
# A slot must be able to poison a task before it is taken out of service, or one bad segment would cost the farm a node.
assert MAX_TRIES < MAX_DEATHS_IN_A_ROW
# At two losses a node and hour and a minute a task, one task in 1e13 meets this many by chance.
MAX_DEPARTURES = 9
# A node without trusted slots is given up only after so long: another node may say the same, and then it is no fault
# of the first one.
DOUBT_S = 60.0
NO_PLACE_S = 30.0
NOT_QUEUED = "nothing is queued"
KEPT = "what was finished is kept: run the same command again to resume"


class Losses:
    """The part of the dispatcher that takes slots away."""

    def __init__(self, fleet: Fleet, *, awaits_nodes: bool) -> None:
        self._jobs = Jobs()
        self._fleet = fleet
        self._awaits_nodes = awaits_nodes
        self._refusals = Refusals()
        self._bad: dict[str, None] = {}  # nodes with slots that were taken out of service, and that are not given up
        self._out: list[Decision] = []
        self._no_place_s: float | None = None
        self.deaths = 0  # renderers that were lost, with their nodes or by themselves

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
            self._any_left(event.reason, at_s)
            return
        slot.deaths_in_a_row += event.blame
        if not event.blame:
            self._fleet.leave_home(slot)  # its next renderer comes up elsewhere, whatever becomes of the node
        if slot.deaths_in_a_row >= MAX_DEATHS_IN_A_ROW or slot.leaving:
            self._take_out(slot, event.reason, at_s)
            self._any_left(event.reason, at_s)
        elif self._jobs.open:
            if not slot.far:  # nothing is held back for one that waits for a node
                self._fleet.starting[slot.name] = None
            self._out.append(Restart(slot.name, event.reason))
        else:
            slot.down = True

    def _take_out(self, slot: Slot, reason: str, at_s: float, node: str = "") -> None:
        """The slot, on which nothing runs, goes out of service for good. With the second one of a node, its others
        finish what they have and go."""
        if node:
            self._fleet.lives_on(slot, node)
        node = slot.node
        home = self._fleet.home(slot)
        if home is not None:
            home.bad_slots += 1
            home.why, home.bad_s = reason, at_s
            self._bad[node] = None
        self._fleet.remove(slot, at_s)
        self._out.append(Quarantine(slot.name, reason, node))
        if home is not None:
            self._out.append(Shun(node, reason))
        if home is not None and home.shunned:
            for other in list(home.slots.values()):
                other.leaving = True
                self._settle(other, at_s)

    def _give_up(self, at_s: float) -> None:
        """Nodes of which nothing is left but what was said against them."""
        for name in list(self._bad):
            home = self._fleet.nodes.get(name)
            if home is None or not home.bad_slots:
                del self._bad[name]
            elif not home.slots and at_s - home.bad_s >= DOUBT_S:
                del self._bad[name]
                if not home.leaves:
                    self._out.append(GiveUp(name, home.why))

    def _forgive(self, name: str) -> None:
        if self._fleet.forgive(name):
            self._bad.pop(name, None)
            self._out.append(Trust(name))

    def _forgive_all(self) -> None:
        """Whoever has a job now may have mended what was bad."""
        self._refusals.clear()
        for name, node in list(self._fleet.nodes.items()):
            for _ in range(node.bad_slots):
                self._forgive(name)

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
            self.deaths += slot.capacity > 0 or slot.setting_up
            self._lose(slot, event.reason, at_s, fault=False, counts=not home.leaves)
            self._fleet.remove(slot, at_s)
        self._fleet.nodes.pop(event.node, None)
        self._any_left(event.reason, at_s)

    def _left(self, event: SlotLeft, at_s: float) -> None:
        slot = self._fleet.slots.get(event.slot)
        if slot is not None:
            self._lose(slot, event.reason, at_s, fault=False, counts=False)
            self._fleet.remove(slot, at_s)
            self._any_left(event.reason, at_s)

    def _unfit(self, event: SlotUnfit, at_s: float) -> None:
        slot = self._fleet.slots.get(event.slot)
        if slot is None:
            return
        self._lose(slot, str(event.error), at_s, fault=False, counts=False)
        refusal = Refusal(ANY_JOB, event.node or slot.where, event.error, at_s)
        self._refusals.add(refusal)
        self._take_out(slot, str(event.error), at_s, event.node)
        if not self._fleet.up and self._refusals.agreed(refusal):
            self._jobs.halt_all(event.error)
            self._withdraw(refusal)
        self._any_left(str(event.error), at_s)

    def _refuse(self, slot: Slot, attempt: Attempt, error: FarmError, at_s: float) -> bool:
        """The work ended with an error that its node may have for itself alone: the slot goes out of service, and
        another node tries. False, and nothing done, where another node said the same (of the same task, or with nothing
        of the job done between), or there is no other one, or the job has failed anyway."""
        ledger, rank = attempt.ledger, attempt.rank
        refusal = Refusal(ledger.job, slot.where, error, at_s, ledger.ids[rank])
        if ledger.error is not None:
            return False
        ledger.depart(rank)
        agreed = self._refusals.agreed(refusal) or ledger.departures[rank] >= MAX_DEPARTURES
        if agreed or not self._another(slot):
            self._withdraw(refusal)
            return False
        self._refusals.add(refusal)
        self._return(attempt)
        self._lose(slot, str(error), at_s, fault=False, counts=False)
        self._take_out(slot, str(error), at_s)
        self._any_left(str(error), at_s)
        return True

    def _another(self, slot: Slot) -> bool:
        """Whether there is another node, or may be one."""
        return self._awaits_nodes or any(
            other.where != slot.where and not other.leaving for other in self._fleet.slots.values()
        )

    def _withdraw(self, refusal: Refusal) -> None:
        for where in self._refusals.withdraw(refusal):
            self._forgive(where)

    def _no_place(self, event: NoPlace, at_s: float) -> None:
        """With nothing up, that is the end; what starts already is waited for a while."""
        if self._fleet.up or self._fleet.one_is_home:
            self._no_place_s = None
            return
        if self._no_place_s is None:
            self._no_place_s = at_s
        if not self._fleet.starting or at_s - self._no_place_s >= NO_PLACE_S:
            self._end_all(event.reason)  # what was refused is why there is no place, however long ago that was

    def _settle(self, slot: Slot, at_s: float) -> None:
        """Its tasks or its trust changed: put it where it belongs; one that goes and has nothing left is released."""
        if not slot.running:
            slot.idle_since_s = at_s
            if slot.leaving and slot.name in self._fleet.slots:
                self._fleet.remove(slot, at_s)
                self._out.append(Release(slot.name, "its node leaves, or is not trusted"))
                self._any_left("their nodes left", at_s)
                return
        self._fleet.bench.seat(slot)

    def _lose(self, slot: Slot, reason: str, at_s: float, *, fault: bool, counts: bool = True) -> None:
        """All that runs on the slot is lost: by a `fault`, or because its node went, which `counts` without notice."""
        self._fleet.lift(slot, 0, at_s)
        lost = sorted(slot.running, key=lambda task: -slot.running[task].ledger.positions[slot.running[task].rank])
        for task in lost:
            attempt = self._fleet.take_off(slot, task)
            ledger, rank = attempt.ledger, attempt.rank
            if fault:
                ledger.blame(rank, slot.where, slot.name)
            elif counts:
                ledger.depart(rank)
            if ledger.state(rank) != RUNNING or ledger.current[rank]:
                continue
            poisonous, departures = self._poisonous(ledger, rank), ledger.departures[rank]
            if not poisonous and departures < MAX_DEPARTURES:
                self._return(attempt)
                continue
            what = f"took down its renderer {ledger.losses[rank]} times" if poisonous else f"lost {departures} nodes"
            ledger.drop(rank)
            error = WorkerLost(f"segment {ledger.positions[rank]} {what}, last: {reason}", hint=KEPT)
            self._jobs.halt(ledger.job, error)
        slot.warm = None
        self._fleet.bench.seat(slot)

    def _poisonous(self, ledger: Ledger, rank: int) -> bool:
        """Whether the task has taken down so many that it is its own fault.

        What it did on one node says nothing while there is another one to try it on, nor what it did to one slot while
        there is another one; where there is none, every death counts.
        """
        deaths = ledger.deaths(rank)
        if len(deaths) < MAX_TRIES:
            return False
        refuge = self._fleet.refuge(deaths)
        if refuge == ELSEWHERE:
            return len({where for where, _ in deaths}) >= MAX_TRIES
        return refuge == THERE or len(set(deaths)) >= MAX_TRIES

    def _return(self, attempt: Attempt) -> None:
        """A task of which no attempt is left goes back into the queue."""
        if attempt.ledger.state(attempt.rank) == RUNNING and not attempt.ledger.current[attempt.rank]:
            self._jobs.put_back(attempt.ledger, attempt.rank)

    def _any_left(self, reason: str, at_s: float) -> None:
        if not self._fleet.slots and not self._awaits_nodes:
            self._end_all(reason, at_s - MEMORY_S)

    def _end_all(self, reason: str, since_s: float = -math.inf) -> None:
        """No slot is left, and none will come."""
        what = f"every renderer died {MAX_DEATHS_IN_A_ROW} times in a row or left, last: {reason}"
        hint = "what was finished is kept: see `farm doctor`, then run the same command again"
        self._end_each(WorkerLost(what, hint=hint), since_s)

    def _end_each(self, told: FarmError, since_s: float) -> None:
        """Every job ends with what was last refused of it since then, or else with what is told of all."""
        for job in self._jobs.names:
            self._jobs.halt(job, self._refusals.last(job, since_s) or told)
