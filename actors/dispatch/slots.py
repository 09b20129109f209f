"""Slots and what is known of them: what runs there, how fast they are, and which of them have room.

Rates are measured: cost done by seconds of work, older work counting less. The first task of a slot is left out where
anything else is known, because it pays for what the slot loads. A slot's own rate makes its *grade*, a step of about
a fifth, and slots with room are kept by load and grade, so that the best of them is found in a few steps however many
there are.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

from actors.dispatch.ledger import Ledger, Scale

GRADES_A_DOUBLING = 4
KIND_MEMORY = 0.99  # the weight of a kind's past against one more task
SLOT_MEMORY = 0.8
COLD = 1e-3  # the weight of a task that also paid for what was loaded: better than nothing, and soon outweighed
# Slots closer than this to the fastest take the longest first like it: the difference is within what tasks vary by.
SAME_RATE = 0.8


@dataclass(slots=True)
class Rate:
    """Cost a second, from finished work that counts less the older it is."""

    cost: float = 0.0
    busy_s: float = 0.0
    value: float = 0.0  # 0 where nothing is known

    def add(self, cost: float, busy_s: float, memory: float) -> None:
        """`busy_s` is above 0."""
        self.cost = self.cost * memory + cost
        self.busy_s = self.busy_s * memory + busy_s
        self.value = self.cost / self.busy_s


@dataclass(slots=True)
class Attempt:
    """A task on a slot. `since_s` is when it was given, `frames` how far it said it is (-1: said nothing)."""

    ledger: Ledger
    rank: int
    number: int
    since_s: float
    frames: int = -1


@dataclass(slots=True)
class Slot:
    name: str
    node: str = ""
    kind: str = ""
    capacity: int = 0  # 0 while it is being set up
    running: dict[str, Attempt] = field(default_factory=dict)
    deaths_in_a_row: int = 0
    killed_s: float | None = None
    leaving: bool = False  # its node goes, or is not trusted: nothing new
    held: bool = False  # kept for a suspect that waits for a slot of its own
    far: bool = False  # a node may have to come up for its renderer: it is a new one, or its node cannot be reached
    setting_up: bool = False  # its renderer has begun, and is not up yet
    watched: bool = False  # in the heap of the watch for hangs
    down: bool = False  # died while no job was open: to be restarted with the next job
    warm: Scale | None = None  # the sort of work that it did last, and so has loaded all for
    words: str = ""  # the last that it said of something that takes minutes
    moved_s: float = 0.0
    last_done_s: float = 0.0
    idle_since_s: float = 0.0
    rate: Rate = field(default_factory=Rate)
    place: tuple[int, int] | None = None  # load and grade under which it stands on the bench

    @property
    def up(self) -> bool:
        return self.capacity > 0 and self.killed_s is None

    @property
    def moves(self) -> bool:
        """Whether it has anything to do that takes time."""
        return bool(self.running) or self.setting_up

    @property
    def where(self) -> str:
        """Its node, or itself where none is known."""
        return self.node or self.name

    @property
    def alone(self) -> bool:
        """Whether it works on a suspect, which has no neighbour."""
        return any(attempt.ledger.suspect(attempt.rank) for attempt in self.running.values())

    def has_begun(self, task: str) -> bool:
        """Whether a task of the slot has its turn: frames of it came, or it is the first of those that have none."""
        moving = [name for name, attempt in self.running.items() if attempt.frames > 0]
        return task in (moving or list(self.running)[:1])


class Rates:
    """What is known of every kind of node."""

    def __init__(self) -> None:
        self._kinds: dict[str, Rate] = {}
        self._values: dict[str, float] = {}  # by kind: cost a second, as declared or measured
        self._best = 0.0
        self._top = 0.0  # no slot was ever faster, by its own rate

    def declare(self, kind: str, rate: float) -> None:
        """What a kind is said to do, good until something is measured."""
        if rate > 0:
            self._values.setdefault(kind, rate)
            self._best = max(self._values.values())

    def add(self, slot: Slot, cost: float, busy_s: float, scale: Scale) -> None:
        """A task of `cost`, in the unit of its sort, took the slot `busy_s`."""
        if busy_s <= 0 or cost <= 0:
            return
        warm, slot.warm = slot.warm is scale, scale
        own = self.of(slot)
        if not scale.fixed:
            if own and (warm or not scale.value):
                scale.learn(cost, busy_s * own, 1.0 if warm else COLD)
            elif not scale.value:
                scale.value = 1.0  # nothing is known of anything
        size = cost / scale.value
        known = self._kinds.get(slot.kind)
        if known is None:
            known = self._kinds[slot.kind] = Rate()
        if warm:
            slot.rate.add(size, busy_s, SLOT_MEMORY)
            self._top = max(self._top, slot.rate.value)
            known.add(size, busy_s, KIND_MEMORY)
        elif not known.value:
            known.add(size * COLD, busy_s * COLD, KIND_MEMORY)
        self._values[slot.kind] = known.value
        self._best = max(self._values.values())

    def of_kind(self, kind: str) -> float:
        """Cost a second; 0 where nothing is known."""
        return self._values.get(kind, 0.0)

    def of(self, slot: Slot) -> float:
        """Cost a second; 0 where nothing is known."""
        return slot.rate.value or self.of_kind(slot.kind)

    @property
    def top(self) -> float:
        """No slot is faster, by its own rate or by that of its kind."""
        return max(self._top, self._best)

    def share(self, slot: Slot) -> float:
        """How fast the slot is against the fastest kind, at most 1; 1 where nothing is known."""
        own = self.of(slot)
        if not own or not self._best or own >= SAME_RATE * self._best:
            return 1.0
        return own / self._best

    def grade(self, slot: Slot) -> int:
        """The step of the slot's rate; higher is faster. Where nothing is known, that of the fastest."""
        own = self.of(slot) or self._best
        return round(GRADES_A_DOUBLING * math.log2(own)) if own > 0 else 0


class Bench:
    """The slots with room, by load and grade; within a grade the one that waits longest first."""

    def __init__(self, rates: Rates) -> None:
        self._rates = rates
        self._free: dict[tuple[int, int], OrderedDict[str, Slot]] = {}
        self.held: OrderedDict[str, Slot] = OrderedDict()
        self.doubled: OrderedDict[str, Slot] = OrderedDict()  # those with a task beside another

    def seat(self, slot: Slot) -> None:
        """Put the slot where its state belongs; to be called after every change of it."""
        load = len(slot.running)
        place = None
        if slot.capacity > load and slot.killed_s is None and not slot.leaving:
            if not load:
                slot.held = False
            if not slot.held and not (load and slot.alone):
                place = (load, self._rates.grade(slot))
        if slot.held or self.held:
            self._sort(self.held, slot, slot.held and place is None and load > 0)
        if load > 1 or self.doubled:
            self._sort(self.doubled, slot, load > 1)
        if slot.place == place:
            return
        if slot.place is not None:
            left = self._free[slot.place]
            del left[slot.name]
            if not left:
                del self._free[slot.place]
        slot.place = place
        if place is not None:
            row = self._free.get(place)
            if row is None:
                row = self._free[place] = OrderedDict()
            row[slot.name] = slot

    @property
    def room(self) -> bool:
        """Whether any slot has some."""
        return bool(self._free)

    def idle(self) -> Slot | None:
        """The fastest slot without work."""
        places = [place for place in self._free if place[0] == 0]
        return self._first(max(places)) if places else None

    def idles(self) -> Iterator[Slot]:
        """All slots without work, fastest first; none may be seated meanwhile."""
        places = sorted((place for place in self._free if place[0] == 0), reverse=True)
        return (slot for place in places for slot in self._free[place].values())

    def besides(self) -> Iterator[Slot]:
        """The slots that can take a task beside those they have, in the order of `beside`; none may be seated
        meanwhile."""
        places = sorted((place for place in self._free if place[0]), key=lambda place: (place[0], -place[1]))
        return (slot for place in places for slot in self._free[place].values())

    def beside(self) -> Slot | None:
        """The least loaded and then fastest slot that can take a task beside those it has."""
        places = [(-load, grade) for load, grade in self._free if load]
        if not places:
            return None
        load, grade = max(places)
        return self._first((-load, grade))

    def _first(self, place: tuple[int, int]) -> Slot:
        return next(iter(self._free[place].values()))

    @staticmethod
    def _sort(row: OrderedDict[str, Slot], slot: Slot, belongs: bool) -> None:
        if belongs:
            row[slot.name] = slot
        else:
            row.pop(slot.name, None)
