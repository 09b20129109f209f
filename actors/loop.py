"""The loop between the dispatcher, which decides, and a transport, which obeys. It serves any number of jobs.

One thread steps it; `actors.pooled` has that thread. Inside, a task is called "<job's number>:<place in its list>", so
that two jobs may have orders of one id; whoever hears of a task hears the order's id.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from actors.dispatch import (
    Assign,
    Beat,
    Busy,
    Cancel,
    Decision,
    Dispatcher,
    Done,
    Event,
    Failed,
    Finish,
    GiveUp,
    JobAdded,
    JobStopped,
    Keeper,
    Kill,
    NodeGone,
    Quarantine,
    Release,
    Restart,
    Shun,
    Slept,
    SlotDied,
    SlotJoined,
    SlotLeft,
    SlotReady,
    Tick,
    Trust,
)
from actors.drive import Batch, Happening, Patience, Terms, Transport, Watch, sort_of, task_of
from actors.work import JobStore, Order, Receipt
from core.errors import FarmError, PlanError
from core.lean import Shared

KEEP_S = 1.0
ASLEEP_S = 5.0  # a step that takes so much longer than it waits for: this process was stopped, or its machine slept
CLUSTER = "cluster"  # who says what is waited for


def deaf() -> None:
    """Nobody wants to know."""


@dataclass(eq=False)
class Job:
    """A list of orders and who is told of it.

    `hear` gets what concerns it, `ended` its batch when no more of it will be begun or waited for, and `quiet` follows
    when the last of its attempts, which may be a cancelled one, has really stopped.
    """

    orders: Sequence[Order]
    store: JobStore
    terms: Terms
    hear: Watch
    ended: Callable[[Batch], None]
    quiet: Callable[[], None] = deaf
    stop_on_damage: bool = True
    number: int = 0
    receipts: dict[str, Receipt] = field(default_factory=dict)
    shared: Shared = field(default_factory=Shared)
    deaths: int = 0  # of the pool, when the job came
    under_way: int = 0  # attempts that have not stopped
    over: bool = False

    def order_of(self, task: str) -> Order:
        return self.orders[int(task.partition(":")[2])]


class Loop:
    """Steps over events. All methods belong to one thread, as the transport's do."""

    def __init__(
        self,
        transport: Transport,
        slots: Sequence[str],
        patience: Patience,
        clock: Callable[[], float] = time.monotonic,
        *,
        idle_s: float = float("inf"),
        keeper: Keeper | None = None,
        ready: Callable[[], None] = deaf,
    ) -> None:
        """A `keeper` says which slots join and leave beside `slots`. `ready` is called when a slot is set up."""
        self._ready = ready
        self._keeper = keeper
        self._kept_s = -math.inf
        self._stepped_s = clock()
        self._transport = transport
        self._clock = clock
        self._dispatcher = Dispatcher(
            None,
            slots,
            at_s=clock(),
            hang_s=patience.hang_s,
            start_s=patience.start_s,
            idle_s=idle_s,
            awaits_nodes=keeper is not None,
        )
        self._open: dict[str, Job] = {}
        self._numbered: dict[str, Job] = {}  # those of which an attempt may still say something
        self._attempts: dict[str, set[tuple[str, int]]] = {}  # slot -> tasks and attempts that have not stopped
        self._abandoned: dict[int, Job] = {}  # by number: jobs that are over, of which an attempt does not stop
        self._up: dict[str, SlotReady] = {}
        self._count = 0
        for slot in slots:
            transport.start(slot)
        self._keep()

    @property
    def dispatcher(self) -> Dispatcher:
        """To look at, not to tell it anything."""
        return self._dispatcher

    @property
    def quiet(self) -> bool:
        """Whether no job is open, and no attempt of one that was is still under way."""
        return not self._open and not self._numbered

    # ------------------------------------------------------------ jobs

    def add(self, job: Job) -> None:
        """Begin a job. `PlanError` where its name is taken, or two of its orders have one id."""
        if job.terms.name in self._open:
            raise PlanError(f"a job named {job.terms.name!r} runs already")
        if len({order.id for order in job.orders}) != len(job.orders):
            raise PlanError("two segments have one work order id")
        if self._keeper is not None and not self._open:
            self._keeper.reopen()
            self._decide(self._dispatcher.forgive(), self._clock())
        self._keep(force=True)
        self._count += 1
        job.number = self._count
        job.deaths = self._dispatcher.deaths
        self._open[job.terms.name] = self._numbered[str(job.number)] = job
        for ready in self._up.values():
            job.hear(ready, self._clock())
        names = (task_of(order, f"{job.number}:{place}") for place, order in enumerate(job.orders))
        terms, sort = job.terms, sort_of(job.orders)
        self._handle(JobAdded(terms.name, names, terms.priority, terms.weight, terms.group, terms.most, sort))

    def named(self, name: str) -> Job | None:
        """The open job of that name."""
        return self._open.get(name)

    def weigh(self, group: str, weight: float) -> None:
        """The open jobs of a group share by another weight from now on."""
        self._dispatcher.weigh(group, weight)

    def stop(self, job: Job, error: FarmError, *, finish: bool, waiting: bool = True) -> None:
        """End a job with `error`; nothing where it has ended. `finish` and `waiting` are those of JobStopped."""
        if self._open.get(job.terms.name) is job:
            self._handle(JobStopped(job.terms.name, error, finish, waiting))

    def stop_all(self, error: FarmError) -> None:
        for job in list(self._open.values()):
            self.stop(job, error, finish=False)

    def abandon(self, job: Job) -> None:
        """What of a job that is over has not stopped will not: end the slots that hold it. One that works for another
        job too is left to that one, and ends as soon as it does not."""
        if job.over and str(job.number) in self._numbered:
            self._abandoned[job.number] = job
            self._end_haunted()

    def _end_haunted(self) -> None:
        """End the slots that hold nothing but attempts of jobs that are over, some of which will not stop."""
        for slot in [slot for slot in self._attempts if self._haunted(slot)]:
            jobs = [self._job_of(task) for task, _ in self._attempts.get(slot, ())]
            if jobs and all(job is not None and job.over for job in jobs):
                # First of all, so that nothing it still says counts; the dispatcher, which took it for idle, brings it
                # up again in the same call, and so places nothing on it meanwhile.
                self._transport.retire(slot)
                self._handle(SlotDied(slot, "it holds a segment of a job that is over, and does not stop", blame=False))

    def _haunted(self, slot: str) -> bool:
        """Whether an attempt that will not stop is on the slot."""
        return any(int(task.partition(":")[0]) in self._abandoned for task, _ in self._attempts.get(slot, ()))

    def end_all(self, error: FarmError) -> None:
        """The loop goes no further: every job ends here and now."""
        for job in list(self._open.values()):
            self._end(job, error)
        for job in list(self._numbered.values()):
            self._let_go(job)

    # ------------------------------------------------------------ events

    def step(self, timeout_s: float) -> None:
        """Wait for what happens next, and act on it."""
        happened = self._transport.poll(timeout_s)
        now_s = self._clock()
        asleep_s, self._stepped_s = now_s - self._stepped_s - timeout_s, now_s
        if asleep_s >= ASLEEP_S:
            self._handle(Slept(asleep_s), now_s)
        for event, receipt in happened:
            if receipt is not None and isinstance(event, Done):
                job = self._job_of(event.task)
                if job is not None:
                    job.receipts.setdefault(receipt.order_id, job.shared.receipt(receipt))
                    event = replace(event, damaged=job.stop_on_damage and bool(receipt.damage))  # noqa: PLW2901
            if isinstance(event, SlotDied) and event.blame and self._haunted(event.slot):
                event = replace(event, blame=False)  # noqa: PLW2901 - what runs beside is not known to be at fault
            self._handle(event)
        self._handle(Tick(), now_s)  # what passed since is another step's
        if self._abandoned:
            self._end_haunted()
        self._keep()

    def _keep(self, *, force: bool = False) -> None:
        """Let slots join and leave, at most once a second."""
        at_s = self._clock()
        if self._keeper is not None and (force or at_s - self._kept_s >= KEEP_S):
            self._kept_s = at_s
            self._keeper.report = self._transport.report
            for event in self._keeper.look(self._dispatcher, at_s):
                self._handle(event)
            words = self._keeper.words(at_s, waits=bool(self._open))
            if words:
                self._tell(Busy(CLUSTER, words), at_s)

    def _handle(self, event: Event, at_s: float | None = None) -> None:
        if at_s is None:
            at_s = self._clock()
        self._tell(event, at_s)
        slots = self._dispatcher.slots if isinstance(event, NodeGone) else frozenset[str]()
        decisions = self._dispatcher.handle(event, at_s)
        self._note(event, slots)
        if self._keeper is not None:
            self._keeper.hear(event, at_s)
        self._decide(decisions, at_s)

    def _decide(self, decisions: Iterable[Decision], at_s: float) -> None:
        for decision in decisions:
            self._tell(decision, at_s)
            self._obey(decision)
            if self._keeper is not None:
                self._keeper.hear(decision, at_s)

    def _note(self, event: Event, slots: frozenset[str]) -> None:
        """Keep the books of what is up and under way; `slots` were there before a node went."""
        match event:
            case SlotReady():
                self._up[event.slot] = event
                self._ready()
            case Done() | Failed():
                self._stopped(event.slot, event.task, event.attempt)
            case SlotJoined():
                self._transport.start(event.slot)
            case SlotDied():
                self._slot_ended(event.slot)
            case SlotLeft():
                self._transport.retire(event.slot)
                self._slot_ended(event.slot)
            case NodeGone():
                for slot in slots - self._dispatcher.slots:
                    self._transport.retire(slot)
                    self._slot_ended(slot)

    def _obey(self, decision: Decision) -> None:
        match decision:
            case Assign():
                job = self._numbered[decision.task.partition(":")[0]]
                job.under_way += 1
                self._attempts.setdefault(decision.slot, set()).add((decision.task, decision.attempt))
                self._transport.submit(decision, job.order_of(decision.task), job.store)
            case Restart():
                self._slot_ended(decision.slot)
                self._transport.restart(decision.slot)
            case Kill():
                self._transport.kill(decision.slot)
            case Cancel():
                self._transport.cancel(decision.slot, decision.task, decision.attempt)
            case Quarantine() | Release():
                self._transport.retire(decision.slot)
                self._slot_ended(decision.slot)
            case Shun() | Trust() | GiveUp():
                self._transport.regard(decision)
            case Finish():
                self._end(self._open[decision.job], decision.error)

    # ------------------------------------------------------------ ends

    def _end(self, job: Job, error: FarmError | None) -> None:
        del self._open[job.terms.name]
        self._dispatcher.forget(job.terms.name)
        job.over = True
        job.ended(Batch(job.receipts, error, self._dispatcher.deaths - job.deaths))
        self._settle(job)

    def _stopped(self, slot: str, task: str, attempt: int) -> None:
        attempts = self._attempts.get(slot, set())
        if (task, attempt) in attempts:
            attempts.remove((task, attempt))
            job = self._numbered[task.partition(":")[0]]
            job.under_way -= 1
            self._settle(job)

    def _slot_ended(self, slot: str) -> None:
        self._up.pop(slot, None)
        for task, attempt in list(self._attempts.get(slot, ())):
            self._stopped(slot, task, attempt)
        self._attempts.pop(slot, None)

    def _settle(self, job: Job) -> None:
        if job.over and not job.under_way:
            self._let_go(job)

    def _let_go(self, job: Job) -> None:
        self._abandoned.pop(job.number, None)
        if self._numbered.pop(str(job.number), None) is not None:
            job.quiet()

    # ------------------------------------------------------------ who hears what

    def _job_of(self, task: str) -> Job | None:
        return self._numbered.get(task.partition(":")[0])

    def _tell(self, happening: Happening, at_s: float) -> None:
        """What is of a task is told to its job, what is of a job to that one, and all else to all that are open."""
        match happening:
            case Beat() | Done() | Failed() | Assign() | Cancel():
                job = self._job_of(happening.task)
                if job is not None and not job.over:
                    job.hear(replace(happening, task=job.order_of(happening.task).id), at_s)
            case JobAdded():
                pass  # whoever runs it knows
            case JobStopped():
                self._open[happening.job].hear(happening, at_s)
            case Finish():
                self._open[happening.job].hear(happening, at_s)
            case _:
                for job in list(self._open.values()):
                    job.hear(happening, at_s)
