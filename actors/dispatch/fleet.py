"""The slots and nodes of a dispatcher: who is there, who is up, who starts, and what runs where."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from actors.dispatch.events import Assign
from actors.dispatch.ledger import Deaths, Ledger
from actors.dispatch.slots import Attempt, Bench, Rates, Slot
from actors.dispatch.watch import Watch

BAD_SLOTS_A_NODE = 2
# How far a slot is from those that a task took down: it is one of them, on a node with one of them, or elsewhere.
THERE, NEAR, ELSEWHERE = range(3)


@dataclass(slots=True)
class Node:
    slots: dict[str, Slot] = field(default_factory=dict)
    leaves: bool = False  # it said so
    bad_slots: int = 0  # of its slots, those that were taken out of service
    why: str = ""  # the last of them
    bad_s: float = 0.0  # when that was

    @property
    def shunned(self) -> bool:
        """Whether nothing new goes there."""
        return self.leaves or self.bad_slots >= BAD_SLOTS_A_NODE


class Fleet:
    def __init__(self, slots: Iterable[str], *, at_s: float, hang_s: float) -> None:
        self.rates = Rates()
        self.bench = Bench(self.rates)
        self.watch = Watch(hang_s)
        self.slots = {name: Slot(name) for name in slots}
        self.nodes: dict[str, Node] = {}
        self.starting = dict.fromkeys(self.slots)  # slots that are being set up
        self.dark_since_s: float | None = at_s  # since when no slot is up
        self._up: dict[str, Slot] = {}
        self._places: dict[str, list[Slot]] = {}  # task -> the slots it runs on

    @property
    def up(self) -> int:
        """How many slots are set up."""
        return len(self._up)

    @property
    def most_speed(self) -> float:
        """A bound of `speed` that looks at no slot."""
        return len(self._up) * self.rates.top

    @property
    def speed(self) -> float:
        """Cost a second of all slots that are up; 0 where nothing is known of one of them."""
        rates = [self.rates.of(slot) for slot in self._up.values() if slot.killed_s is None]
        return sum(rates) if all(rates) else 0.0

    # ------------------------------------------------------------ who is there

    def join(self, name: str, kind: str, rate: float, *, far: bool = False) -> Slot | None:
        """A new slot, which starts; None where it is known."""
        if name in self.slots:
            return None
        self.rates.declare(kind, rate)
        slot = self.slots[name] = Slot(name, kind=kind, far=far)
        if not far:
            self.starting[name] = None
        return slot

    def lives_on(self, slot: Slot, node: str) -> None:
        """The slot is on this node, which may be another than the one that its last renderer was on."""
        if node and node != slot.node:
            self._move_out(slot)
            slot.node = node
            self.nodes.setdefault(node, Node()).slots[slot.name] = slot
        home = self.nodes.get(slot.node)
        slot.leaving = home is not None and home.shunned

    def leave_home(self, slot: Slot) -> None:
        """Nothing is known of where the slot will come up."""
        self._move_out(slot)
        slot.node = ""
        slot.far = True

    def forgive(self, name: str) -> bool:
        """One slot of the node was taken out of service for what was not its fault. True where that was the last one
        that spoke against the node."""
        node = self.nodes.get(name)
        if node is None or not node.bad_slots:
            return False
        node.bad_slots -= 1
        for slot in node.slots.values():
            slot.leaving = node.shunned
            self.bench.seat(slot)
        if node.bad_slots:
            return False
        if not node.leaves and not node.slots:
            del self.nodes[name]
        return True

    def slept(self, seconds: float) -> None:
        """Nobody could have heard of anything for so long: what was silent has that much more time."""
        for slot in self.slots.values():
            slot.moved_s += seconds
            if slot.killed_s is not None:
                slot.killed_s += seconds
        if self.dark_since_s is not None:
            self.dark_since_s += seconds

    @property
    def one_is_home(self) -> bool:
        """Whether a slot starts again on a node where nothing new does, because of another slot of that node."""
        starting = (self.slots[name] for name in self.starting if name in self.slots)
        homes = (self.home(slot) for slot in starting)
        return any(home is not None and home.bad_slots > 0 and not home.shunned for home in homes)

    def home(self, slot: Slot) -> Node | None:
        return self.nodes.get(slot.node)

    def lift(self, slot: Slot, capacity: int, at_s: float) -> None:
        """Set how much a slot takes; 0 when it is down."""
        slot.capacity = capacity
        if capacity > 0:
            self._up[slot.name] = slot
            slot.far = False
        else:
            self._up.pop(slot.name, None)
        slot.killed_s = None
        slot.held = slot.setting_up = False
        self.starting.pop(slot.name, None)
        if self._up:
            self.dark_since_s = None
        elif self.dark_since_s is None:
            self.dark_since_s = at_s

    def set_up(self, slot: Slot, at_s: float) -> None:
        """The slot's renderer has begun."""
        slot.setting_up, slot.far = True, False
        slot.moved_s = at_s
        self.starting[slot.name] = None  # it has its place, however long it waited for that
        self.watch.add(slot)

    def remove(self, slot: Slot, at_s: float) -> None:
        """Out of service for good. Nothing runs on it any more."""
        self.lift(slot, 0, at_s)
        self.bench.seat(slot)
        self._move_out(slot)
        self.slots.pop(slot.name, None)

    def _move_out(self, slot: Slot) -> None:
        home = self.nodes.get(slot.node)
        if home is not None:
            home.slots.pop(slot.name, None)
            if not home.slots and not home.leaves and not home.bad_slots:
                del self.nodes[slot.node]

    # ------------------------------------------------------------ suspects

    def refuge(self, deaths: Deaths) -> int:
        """How far the farthest slot that is up is from those that a task took down. Stops at one elsewhere."""
        farthest = THERE
        for slot in self._up.values():
            if slot.killed_s is None and not slot.leaving:
                farthest = max(farthest, distance(slot, deaths))
                if farthest == ELSEWHERE:
                    break
        return farthest

    def may_have(self, slot: Slot, ledger: Ledger, rank: int) -> bool:
        """Whether no slot that is up is farther from those that the task took down."""
        deaths = ledger.deaths(rank)
        near = distance(slot, deaths)
        return near == ELSEWHERE or near >= self.refuge(deaths)

    # ------------------------------------------------------------ what runs where

    def give(self, slot: Slot, ledger: Ledger, rank: int, at_s: float) -> Assign:
        """One more attempt of a running task."""
        task = ledger.ids[rank]
        number = ledger.attempts[rank] = ledger.attempts[rank] + 1
        ledger.current[rank] += 1
        slot.running[task] = Attempt(ledger, rank, number, at_s)
        slot.moved_s = at_s
        places = self._places.get(task)
        if places is None:
            self._places[task] = [slot]
        else:
            places.append(slot)
        if not slot.watched:
            self.watch.add(slot)
        self.bench.seat(slot)
        return Assign(slot.name, task, number)

    def take_off(self, slot: Slot, task: str) -> Attempt:
        """The attempt is over, or is not wanted any more. The caller seats the slot when it is done with it."""
        attempt = slot.running.pop(task)
        attempt.ledger.current[attempt.rank] -= 1
        places = self._places[task]
        places.remove(slot)
        if not places:
            del self._places[task]
        return attempt

    def current(self, name: str, task: str, number: int) -> Slot | None:
        """The slot, if that attempt is what it works on."""
        slot = self.slots.get(name)
        known = slot.running.get(task) if slot is not None else None
        return slot if known is not None and known.number == number else None

    def places(self, task: str) -> list[Slot]:
        return list(self._places.get(task, ()))

    def working_on(self, ledger: Ledger) -> Iterator[tuple[Slot, str]]:
        """Where a job runs; looks at every slot."""
        for slot in list(self.slots.values()):
            for task in [task for task, attempt in slot.running.items() if attempt.ledger is ledger]:
                yield slot, task


def distance(slot: Slot, deaths: Deaths) -> int:
    """How far the slot is from those in `deaths`."""
    if (slot.where, slot.name) in deaths:
        return THERE
    return NEAR if any(where == slot.where for where, _ in deaths) else ELSEWHERE
