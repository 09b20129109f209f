"""Who works on what: a pure state machine. Events go in, decisions come out; no clock, no Ray, no files.

A *slot* is one renderer (an actor, or this process); a *task* is one segment's work. The rules, from ray.md:
- Longest first. A task lost with its slot goes back to the front of the queue.
- Three lost attempts poison a task: nothing new is started, what runs is finished and kept, the job fails.
- A task that was lost once runs alone on its slot from then on, so that the death of a poisonous neighbour is
  not counted against it more than once.
- Four deaths in a row of one slot quarantine it. With every slot quarantined the job fails.
- A slot takes a second task, which decodes while the first one renders, only when no slot without work could
  take it. It then waits for its turn, so a slot hangs only when none of its tasks moves.
- An error that the work itself raised is never retried: the same input would raise it again.
- Damage rule: when a finished task reports damage, queued tasks after it are dropped and those before it are
  finished, so that the first damaged frame of the whole film is known.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from core.errors import FarmError, WorkerLost

MAX_TRIES = 3
MAX_DEATHS_IN_A_ROW = 4
# A slot must be able to poison a task before it is taken out of service, or one bad segment would cost the farm a node.
assert MAX_TRIES < MAX_DEATHS_IN_A_ROW


@dataclass(frozen=True)
class Task:
    """One segment's work: `position` is its place in the film, `cost` its expected length in any unit."""

    id: str
    position: int
    cost: float


# ---------------------------------------------------------------- events


@dataclass(frozen=True)
class SlotReady:
    """A slot is set up and takes work; `capacity` tasks at a time."""

    slot: str
    capacity: int


@dataclass(frozen=True)
class SlotDied:
    """A slot and all it worked on are gone."""

    slot: str
    reason: str


@dataclass(frozen=True)
class Done:
    """A task's result is published; `damaged` says that it names damaged frames and the job refuses those."""

    slot: str
    task: str
    attempt: int
    damaged: bool = False


@dataclass(frozen=True)
class Failed:
    """The work raised an error of its own; the slot lives on."""

    slot: str
    task: str
    attempt: int
    error: FarmError


@dataclass(frozen=True)
class Beat:
    """A sign of life: so many frames of the task are through."""

    slot: str
    task: str
    attempt: int
    frames: int


@dataclass(frozen=True)
class Busy:
    """A sign of life while no frames come: something takes minutes, in words that change as it goes on."""

    slot: str
    words: str


@dataclass(frozen=True)
class Tick:
    """Time passed."""


Event = SlotReady | SlotDied | Done | Failed | Beat | Busy | Tick

# ---------------------------------------------------------------- decisions


@dataclass(frozen=True)
class Assign:
    slot: str
    task: str
    attempt: int  # from 1, over all slots


@dataclass(frozen=True)
class Restart:
    """Bring the slot up again; a SlotReady is to follow."""

    slot: str
    reason: str


@dataclass(frozen=True)
class Quarantine:
    """Take the slot out of service for good."""

    slot: str
    reason: str


@dataclass(frozen=True)
class Kill:
    """The slot shows no movement: end it; a SlotDied is to follow."""

    slot: str
    reason: str


@dataclass(frozen=True)
class Finish:
    """The end, decided once: every task is done, or dropped because of `error` or of damage that was reported."""

    error: FarmError | None


Decision = Assign | Restart | Quarantine | Kill | Finish


@dataclass
class _Slot:
    capacity: int = 0  # 0 while it is being set up
    running: dict[str, tuple[int, float]] = field(default_factory=dict)  # task -> attempt, time of last movement
    frames: dict[str, int] = field(default_factory=dict)
    words: str = ""
    deaths_in_a_row: int = 0
    killed: bool = False


class Dispatcher:
    """The queue and its rules. `handle` takes each event with the time it came (monotonic seconds)."""

    def __init__(
        self, tasks: Iterable[Task], slots: Iterable[str], *, at_s: float, hang_s: float, start_s: float
    ) -> None:
        """`hang_s`: a slot that does not move for so long is killed. `start_s`: by then a slot must have come up."""
        self._tasks = {task.id: task for task in tasks}
        longest_first = sorted(self._tasks.values(), key=lambda task: (-task.cost, task.position))
        self._queue: deque[str] = deque(task.id for task in longest_first)
        self._slots = {slot: _Slot() for slot in slots}
        self._attempts = dict.fromkeys(self._tasks, 0)
        self._losses = dict.fromkeys(self._tasks, 0)
        self._done: set[str] = set()
        self._dropped: set[str] = set()
        self._hang_s = hang_s
        self._start_by_s = at_s + start_s
        self._ever_ready = False
        self._error: FarmError | None = None
        self._limit: int | None = None  # tasks at or past this position are not started any more
        self._finished = False
        self.deaths = 0

    # ------------------------------------------------------------ views

    @property
    def done(self) -> frozenset[str]:
        return frozenset(self._done)

    @property
    def dropped(self) -> frozenset[str]:
        return frozenset(self._dropped)

    @property
    def queued(self) -> tuple[str, ...]:
        return tuple(self._queue)

    @property
    def running(self) -> dict[str, tuple[str, ...]]:
        return {name: tuple(slot.running) for name, slot in self._slots.items()}

    @property
    def finished(self) -> bool:
        return self._finished

    # ------------------------------------------------------------ events

    def handle(self, event: Event, at_s: float) -> list[Decision]:
        """What to do now that `event` happened. Events of slots and attempts that are no longer current are ignored."""
        decisions: list[Decision] = []
        if self._finished:
            return decisions
        match event:
            case SlotReady():
                self._ready(event)
            case SlotDied():
                decisions += self._died(event)
            case Done():
                self._complete(event)
            case Failed():
                self._failed(event)
            case Beat():
                self._beat(event, at_s)
            case Busy():
                self._busy(event, at_s)
            case Tick():
                decisions += self._tick(at_s)
        decisions += self._assign(at_s)
        decisions += self._end()
        return decisions

    def _ready(self, event: SlotReady) -> None:
        slot = self._slots.get(event.slot)
        if slot is not None:
            slot.capacity = event.capacity
            slot.killed = False
            self._ever_ready = True

    def _died(self, event: SlotDied) -> list[Decision]:
        slot = self._slots.get(event.slot)
        if slot is None:
            return []
        self.deaths += 1
        slot.deaths_in_a_row += 1
        lost = sorted(slot.running, key=lambda task: -self._tasks[task].position)
        slot.running.clear()
        slot.frames.clear()
        slot.capacity = 0
        for task in lost:
            if task in self._done:
                continue
            self._losses[task] += 1
            position = self._tasks[task].position
            if self._losses[task] >= MAX_TRIES:
                self._dropped.add(task)
                self._halt(
                    WorkerLost(
                        f"segment {position} took down its renderer {MAX_TRIES} times, last: {event.reason}",
                        hint="what was finished is kept: run the same command again to resume",
                    )
                )
            elif self._limit is None or position < self._limit:
                self._queue.appendleft(task)
            else:
                self._dropped.add(task)
        if slot.deaths_in_a_row >= MAX_DEATHS_IN_A_ROW:
            del self._slots[event.slot]
            if not self._slots:
                self._halt(
                    WorkerLost(
                        f"every renderer died {MAX_DEATHS_IN_A_ROW} times in a row, last: {event.reason}",
                        hint="what was finished is kept: see `farm doctor`, then run the same command again",
                    )
                )
            return [Quarantine(event.slot, event.reason)]
        return [Restart(event.slot, event.reason)]

    def _forget(self, slot_name: str, task: str, attempt: int) -> bool:
        """Take an attempt off its slot; False when it is not what the slot works on (any more)."""
        slot = self._slots.get(slot_name)
        if slot is None or slot.running.get(task, (0, 0.0))[0] != attempt:
            return False
        del slot.running[task]
        slot.frames.pop(task, None)
        return True

    def _complete(self, event: Done) -> None:
        if event.task not in self._tasks:
            return
        if self._forget(event.slot, event.task, event.attempt):
            self._slots[event.slot].deaths_in_a_row = 0
        # A late result of an attempt given up for lost is as good as any: what is published is published once.
        if event.task in self._queue:
            self._queue.remove(event.task)
        self._dropped.discard(event.task)
        self._done.add(event.task)
        if event.damaged:
            self._stop_at(self._tasks[event.task].position)

    def _failed(self, event: Failed) -> None:
        if self._forget(event.slot, event.task, event.attempt) and event.task not in self._done:
            self._dropped.add(event.task)
            self._halt(event.error)

    def _beat(self, event: Beat, at_s: float) -> None:
        slot = self._slots.get(event.slot)
        if slot is None or slot.running.get(event.task, (0, 0.0))[0] != event.attempt:
            return
        if event.frames > slot.frames.get(event.task, -1):
            slot.frames[event.task] = event.frames
            slot.running[event.task] = (event.attempt, at_s)

    def _busy(self, event: Busy, at_s: float) -> None:
        slot = self._slots.get(event.slot)
        if slot is not None and event.words != slot.words:
            slot.words = event.words
            slot.running = {task: (attempt, at_s) for task, (attempt, _) in slot.running.items()}

    def _tick(self, at_s: float) -> list[Decision]:
        if not self._ever_ready and at_s >= self._start_by_s and self._slots:
            self._halt(WorkerLost("no renderer came up in time", hint="see `farm doctor`, or try --local"))
            return []
        decisions: list[Decision] = []
        for name, slot in self._slots.items():
            moved_s = max((moved_s for _, moved_s in slot.running.values()), default=at_s)
            if at_s - moved_s >= self._hang_s and not slot.killed:
                slot.killed = True
                position = self._tasks[next(iter(slot.running))].position
                decisions.append(Kill(name, f"segment {position} did not move for {self._hang_s:g} s"))
        return decisions

    # ------------------------------------------------------------ decisions

    def _halt(self, error: FarmError) -> None:
        """Start nothing more; the first error is the one to tell."""
        self._error = self._error or error
        self._stop_at(0)

    def _stop_at(self, position: int) -> None:
        """Start only what lies before `position`, and drop the rest of the queue."""
        self._limit = position if self._limit is None else min(self._limit, position)
        keep = [task for task in self._queue if self._tasks[task].position < self._limit]
        self._dropped.update(task for task in self._queue if task not in keep)
        self._queue = deque(keep)

    def _assign(self, at_s: float) -> list[Decision]:
        decisions: list[Decision] = []
        while self._queue:
            task = self._queue[0]
            suspect = self._losses[task] > 0
            name = self._place(suspect)
            if name is None:
                break
            self._queue.popleft()
            self._attempts[task] += 1
            self._slots[name].running[task] = (self._attempts[task], at_s)
            decisions.append(Assign(name, task, self._attempts[task]))
        return decisions

    def _place(self, suspect: bool) -> str | None:
        """The slot for the next task: one without work if there is any, else one with room beside its first task."""
        free = [name for name, slot in self._slots.items() if slot.capacity and not slot.running and not slot.killed]
        if free:
            return free[0]
        if suspect:
            return None
        starting = sum(1 for slot in self._slots.values() if not slot.capacity)
        if len(self._queue) <= starting:
            return None
        beside = [
            name
            for name, slot in self._slots.items()
            if slot.capacity > len(slot.running) and not slot.killed and not any(self._losses[t] for t in slot.running)
        ]
        return min(beside, key=lambda name: len(self._slots[name].running), default=None)

    def _end(self) -> list[Decision]:
        if self._finished or self._queue or any(slot.running for slot in self._slots.values()):
            return []
        self._finished = True
        return [Finish(self._error)]
