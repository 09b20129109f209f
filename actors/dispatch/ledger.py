"""The books of one job: what state each task is in, and which one is next. Columns, not objects: some 60 bytes a task
beside its name, and no operation that looks at all of them.

Tasks are numbered by their *rank*: longest first, ties in film order. Those never tried lie in an array in that order,
from which any may be taken; two union-find forests over it name the next one left and the one before. What was tried
and came back waits in front of them, and what took its slot down with it (a suspect) in a line of its own, because it
is to run alone.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from actors.dispatch.events import Task
from core.errors import FarmError

# Where a task has taken its slot down with it: where that was (its node, or the slot itself where none is known), and
# the slot's name.
Deaths = list[tuple[str, str]]

LOOK_AT = 16  # suspects looked at for one that a slot may have; all of them would be a scan an event
MOST_COUNTED = 255
SCALE_MEMORY = 0.95  # the weight of what was measured before, against one more task
QUEUED, RUNNING, DONE, DROPPED = range(4)


@dataclass(slots=True)
class Totals:
    """Counts over all jobs of a dispatcher."""

    queued: int = 0
    suspects: int = 0
    running: int = 0


@dataclass(slots=True)
class Group:
    """Jobs that together may have `most` tasks worked on at once; None is without limit. `jobs` is how many there
    are. Those `waiting`, which have something queued, by priority, have `weight` together."""

    most: int | None = None
    running: int = 0
    name: str = ""
    jobs: int = 0
    weight: float = 1.0
    waiting: dict[int, int] = field(default_factory=dict)

    @property
    def room(self) -> float:
        return math.inf if self.most is None else max(0, self.most - self.running)


@dataclass(slots=True, eq=False)
class Scale:
    """What costs of one sort of work are worth: so many of them take as long as one of the sort that was measured
    first. 0 while that is not known. `fixed`: it is the sort that the others are compared with."""

    value: float = 0.0
    fixed: bool = False
    _cost: float = 0.0
    _units: float = 0.0

    def learn(self, cost: float, units: float, weight: float) -> None:
        """Work of `cost` took as long as `units` of the first sort would have."""
        self._cost = self._cost * SCALE_MEMORY + cost * weight
        self._units = self._units * SCALE_MEMORY + units * weight
        self.value = self._cost / self._units


class Ledger:
    """One job. A rank's state changes through the methods only, so that the counts stay right."""

    def __init__(
        self,
        job: str,
        number: int,
        tasks: Iterable[Task],
        totals: Totals,
        *,
        priority: int,
        weight: float,
        group: Group | None = None,
        scale: Scale | None = None,
    ) -> None:
        self.scale = scale or Scale()
        self.job = job
        self.number = number
        self.priority = priority
        self.weight = weight
        self.group = group or Group()
        self.served = 0.0  # cost handed out, divided by the weight; see actors.dispatch.shares
        self.charges: dict[int, float] = {}  # what each task that runs adds to it
        self.error: FarmError | None = None
        self.finished = False
        longest_first = sorted(tasks, key=lambda task: (-task.cost, task.position))
        size = len(longest_first)
        self.ids = [task.id for task in longest_first]
        self.costs = array("d", [task.cost for task in longest_first])
        self.positions = array("q", [task.position for task in longest_first])
        self.attempts = array("I", bytes(4 * size))
        self.losses = bytearray(size)  # slots that died while they worked on it
        self._deaths: dict[int, Deaths] = {}  # where that was; few tasks have any
        self.departures = bytearray(size)  # nodes that went without notice
        self.current = bytearray(size)  # attempts that run now: 0, 1, or 2 where there is a copy
        self._state = bytearray(size)
        self._after = array("q", range(size + 1))  # union-find: the first untried rank at or after this one
        self._before = array("q", range(size + 1))  # the same downwards, shifted by one: 0 is "none"
        self._by_position = array("q", sorted(range(size), key=self.positions.__getitem__))
        self._kept = size  # of `_by_position`, those before the limit
        self._limit: int | None = None
        self._front: deque[int] = deque()
        self._suspects: deque[int] = deque()
        self.suspects = 0  # queued ones
        self.queued = size
        self.running = 0
        self.queued_cost = sum(self.costs)
        self._totals = totals
        totals.queued += size
        if size:
            self._waits(1)

    @property
    def share(self) -> float:
        """Its weight; of a group's, the part by now of one of the jobs that have something queued at its priority."""
        return self.group.weight / max(1, self.group.waiting.get(self.priority, 0)) if self.group.name else self.weight

    def __len__(self) -> int:
        return len(self.ids)

    # ------------------------------------------------------------ views

    def state(self, rank: int) -> int:
        return self._state[rank]

    def suspect(self, rank: int) -> bool:
        """Whether a slot died of it, or beside it."""
        return self.losses[rank] > 0

    def deaths(self, rank: int) -> Deaths:
        """Where slots died of it, or beside it, first to last."""
        return self._deaths.get(rank, [])

    def waiting(self) -> Iterator[int]:
        """The suspects that are queued, in their order."""
        return (rank for rank in self._suspects if self._state[rank] == QUEUED)

    def offers(self, fits: Callable[[Ledger, int], bool]) -> bool:
        """Whether one of the first suspects `fits`."""
        return any(fits(self, rank) for rank in islice(self.waiting(), LOOK_AT))

    def size(self, rank: int) -> float:
        """The cost in the unit of the slots' rates; 0 while that is not known."""
        return self.costs[rank] / self.scale.value if self.scale.value else 0.0

    def ranks(self, state: int) -> Iterator[int]:
        """All ranks in a state; looks at every task, for reports and tests."""
        return (rank for rank, now in enumerate(self._state) if now == state)

    def line(self) -> Iterator[int]:
        """The queue in its order; looks at every task, for reports and tests."""
        seen = set()
        for rank in (*self._suspects, *self._front):
            if self._state[rank] == QUEUED:
                seen.add(rank)
                yield rank
        yield from (rank for rank in self.ranks(QUEUED) if rank not in seen)

    # ------------------------------------------------------------ taking

    def take_suspect(self, fits: Callable[[Ledger, int], bool]) -> int | None:
        """The first suspect of the line that `fits`, or None."""
        while self._suspects and self._state[self._suspects[0]] != QUEUED:
            self._suspects.popleft()
        for rank in islice(self.waiting(), LOOK_AT):
            if fits(self, rank):
                self._suspects.remove(rank)
                self._start(rank)
                return rank
        return None

    def take(self, share: float) -> int:
        """The next task that is no suspect; there is one while `queued > suspects`.

        `share` is how fast the slot is against the fastest (0 to 1): it gets the longest task that takes it no longer
        than the longest of all takes the fastest, or the shortest. With 1 that is the longest.
        """
        while self._front:
            rank = self._front.popleft()
            if self._state[rank] == QUEUED:
                self._start(rank)
                return rank
        rank = self._find(self._after, 0)
        if share < 1:
            bound = -share * self.costs[rank]
            rank = self._find(self._after, bisect_left(self.costs, bound, key=lambda cost: -cost))
            if rank == len(self.ids):
                rank = self._find(self._before, len(self.ids)) - 1
        self._leave(rank)
        self._start(rank)
        return rank

    def _start(self, rank: int) -> None:
        """A queued task runs."""
        self._unqueue(rank)
        self._state[rank] = RUNNING
        self.running += 1
        self.group.running += 1
        self._totals.running += 1

    def _end(self, rank: int, state: int) -> None:
        """A running task into another state."""
        self.running -= 1
        self.group.running -= 1
        self._totals.running -= 1
        self._state[rank] = state
        self.charges.pop(rank, None)

    def _waits(self, change: int) -> None:
        waiting = self.group.waiting
        waiting[self.priority] = waiting.get(self.priority, 0) + change
        if not waiting[self.priority]:
            del waiting[self.priority]

    def _unqueue(self, rank: int) -> None:
        self.queued -= 1
        if not self.queued:
            self._waits(-1)
        self._totals.queued -= 1
        self.queued_cost -= self.costs[rank]
        if self.losses[rank]:
            self.suspects -= 1
            self._totals.suspects -= 1

    def _leave(self, rank: int) -> None:
        """Take an untried rank out of the array."""
        self._after[rank] = rank + 1
        self._before[rank + 1] = rank

    @staticmethod
    def _find(forest: array[int], start: int) -> int:
        while forest[start] != start:
            forest[start] = forest[forest[start]]
            start = forest[start]
        return start

    # ------------------------------------------------------------ giving back

    def blame(self, rank: int, where: str, slot: str) -> None:
        """A slot died of the task, or beside it; the task does not wait in the queue."""
        self.losses[rank] = min(MOST_COUNTED, self.losses[rank] + 1)
        self._deaths.setdefault(rank, []).append((where, slot))

    def depart(self, rank: int) -> None:
        """A node went with it, which says nothing of the task."""
        self.departures[rank] = min(MOST_COUNTED, self.departures[rank] + 1)

    def put_back(self, rank: int) -> None:
        """A running task into the front of the queue, or off it where nothing more of it is wanted."""
        if self._limit is not None and self.positions[rank] >= self._limit:
            self._end(rank, DROPPED)
            return
        self._end(rank, QUEUED)
        self.queued += 1
        if self.queued == 1:
            self._waits(1)
        self._totals.queued += 1
        self.queued_cost += self.costs[rank]
        if self.losses[rank]:
            self.suspects += 1
            self._totals.suspects += 1
            self._suspects.appendleft(rank)
        else:
            self._front.appendleft(rank)

    def drop(self, rank: int) -> None:
        """A task that runs, and of which no attempt is left, is given up; any other is left as it is."""
        if self._state[rank] == RUNNING and not self.current[rank]:
            self._end(rank, DROPPED)

    def complete(self, rank: int) -> bool:
        """A result is published, whatever was thought of the task; False when it was known already."""
        state = self._state[rank]
        if state == DONE:
            return False
        if state == QUEUED:
            if not self.attempts[rank]:
                self._leave(rank)
            self._unqueue(rank)
        if state == RUNNING:
            self._end(rank, DONE)
        self._state[rank] = DONE
        return True

    # ------------------------------------------------------------ the end

    def halt(self, error: FarmError) -> None:
        """Start nothing more; the first error is the one to tell."""
        self.error = self.error or error
        self.stop_at(-1)

    def stop_at(self, position: int) -> None:
        """Start only what lies before `position`, and drop the rest of the queue. Each task is looked at once."""
        if self._limit is not None and self._limit <= position:
            return
        self._limit = position
        while self._kept and self.positions[rank := self._by_position[self._kept - 1]] >= position:
            self._kept -= 1
            if self._state[rank] == QUEUED:
                if not self.attempts[rank]:
                    self._leave(rank)
                self._unqueue(rank)
                self._state[rank] = DROPPED

    @property
    def over(self) -> bool:
        return not self.queued and not self.running
