"""What jobs of this process tell Prometheus. One `Metrics` a process; each job has a listener of it.

Jobs that share a pool all hear of its renderers and nodes: those are counted once, whoever hears of them.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType

from actors.dispatch import SlotReady
from actors.drive import Happening, Order, Watch
from core.records import LETTERS, WorkOrder
from farm.ports import Progress
from farm.watching.figures import BY_NAME, UNKNOWN, Instruments
from farm.watching.status import Spent, outcome
from farm.watching.tally import RETRIED, Attempt, Ended, NodeLost, Renderer, Tally, map_of

EVERY_S = 1.0  # how often gauges are told, at most
A_RENDERER_S = 1e-3  # and what is counted by time: as often as costs next to nothing with so many renderers
REMEMBERED = 1000  # losses of nodes
BUSY, IDLE, DOWN = "busy", "idle", "down"


BEFORE: dict[str, tuple[tuple[str, ...], ...]] = {
    "farm_jobs_ended_total": (("finished",), ("failed",), ("stopped",)),
    "farm_retries_total": tuple((cause,) for cause in sorted(RETRIED)),
    "farm_film_seconds_total": ((),),
}


class Metrics:
    """The figures of all jobs of this process."""

    def __init__(self, instruments: Instruments, clock: Callable[[], float] = time.monotonic) -> None:
        self._to = instruments
        self._clock = clock
        self._lock = threading.RLock()
        self._jobs: list[JobMetrics] = []
        self._lost: deque[tuple[str, float]] = deque(maxlen=REMEMBERED)  # nodes, and when: each job hears of it
        self._noticed: dict[str, float] = {}  # nodes that gave notice, and when
        self._told_s = self._shown_s = clock()
        self._shown: dict[str, set[tuple[str, ...]]] = {}

    def job(self, spent: Spent | None = None) -> JobMetrics:
        """A listener to one job, to be entered while it runs; `spent` is the money of it by now."""
        return JobMetrics(self, spent)

    def begun(self, job: JobMetrics) -> None:
        """Counters are there from the beginning, at 0: Prometheus does not see the first rise of one that appears."""
        with self._lock:
            self._tick()
            for name, values in BEFORE.items():
                for value in values:
                    self._count(name, 0, *value)
            self._jobs.append(job)
            self._gauges()

    def ended(self, job: JobMetrics, state: str) -> None:
        with self._lock:
            self._tick()
            self._jobs.remove(job)
            self._count("farm_jobs_ended_total", 1, state)
            self._gauges()

    def hear(self, job: JobMetrics, happening: Happening, at_s: float) -> None:
        with self._lock:
            if isinstance(happening, SlotReady):
                self._known(happening.kind or UNKNOWN, map_of(job.tally.orders[0]))
            if isinstance(happening, SlotReady) and at_s > self._noticed.get(happening.node, at_s):
                del self._noticed[happening.node]  # it is back
            now_s = self._clock()
            if now_s - self._told_s >= min(EVERY_S, A_RENDERER_S * len(job.tally.renderers)):
                self._tick()  # before what happened now changes who works
            for fact in job.tally.hear(happening, at_s):
                match fact:
                    case NodeLost():
                        self._node_lost(fact, at_s)
                    case Ended(how="done"):
                        self._done(fact.attempt, at_s)
                    case Ended():
                        if fact.cause in RETRIED:
                            self._count("farm_retries_total", 1, fact.cause)
            if now_s - self._shown_s >= EVERY_S:
                self._gauges()

    def staged(self, job: JobMetrics, name: str) -> None:
        with self._lock:
            self._tick()
            job.stage_name = name
            self._gauges()

    def mapped(self, job: JobMetrics, orders: Sequence[Order], open_orders: Sequence[Order]) -> None:
        with self._lock:
            job.tally.begin(orders, open_orders)
            self._gauges()

    # ------------------------------------------------------------ below, with the lock held

    def _count(self, name: str, amount: float, *labels: str) -> None:
        self._to.add(BY_NAME[name], amount, *labels)

    def _known(self, kind: str, name: str) -> None:
        """Counters of a kind of node, from the beginning."""
        self._count("farm_frames_total", 0, name, kind)
        self._count("farm_faces_total", 0, kind)
        for notice in ("yes", "no"):
            self._count("farm_nodes_lost_total", 0, kind, notice)

    def _done(self, attempt: Attempt, at_s: float) -> None:
        kind, order = attempt.renderer.kind or UNKNOWN, attempt.order
        self._count("farm_frames_total", order.segment.frames, map_of(order), kind)
        self._to.observe(BY_NAME["farm_segment_seconds"], max(0.0, at_s - attempt.since_s), map_of(order), kind)
        if isinstance(order, WorkOrder):
            self._count("farm_faces_total", order.face_count, kind)
            self._count("farm_film_seconds_total", float(order.segment.frames / order.encoder.frame_rate))

    def _node_lost(self, lost: NodeLost, at_s: float) -> None:
        if (lost.node, at_s) in self._lost or lost.node in self._noticed:
            return
        self._lost.append((lost.node, at_s))
        if lost.notice:
            self._noticed[lost.node] = at_s
        self._count("farm_nodes_lost_total", 1, lost.kind or UNKNOWN, "yes" if lost.notice else "no")

    def _renderers(self) -> Counter[tuple[str, str]]:
        """How many renderers of each kind are in each state."""
        known: dict[str, Renderer] = {}
        busy: set[str] = set()
        for job in self._jobs:
            known |= job.tally.renderers
            busy |= job.tally.busy()
        states = ((one, BUSY if one.name in busy else IDLE if one.up else DOWN) for one in known.values())
        return Counter((one.kind or UNKNOWN, state) for one, state in states)

    def _tick(self) -> None:
        """Tell what grows with time, for the time since the last tick."""
        now_s = self._clock()
        seconds, self._told_s = now_s - self._told_s, now_s
        if seconds <= 0:
            return
        for (kind, state), count in self._renderers().items():
            if state != DOWN:
                self._count("farm_renderer_seconds_total", seconds * count, kind, state)
        for job in self._jobs:
            if job.stage_name:
                self._count("farm_stage_seconds_total", seconds, job.stage_name)
            spent = job.spent() if job.spent is not None else None
            if spent is not None and spent[0] > job.told_money:
                self._count("farm_cost_total", spent[0] - job.told_money, spent[1])
                job.told_money = spent[0]

    def _gauges(self) -> None:
        self._shown_s = self._clock()
        segments: Counter[tuple[str, ...]] = Counter()
        waiting = 0
        for job in self._jobs:
            tally = job.tally
            if tally.orders:
                name = map_of(tally.orders[0])
                segments.update({(name, state): tally.count(state) for state in LETTERS})
                waiting += tally.count("waiting") + tally.count("lost")
        self._show("farm_segments", segments)
        self._show("farm_renderers", self._renderers())
        self._show("farm_queue_segments", {(): waiting})
        self._show("farm_jobs", {(): len(self._jobs)})

    def _show(self, name: str, values: dict[tuple[str, ...], int] | Counter[tuple[str, str]]) -> None:
        """Set a gauge for all its labels; those that were there before and are not any more are 0."""
        known = self._shown.setdefault(name, set())
        known.update(values)
        for labels in known:
            self._to.set(BY_NAME[name], values.get(labels, 0), *labels)  # type: ignore[arg-type]


class JobMetrics:
    """A `Progress` of one job; `Metrics` does the work."""

    def __init__(self, metrics: Metrics, spent: Spent | None) -> None:
        self._metrics = metrics
        self.spent = spent
        self.tally = Tally()
        self.stage_name = ""
        self.told_money = 0.0

    def __enter__(self) -> JobMetrics:
        self._metrics.begun(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del kind, trace
        self._metrics.ended(self, outcome(error)[0])

    def stage(self, name: str) -> None:
        self._metrics.staged(self, name)

    def watch(self, orders: Sequence[Order], open_orders: Sequence[Order]) -> Watch:
        self._metrics.mapped(self, orders, open_orders)
        return lambda happening, at_s: self._metrics.hear(self, happening, at_s)

    def note(self, text: str) -> None:
        """No figure says it."""

    def close(self) -> None:
        """Leaving does it."""


@contextmanager
def counted(metrics: Metrics | None, spent: Spent | None = None) -> Iterator[Sequence[Progress]]:
    """The listeners of one job in `metrics`: one, or none where nobody counts."""
    if metrics is None:
        yield ()
        return
    with metrics.job(spent) as listener:
        yield (listener,)
