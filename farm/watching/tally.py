"""What the happenings of a job amount to: which segment is in which state, where, and what became of each attempt.

Pure: no clock, no files. Times are seconds of the pool's clock. Everything that watches a job (the status file,
metrics, logs, spans) has a tally, so that all of them mean the same by an attempt that was lost.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import nsmallest
from typing import Literal

from actors.dispatch import (
    Assign,
    Beat,
    Busy,
    Cancel,
    Decision,
    Done,
    Event,
    Failed,
    JobStopped,
    Kill,
    NodeGone,
    NodeLeaves,
    Quarantine,
    Release,
    Restart,
    SlotDied,
    SlotJoined,
    SlotReady,
)
from actors.drive import Order, task_of
from core.records import LETTERS, SegmentState, SegmentStatus, WorkOrder

# How an attempt ended: its result counted, its work raised an error, it was lost, or it was given up by the dispatcher.
How = Literal["done", "failed", "lost", "given up"]
# died: its renderer ended. hung: its renderer was ended because nothing moved. node: its node went without notice.
# notice: its node gave notice. moved: to a renderer without work. copy: another attempt was first. stopped: the job
# ended. "" for "done" and "failed".
Cause = Literal["", "died", "hung", "node", "notice", "moved", "copy", "stopped"]
RETRIED: frozenset[Cause] = frozenset({"died", "hung", "node", "notice"})
WAITING, RUNNING, DONE, REUSED, LOST, FAILED = (
    ord(LETTERS[state]) for state in ("waiting", "running", "done", "reused", "lost", "failed")
)


def faces_of(order: Order) -> int:
    """How many faces are replaced in it."""
    return order.face_count if isinstance(order, WorkOrder) else 0


def map_of(order: Order) -> str:
    """The name of the map that it belongs to."""
    return "render" if isinstance(order, WorkOrder) else "analyse"


@dataclass(slots=True)
class Renderer:
    """A slot as the watch knows it."""

    name: str
    node: str = ""
    kind: str = ""
    up: bool = False
    killed: bool = False


@dataclass(slots=True)
class Attempt:
    """One try at an order: `place` is the order's rank in the map, `number` counts from 1, frames are those through."""

    order: Order
    place: int
    number: int
    renderer: Renderer
    since_s: float
    frames: int = 0

    @property
    def faces(self) -> int:
        return faces_of(self.order)


@dataclass(frozen=True, slots=True)
class Began:
    attempt: Attempt


@dataclass(frozen=True, slots=True)
class Ended:
    attempt: Attempt
    how: How
    cause: Cause
    why: str  # in words, "" for "done"


@dataclass(frozen=True, slots=True)
class NodeLost:
    """A node went, or gave notice that it will."""

    node: str
    kind: str
    notice: bool


Fact = Began | Ended | NodeLost


@dataclass
class Tally:
    """The segments of the map that runs (or ran last), and the renderers of the pool.

    `states` has a letter of core.records.LETTERS for each order; `running` the attempts by (order id, number).
    """

    orders: Sequence[Order] = ()
    states: bytearray = field(default_factory=bytearray)
    running: dict[tuple[str, int], Attempt] = field(default_factory=dict)
    renderers: dict[str, Renderer] = field(default_factory=dict)
    retries: Counter[str] = field(default_factory=Counter)  # of all maps, by cause
    frames: int = 0
    frames_done: int = 0  # of finished segments, those that were there before too
    frames_reused: int = 0  # of these
    faces_done: int = 0
    cost: float = 0.0  # of all that this run does in the map, in the dispatcher's unit (actors.drive.task_of)
    cost_done: float = 0.0
    words: str = ""  # what a renderer says that takes minutes

    def __post_init__(self) -> None:
        self._places: dict[str, int] = {}
        self._leaving: set[str] = set()  # nodes
        self._stopped = False

    # ------------------------------------------------------------ maps

    def begin(self, orders: Sequence[Order], open_orders: Sequence[Order]) -> None:
        """A map over `orders` begins, of which `open_orders` are still to do. Renderers stay known."""
        self.orders = orders
        todo = {order.id for order in open_orders}
        self._places = {order.id: place for place, order in enumerate(orders) if order.id in todo}
        self.states = bytearray(WAITING if order.id in todo else REUSED for order in orders)
        self.running = {}
        self._stopped = False
        self.words = ""
        self.frames = sum(order.segment.frames for order in orders)
        reused = [order for order in orders if order.id not in todo]
        self.frames_done = self.frames_reused = sum(order.segment.frames for order in reused)
        self.faces_done = sum(map(faces_of, reused))
        self.cost, self.cost_done = sum(task_of(order).cost for order in open_orders), 0.0

    # ------------------------------------------------------------ happenings

    def hear(self, happening: Event | Decision, at_s: float) -> list[Fact]:
        """Take note; what it means for attempts and nodes. What is of other jobs, or too late, means nothing."""
        match happening:
            case Beat():
                self._beat(happening)
            case Assign():
                return self._assign(happening, at_s)
            case Done():
                return self._done(happening)
            case Failed():
                return self._failed(happening)
            case Cancel():
                return self._cancel(happening)
            case JobStopped():
                self._stopped = True
            case Busy():
                self.words = happening.words
            case SlotJoined() | SlotReady():
                self._slot(happening)
            case SlotDied() | NodeLeaves() | NodeGone() | Kill() | Restart() | Quarantine() | Release():
                return self._departure(happening)
            case _:
                pass
        return []

    def _beat(self, beat: Beat) -> None:
        attempt = self.running.get((beat.task, beat.attempt))
        if attempt is not None and attempt.renderer.name == beat.slot:
            attempt.frames = max(attempt.frames, beat.frames)
            self.words = ""

    def _assign(self, assign: Assign, at_s: float) -> list[Fact]:
        place = self._places.get(assign.task)
        if place is None:
            return []
        renderer = self._renderer(assign.slot)
        renderer.up = True  # also where it came up before this job was there
        attempt = Attempt(self.orders[place], place, assign.attempt, renderer, at_s)
        self.running[assign.task, assign.attempt] = attempt
        if self.states[place] != DONE:
            self.states[place] = RUNNING
        return [Began(attempt)]

    def _done(self, done: Done) -> list[Fact]:
        place = self._places.get(done.task)
        attempt = self.running.pop((done.task, done.attempt), None)
        if place is None:
            return []
        if self.states[place] == DONE:  # a second result of it changes nothing
            return [] if attempt is None else [Ended(attempt, "given up", "copy", "another attempt was first")]
        self.states[place] = DONE
        order = self.orders[place]
        self.frames_done += order.segment.frames
        self.faces_done += faces_of(order)
        self.cost_done += task_of(order).cost
        return [] if attempt is None else [Ended(attempt, "done", "", "")]

    def _failed(self, failed: Failed) -> list[Fact]:
        attempt = self.running.pop((failed.task, failed.attempt), None)
        if attempt is None:
            return []
        if self.states[attempt.place] != DONE:
            self.states[attempt.place] = FAILED
        return [Ended(attempt, "failed", "", str(failed.error))]

    def _cancel(self, cancel: Cancel) -> list[Fact]:
        attempt = self.running.pop((cancel.task, cancel.attempt), None)
        if attempt is None:
            return []
        state = self.states[attempt.place]
        cause: Cause
        if state == DONE:
            cause = "copy"
        elif state == FAILED or self._stopped:
            cause = "stopped"
        elif attempt.renderer.node in self._leaving:
            cause = "notice"
        else:
            cause = "moved"
        self._open_again(attempt.place, LOST if cause == "notice" else WAITING)
        self._count(cause)
        return [Ended(attempt, "given up", cause, cancel.reason)]

    def _slot(self, event: SlotJoined | SlotReady) -> None:
        renderer = self._renderer(event.slot)
        renderer.node = event.node or renderer.node
        renderer.kind = event.kind or renderer.kind
        renderer.up = isinstance(event, SlotReady)
        renderer.killed = False

    def _decided(self, decision: Kill | Restart | Quarantine | Release) -> list[Fact]:
        renderer = self._renderer(decision.slot)
        if isinstance(decision, Kill):
            renderer.killed = True
            return []
        renderer.up = False
        if not isinstance(decision, Restart):
            del self.renderers[decision.slot]
        # One that could not do its work takes with it what waited beside that.
        return list(self._lose([renderer], "node", decision.reason))

    def _departure(self, event: SlotDied | NodeLeaves | NodeGone | Kill | Restart | Quarantine | Release) -> list[Fact]:
        if isinstance(event, Kill | Restart | Quarantine | Release):
            return self._decided(event)
        if isinstance(event, SlotDied):
            renderer = self._renderer(event.slot)
            cause: Cause = "notice" if renderer.node in self._leaving else "hung" if renderer.killed else "died"
            renderer.up = False
            return list(self._lose([renderer], cause, event.reason))
        here = [renderer for renderer in self.renderers.values() if renderer.node == event.node]
        noticed = event.node in self._leaving
        lost = NodeLost(event.node, next((r.kind for r in here), ""), notice=noticed or isinstance(event, NodeLeaves))
        if isinstance(event, NodeLeaves):
            self._leaving.add(event.node)
            return [] if noticed else [lost]
        for renderer in here:
            del self.renderers[renderer.name]
        self._leaving.discard(event.node)
        facts: list[Fact] = [] if noticed or not here else [lost]
        return [*facts, *self._lose(here, "notice" if noticed else "node", event.reason)]

    # ------------------------------------------------------------ below

    def _renderer(self, name: str) -> Renderer:
        return self.renderers.setdefault(name, Renderer(name))

    def _lose(self, renderers: Iterable[Renderer], cause: Cause, why: str) -> Iterator[Ended]:
        names = {renderer.name for renderer in renderers}
        for key, attempt in list(self.running.items()):
            if attempt.renderer.name in names:
                del self.running[key]
                self._open_again(attempt.place, LOST)
                self._count(cause)
                yield Ended(attempt, "lost", cause, why)

    def _count(self, cause: Cause) -> None:
        if cause in RETRIED:
            self.retries[cause] += 1

    def _open_again(self, place: int, state: int) -> None:
        if self.states[place] == RUNNING and all(other.place != place for other in self.running.values()):
            self.states[place] = state

    # ------------------------------------------------------------ views

    def through(self) -> tuple[int, float]:
        """Frames of the map that are through, and cost that this run has done of it.

        Both with what is under way; of two attempts at one segment the further one counts.
        """
        furthest: dict[int, Attempt] = {}
        for attempt in self.running.values():
            known = furthest.get(attempt.place)
            if self.states[attempt.place] == RUNNING and (known is None or known.frames < attempt.frames):
                furthest[attempt.place] = attempt
        shares = ((one.frames, task_of(one.order).cost / one.order.segment.frames) for one in furthest.values())
        partial = [(frames, frames * cost) for frames, cost in shares]
        return self.frames_done + sum(frames for frames, _ in partial), self.cost_done + sum(
            cost for _, cost in partial
        )

    def longest(self) -> float:
        """The largest cost of a segment that runs."""
        return max((task_of(attempt.order).cost for attempt in self.running.values()), default=0.0)

    def count(self, state: SegmentState) -> int:
        return self.states.count(LETTERS[state].encode())

    def busy(self) -> set[str]:
        """The renderers that work."""
        return {attempt.renderer.name for attempt in self.running.values()}

    def working(self, most: int) -> tuple[SegmentStatus, ...]:
        """The attempts that run, those that run longest first, at most `most`; times are the pool's."""
        longest = nsmallest(most, self.running.values(), key=lambda one: (one.since_s, one.place))
        return tuple(
            SegmentStatus(
                segment=one.order.segment.index,
                state="running",
                frames=one.frames,
                of_frames=one.order.segment.frames,
                attempt=one.number,
                slot=one.renderer.name,
                node=one.renderer.node,
                kind=one.renderer.kind,
                since_s=one.since_s,
                faces=one.faces,
            )
            for one in longest
        )
