"""Slot-seconds and money, out of what the dispatcher hears and decides. Pure: no clock of its own, no files.

Every second of every slot is charged to exactly one thing:
- to its set-up, from the time that it joins or is started again until it is ready. Where its node is known only then,
  the set-up is charged then, from when the run began to wait for slots, and `BOOT_S` at most: what took longer was no
  booting node, but one that could not be had;
- to the attempt whose frames come: a slot renders one at a time, and what waits for its turn says that it is at frame 0
  and costs nothing (actors.worker). Where the frames of two come, as in an analysis, they share; where those of none do
  yet, it is the attempt that the slot got first;
- to nothing at all (idle) where it has no work.

An attempt is done, or lost: its slot died, its node went, it was cancelled because another attempt was first, because
it was moved, or because the job was stopped, or it failed. A result that comes after its attempt was given up for lost,
and before any other, counts: then the attempt is done after all.

An hour of a node costs the same whatever runs on it, so the slots on a node share its price evenly at every moment,
and its GPUs and cores; a slot whose node has no name is taken to have one GPU of its node, or the node to itself.

In a pool that several jobs share, a job hears of its own attempts alone. Then its meter is `shared`: an attempt costs
from its first frame on, which is when it got its turn, and what is idle or set up is not the job's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from actors.dispatch import (
    Assign,
    Beat,
    Cancel,
    Done,
    Failed,
    NodeGone,
    Quarantine,
    Release,
    Restart,
    SlotDied,
    SlotJoined,
    SlotLeft,
    SlotReady,
    SlotUnfit,
)
from actors.drive import Happening
from core.records.cost import KindCost, Spent
from farm.cost.prices import Price
from farm.cost.spending import HOUR_S, Attempt, Attempts, Home, Kind, PriceOf, Purse

BOOT_S = 600.0
DONE = "done"
RUNNING = "running"
DIED = "its renderer died"
GONE = "its node went"
TAKEN = "its renderer was taken away"
FAILED = "it failed"
STOPPED = "the run ended"
LATER = "another attempt was first"


@dataclass(slots=True)
class MeteredSlot:
    """`working` are its attempts in the order in which it got them, by task and number; None while it is set up.

    `since_s` is until when its time is charged. `placed`: its kind is known, and its node where it has a name.
    """

    name: str
    kind: Kind
    node: str
    since_s: float
    placed: bool
    working: dict[tuple[str, int], Purse] | None = None
    moving: dict[tuple[str, int], Purse] = field(default_factory=dict)  # those whose frames come
    sworn: bool = True  # it was there when the pool last said who is


class Meter:
    """Tell it with `hear` what happened and was decided, in order; `close` at the end of the run.

    `price_of` gives the price of a kind of node; `home` is asked for kinds without one, which are worth no money.
    """

    def __init__(self, price_of: PriceOf, home: Home = Price, *, shared: bool = False) -> None:
        self._price_of = price_of
        self._home = home
        self._shared = shared
        self._kinds: dict[str, Kind] = {}
        self._slots: dict[str, MeteredSlot] = {}
        self._gone: dict[str, tuple[str, str]] = {}  # slot -> its last kind and node
        self._nodes: dict[str, dict[str, MeteredSlot]] = {}
        self._finished: set[str] = set()  # tasks
        self._given_up: dict[tuple[str, int], int] = {}  # lost attempts whose result may still come
        self._now_s = -math.inf
        self._waits_s: float | None = None  # since when slots are waited for
        self._calling = False  # the pool is saying who is there
        self.attempts = Attempts()
        self.lost: dict[str, Purse] = {}

    # ------------------------------------------------------------ what happens

    def hear(self, happening: Happening, at_s: float) -> None:
        """Events and decisions that have no price are passed over. Time does not go back."""
        at_s = self._now_s = max(at_s, self._now_s)
        if self._calling and not isinstance(happening, SlotReady):
            self._called(at_s)
        match happening:
            case Assign() | Beat() | Done() | Failed() | Cancel():
                self._work(happening, at_s)
            case SlotJoined():
                if happening.slot not in self._slots:
                    self._comes(happening.slot, happening.kind, happening.node, at_s)
            case SlotReady():
                self._ready(happening, at_s)
            case SlotDied() | SlotUnfit() | Quarantine() | Release():
                self._leaves(happening.slot, DIED, at_s)
            case SlotLeft():
                self._leaves(happening.slot, TAKEN, at_s)
            case Restart():
                self._leaves(happening.slot, DIED, at_s)
                self._comes(happening.slot, "", "", at_s)
            case NodeGone():
                for slot in list(self._nodes.get(happening.node, ())):
                    self._leaves(slot, GONE, at_s)

    def _work(self, happening: Assign | Beat | Done | Failed | Cancel, at_s: float) -> None:
        match happening:
            case Assign():
                self._assigned(happening, at_s)
            case Beat():
                self._moved(happening, at_s)
            case Done():
                self._done(happening, at_s)
            case Failed():
                self._ends(happening.slot, happening.task, happening.attempt, FAILED, at_s)
            case Cancel():
                self._ends(happening.slot, happening.task, happening.attempt, happening.reason, at_s)

    def begins(self, at_s: float) -> None:
        """The pool is asked for slots: it says who is there already, and others may take some time to come."""
        self._now_s = max(at_s, self._now_s)
        self._waits_s = self._now_s
        self._calling = True
        for slot in self._slots.values():
            slot.sworn = False

    def _called(self, at_s: float) -> None:
        """Those that were not named are gone, or on their way."""
        self._calling = False
        for slot in list(self._slots.values()):
            if not slot.sworn and slot.working is not None:
                self._leaves(slot.name, DIED, at_s)

    def close(self, at_s: float) -> None:
        """The run is over: what works is lost, and no slot costs anything from now on."""
        self._now_s = max(at_s, self._now_s)
        for slot in list(self._slots):
            self._leaves(slot, STOPPED, self._now_s)

    # ------------------------------------------------------------ what it came to

    def kinds(self, at_s: float) -> tuple[KindCost, ...]:
        """Every kind of node with all that its slots cost until now."""
        self._count(at_s)
        running: dict[str, Purse] = {}
        for slot in self._slots.values():
            for purse in (slot.working or {}).values():
                running.setdefault(slot.kind.name, Purse()).add(purse)
        costs = (kind.cost(running.get(kind.name, Purse())) for kind in self._kinds.values())
        return tuple(cost for cost in costs if cost.total.slot_s > 0)

    def running(self, at_s: float) -> list[Attempt]:
        """Attempts that are not over, those that wait for their turn among them."""
        self._count(at_s)
        return [
            Attempt(task, number, slot.kind.name, slot.node, slot.name, purse.spent(), RUNNING)
            for slot in self._slots.values()
            for (task, number), purse in (slot.working or {}).items()
        ]

    def begun(self, at_s: float) -> list[Attempt]:
        """Those of `running` that have their turn; the others have no frame yet, and cost nothing yet."""
        turns = {
            (slot.name, *attempt)
            for slot in self._slots.values()
            for attempt in slot.moving or list(slot.working or ())[:1]
        }
        return [one for one in self.running(at_s) if (one.slot, one.task, one.number) in turns]

    def spent(self, at_s: float) -> Spent:
        """All of it."""
        return sum((kind.total for kind in self.kinds(at_s)), Spent())

    # ------------------------------------------------------------ slots

    def _kind(self, name: str) -> Kind:
        kind = self._kinds.get(name)
        if kind is None:
            price = self._price_of(name)
            kind = self._kinds[name] = Kind(name, price or self._home(name), price is not None)
        return kind

    def _comes(self, name: str, kind: str, node: str, since_s: float) -> MeteredSlot:
        """A slot that is being set up, where its last renderer was unless it is said where."""
        known_kind, known_node = self._gone.get(name, ("", ""))
        kind, node = kind or known_kind, node or known_node
        slot = self._slots[name] = MeteredSlot(name, self._kind(kind), "", since_s, placed=bool(kind and node))
        if slot.placed:
            self._moves(slot, node, since_s)
        return slot

    def _moves(self, slot: MeteredSlot, node: str, at_s: float) -> None:
        """To another node, or off every node: before their share changes, the neighbours pay."""
        for home in (slot.node, node):
            for neighbour in self._nodes.get(home, {}).values():
                self._pay(neighbour, at_s)
        if slot.node:
            del self._nodes[slot.node][slot.name]
            if not self._nodes[slot.node]:
                del self._nodes[slot.node]
        slot.node = node
        if node:
            self._nodes.setdefault(node, {})[slot.name] = slot

    def _ready(self, event: SlotReady, at_s: float) -> None:
        slot = self._slots.get(event.slot)
        if slot is None:
            since_s = at_s if self._waits_s is None else self._waits_s
            slot = self._slots[event.slot] = MeteredSlot(event.slot, self._kind(""), "", since_s, placed=False)
        kind, node = self._gone.get(slot.name, ("", ""))
        kind, node = event.kind or slot.kind.name or kind, event.node or slot.node or node
        slot.sworn = True
        if slot.placed:
            self._pay(slot, at_s)
            slot.kind = self._kind(kind)
            if node != slot.node:
                self._moves(slot, node, at_s)
        else:
            self._placed(slot, kind, node, at_s)
        if slot.working is None:
            slot.working = {}

    def _placed(self, slot: MeteredSlot, kind: str, node: str, at_s: float) -> None:
        """Only now it is known where it was set up: that is charged, the node's part of it once a node."""
        slot.kind = self._kind(kind)
        since_s = max(slot.since_s, at_s - BOOT_S)
        alone = not self._nodes.get(node)
        self._moves(slot, node, at_s)
        slot.placed, slot.since_s = True, since_s if alone else at_s
        if alone:
            self._pay(slot, at_s)
        elif not self._shared:
            slot.kind.starting.slot_s += at_s - since_s

    def _leaves(self, name: str, why: str, at_s: float) -> None:
        slot = self._slots.get(name)
        if slot is None:
            return
        self._pay(slot, at_s)
        for task, number in list(slot.working or {}):
            self._ends(name, task, number, why, at_s)
        self._gone[name] = (slot.kind.name, slot.node)
        self._moves(slot, "", at_s)
        del self._slots[name]

    # ------------------------------------------------------------ attempts

    def _assigned(self, decision: Assign, at_s: float) -> None:
        slot = self._slots.get(decision.slot)
        if slot is None:
            slot = self._comes(decision.slot, "", "", at_s)
        self._pay(slot, at_s)
        if slot.working is None:  # nobody said that it is ready
            slot.placed, slot.working, slot.since_s = True, {}, at_s
        slot.working.setdefault((decision.task, decision.attempt), Purse())

    def _moved(self, event: Beat, at_s: float) -> None:
        slot = self._slots.get(event.slot)
        attempt = (event.task, event.attempt)
        purse = None if slot is None or slot.working is None else slot.working.get(attempt)
        if slot is not None and purse is not None and event.frames > 0 and attempt not in slot.moving:
            self._pay(slot, at_s)
            slot.moving[attempt] = purse

    def _done(self, event: Done, at_s: float) -> None:
        first = event.task not in self._finished
        self._finished.add(event.task)
        row = self._given_up.pop((event.task, event.attempt), None)
        if row is None:
            outcome = DONE if first else LATER
            self._ends(event.slot, event.task, event.attempt, outcome, at_s)
        elif first:
            attempt = self.attempts[row]
            self.lost[attempt.outcome].add(attempt.spent, -1)
            kind = self._kinds[attempt.kind]
            kind.lost.add(attempt.spent, -1)
            kind.done.add(attempt.spent)
            self.attempts.change(row, DONE)

    def _ends(self, name: str, task: str, number: int, outcome: str, at_s: float) -> None:
        slot = self._slots.get(name)
        if slot is None or slot.working is None or (task, number) not in slot.working:
            return
        self._pay(slot, at_s)
        purse = slot.working.pop((task, number))
        slot.moving.pop((task, number), None)
        row = self.attempts.add(task, number, (slot.kind.name, slot.node, slot.name), purse, outcome)
        if outcome == DONE:
            slot.kind.done.add(purse)
            return
        slot.kind.lost.add(purse)
        self.lost.setdefault(outcome, Purse()).add(purse)
        self._given_up[task, number] = row

    # ------------------------------------------------------------ seconds

    def _count(self, at_s: float) -> None:
        """Charge all that has not been charged until now."""
        self._now_s = max(at_s, self._now_s)
        for slot in self._slots.values():
            self._pay(slot, self._now_s)

    def _pay(self, slot: MeteredSlot, at_s: float) -> None:
        """The slot's time since it was last asked, to what it was for."""
        if not slot.placed:
            return
        seconds, slot.since_s = at_s - slot.since_s, max(at_s, slot.since_s)
        purses = self._purses(slot)
        if seconds <= 0 or not purses:
            return
        price = slot.kind.price
        if slot.node:
            share = 1.0 / len(self._nodes[slot.node])
        else:
            share = 1.0 / price.gpus if 1.0 < price.gpus < math.inf else 1.0
        seconds /= len(purses)
        for purse in purses:
            purse.slot_s += seconds
            purse.gpu_s += seconds * min(1.0, price.gpus * share)
            purse.core_s += seconds * price.cores * share
            if slot.kind.priced:
                purse.money += seconds * share * price.per_hour / HOUR_S

    def _purses(self, slot: MeteredSlot) -> list[Purse]:
        """What the slot is for now, in equal parts; nothing for what is not the job's in a shared pool."""
        if slot.moving or self._shared:
            return list(slot.moving.values())
        if slot.working is None:
            return [slot.kind.starting]
        return [next(iter(slot.working.values()), slot.kind.idle)]
