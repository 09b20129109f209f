"""Who works on what: a pure state machine. Events go in, decisions come out; no clock, no Ray, no files.

The rules, from ray.md:
- Longest first; slots that are slower than the fastest take the longest that they finish in the same time. A task that
  came back goes to the front of the queue.
- Three attempts lost with their renderer poison a task: nothing new of its job is started, what runs is finished and
  kept, the job fails. Of the deaths on one node one counts while another node is up, of those of one slot one while
  another slot is, and the task is not given back there: so no one bad GPU or node poisons anything. Attempts lost
  because a node went are counted apart and tolerated more often: on spot nodes they say nothing of the task.
- A task that was lost once runs alone on its slot from then on, so that the death of a poisonous neighbour is
  not counted against it more than once.
- Four deaths in a row of one slot quarantine it, and two such slots the rest of their node. With every slot
  quarantined the jobs fail, unless nodes may still come. A node of which nothing is left is given up.
- A slot takes a second task, which decodes while the first one renders, only when no slot without work could
  take it. It then waits for its turn, so a slot hangs only when none of its tasks moves. One that is set up hangs by
  the same measure, from when its renderer has begun.
- An error that the work itself raised is never retried: the same input would raise it again. One of a kind that a node
  may have for itself (actors.dispatch.refusals) quarantines the slot instead, and another node tries; it ends the job
  when a second node says the same of the same task, or with nothing of the job done between, or there is no other.
- Damage rule: when a finished task reports damage, queued tasks after it are dropped and those before it are
  finished, so that the first damaged frame of the whole film is known.
- When nothing is queued any more, slots without work take over what waits elsewhere, and copy what is late: never
  more than two attempts of a task at once, of which the first result counts and the other is cancelled.
- A node on notice gets nothing new; what it cannot finish in time is queued again at once.
- Jobs of a higher priority go first; jobs of one priority share by weight (actors.dispatch.shares).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, KeysView

from actors.dispatch import placing
from actors.dispatch.events import (
    Beat,
    Busy,
    Cancel,
    Decision,
    Done,
    Event,
    Failed,
    FleetEvent,
    JobAdded,
    JobStopped,
    Kill,
    NodeGone,
    NodeLeaves,
    NoPlace,
    Release,
    Restart,
    Slept,
    SlotDied,
    SlotHere,
    SlotJoined,
    SlotLeft,
    SlotReady,
    SlotsMayCome,
    SlotUnfit,
    Task,
    Tick,
)
from actors.dispatch.fleet import Fleet
from actors.dispatch.ledger import DONE, DROPPED
from actors.dispatch.losses import NOT_QUEUED, Losses
from actors.dispatch.refusals import MEMORY_S, of_a_node
from actors.dispatch.wanted import Backlog
from actors.dispatch.watch import KILL_S
from core.errors import WorkerLost

SWEEP_S = 1.0  # how often late tasks are looked for, at most
ALONE = "see `farm doctor`, or try --local"
BRING = (
    "see `ray status` on the head, the quota, the node types of the cluster file and what --worker-resources asks for; "
    "what was finished is kept: run the same command again to resume"
)


class Dispatcher(Losses):
    """The queue and its rules. `handle` takes each event with the time it came (seconds of one monotonic clock)."""

    def __init__(
        self,
        tasks: Iterable[Task] | None,
        slots: Iterable[str],
        *,
        at_s: float,
        hang_s: float,
        start_s: float,
        idle_s: float = math.inf,
        awaits_nodes: bool = False,
    ) -> None:
        """With `tasks`, a job named "" begins with them; None begins without a job.

        `hang_s`: a slot that does not move for so long is killed. `start_s`: the jobs end when no slot was up for so
        long. `idle_s`: a slot without work for so long, with nothing queued, is released. `awaits_nodes`: slots may
        still come (SlotJoined) when none is left.
        """
        super().__init__(Fleet(slots, at_s=at_s, hang_s=hang_s), awaits_nodes=awaits_nodes)
        self._hang_s = hang_s
        self._start_s = start_s
        self._idle_s = idle_s
        self._swept_s = -math.inf
        self._awaited = ""  # what is known of slots that do not come
        self.copies = 0
        if tasks is not None:
            self._jobs.add(JobAdded("", tasks))

    # ------------------------------------------------------------ views

    @property
    def done(self) -> frozenset[str]:
        return self._jobs.ids(DONE)

    @property
    def dropped(self) -> frozenset[str]:
        return self._jobs.ids(DROPPED)

    @property
    def queued(self) -> tuple[str, ...]:
        return self._jobs.line()

    @property
    def running(self) -> dict[str, tuple[str, ...]]:
        return {name: tuple(slot.running) for name, slot in self._fleet.slots.items()}

    @property
    def finished(self) -> bool:
        """Whether no job is open, and there was one."""
        return self._jobs.finished

    @property
    def open(self) -> int:
        """How many jobs are not over."""
        return self._jobs.open

    @property
    def backlog(self) -> Backlog:
        return self._jobs.backlog()

    @property
    def slots(self) -> frozenset[str]:
        """All that were not taken out of service, up or not."""
        return frozenset(self._fleet.slots)

    @property
    def members(self) -> KeysView[str]:
        """`slots` as they are at any time, without a copy."""
        return self._fleet.slots.keys()

    @property
    def speed(self) -> float:
        """Cost a second of all slots that are up; 0 where nothing is known of one of them."""
        return self._fleet.speed

    @property
    def most_speed(self) -> float:
        """A bound of `speed` that looks at no slot."""
        return self._fleet.most_speed

    def rate(self, kind: str) -> float:
        """The measured cost a second of a kind of node, a slot; what was declared where nothing is measured, or 0."""
        return self._fleet.rates.of_kind(kind)

    def forget(self, job: str) -> None:
        """Drop the books of a finished job, so that a dispatcher that lives long does not grow."""
        self._jobs.forget(job)

    def forgive(self) -> list[Decision]:
        """To be asked before slots are asked for, where a job is about to come and none is open: it may find what spoke
        against nodes repaired. What is asked for meanwhile would be asked for elsewhere."""
        self._out = []
        if not self._jobs.open:
            self._forgive_all()
        return self._out

    def weigh(self, group: str, weight: float) -> None:
        """The open jobs of a group share by another weight from now on."""
        self._jobs.weigh(group, weight)

    # ------------------------------------------------------------ events

    def handle(self, event: Event, at_s: float) -> list[Decision]:
        """What to do now that `event` happened. Events of slots and attempts that are no longer current are ignored."""
        self._out = []
        match event:
            case Done():
                self._complete(event, at_s)
            case Beat():
                self._beat(event, at_s)
            case Busy():
                self._busy(event, at_s)
            case Failed():
                self._failed(event, at_s)
            case Tick():
                self._tick(at_s)
            case Slept():
                self._fleet.slept(event.seconds)
            case JobAdded():
                self._job_added(event, at_s)
            case JobStopped():
                self._job_stopped(event, at_s)
            case _:
                self._fleet_event(event, at_s)
        if self._jobs.open:
            self._out += placing.place(self._jobs, self._fleet, at_s)
            if self._jobs.touched:
                self._out += self._jobs.ended()
        return self._out

    def _fleet_event(self, event: FleetEvent, at_s: float) -> None:
        match event:
            case SlotHere():
                self._here(event, at_s)
            case SlotReady():
                self._ready(event, at_s)
            case SlotDied():
                self._died(event, at_s)
            case SlotJoined():
                self._joined(event, at_s)
            case SlotLeft():
                self._left(event, at_s)
            case SlotUnfit():
                self._unfit(event, at_s)
            case SlotsMayCome():
                self._awaits_nodes = event.yes
                self._awaited = event.reason
                self._any_left(event.reason, at_s)
            case NoPlace():
                self._no_place(event, at_s)
            case NodeLeaves():
                self._node_leaves(event, at_s)
            case NodeGone():
                self._node_gone(event, at_s)

    def _job_added(self, event: JobAdded, at_s: float) -> None:
        if not self._jobs.open and self._fleet.dark_since_s is not None:
            self._fleet.dark_since_s = at_s
        self.forgive()
        self._jobs.add(event)
        for slot in self._fleet.slots.values():
            if slot.down:
                slot.down = False
                if not slot.far:  # as in _died
                    self._fleet.starting[slot.name] = None
                self._out.append(Restart(slot.name, "there is work again"))
        self._any_left("all were taken out of service", at_s)

    def _job_stopped(self, event: JobStopped, at_s: float) -> None:
        ledger = self._jobs.halt(event.job, event.error)
        if ledger is None or (event.finish and event.waiting):
            return
        for slot, task in self._fleet.working_on(ledger):
            if event.finish and slot.has_begun(task):
                continue
            attempt = self._fleet.take_off(slot, task)
            ledger.drop(attempt.rank)
            self._out.append(Cancel(slot.name, task, attempt.number, "the job was stopped"))
            self._settle(slot, at_s)

    def _joined(self, event: SlotJoined, at_s: float) -> None:
        slot = self._fleet.join(event.slot, event.kind, event.rate, far=event.far)
        if slot is not None:
            self._fleet.lives_on(slot, event.node)
            self._settle(slot, at_s)

    def _here(self, event: SlotHere, at_s: float) -> None:
        slot = self._fleet.slots.get(event.slot)
        if slot is not None and not slot.capacity:
            self._fleet.set_up(slot, at_s)
            self._fleet.lives_on(slot, event.node)
            self._settle(slot, at_s)

    def _ready(self, event: SlotReady, at_s: float) -> None:
        slot = self._fleet.slots.get(event.slot)
        if slot is not None:
            slot.kind = event.kind or slot.kind
            slot.down = False
            self._no_place_s = None
            self._fleet.lift(slot, event.capacity, at_s)
            self._fleet.lives_on(slot, event.node)
            self._settle(slot, at_s)

    def _complete(self, event: Done, at_s: float) -> None:
        found = self._jobs.find(event.task)
        if found is None:
            return
        ledger, rank = found
        slot = self._fleet.current(event.slot, event.task, event.attempt)
        if slot is not None:
            attempt = self._fleet.take_off(slot, event.task)
            slot.deaths_in_a_row = 0
            busy_s = at_s - max(attempt.since_s, slot.last_done_s)
            self._fleet.rates.add(slot, ledger.costs[rank], busy_s, ledger.scale)
            slot.last_done_s = slot.moved_s = at_s
            self._settle(slot, at_s)
        # A late result of an attempt given up for lost is as good as any: what is published is published once.
        if ledger.complete(rank):
            self._refusals.done(ledger.job)
            if ledger.current[rank]:
                self._cancel_all(event.task, at_s, "another attempt was first")
            if event.damaged:
                ledger.stop_at(ledger.positions[rank])
            if ledger.over:
                self._jobs.touch(ledger)

    def _failed(self, event: Failed, at_s: float) -> None:
        slot = self._fleet.current(event.slot, event.task, event.attempt)
        if slot is None:
            return
        attempt = self._fleet.take_off(slot, event.task)
        if (event.of_node or of_a_node(event.error)) and self._refuse(slot, attempt, event.error, at_s):
            return
        self._settle(slot, at_s)
        self._cancel_all(event.task, at_s, "another attempt failed")
        attempt.ledger.drop(attempt.rank)
        self._jobs.halt(attempt.ledger.job, event.error)

    def _beat(self, event: Beat, at_s: float) -> None:
        slot = self._fleet.current(event.slot, event.task, event.attempt)
        if slot is not None and event.frames > slot.running[event.task].frames:
            slot.running[event.task].frames = event.frames
            slot.moved_s = at_s

    def _busy(self, event: Busy, at_s: float) -> None:
        slot = self._fleet.slots.get(event.slot)
        if slot is not None and event.words != slot.words:
            slot.words = event.words
            slot.moved_s = at_s

    def _tick(self, at_s: float) -> None:
        dark_s = self._fleet.dark_since_s
        if dark_s is not None and at_s - dark_s >= self._start_s:
            told = f"no renderer came up in {self._start_s:g} s{': ' if self._awaited else ''}{self._awaited}"
            self._end_each(WorkerLost(told, hint=BRING if self._awaits_nodes else ALONE), at_s - MEMORY_S)
            return
        if self._bad:
            self._give_up(at_s)
        for slot in self._fleet.watch.due(at_s):
            if slot.killed_s is not None:
                self._died(SlotDied(slot.name, f"no answer for {KILL_S:g} s after it was ended"), at_s)
                continue
            slot.killed_s = at_s
            self._fleet.bench.seat(slot)
            at = [attempt.ledger.positions[attempt.rank] for attempt in slot.running.values()]
            what = f"segment {min(at)}" if at else "its set-up"
            self._out.append(Kill(slot.name, f"{what} did not move for {self._hang_s:g} s"))
        if at_s - self._swept_s >= SWEEP_S and not self._jobs.backlog().queued:
            self._swept_s = at_s
            if self._jobs.totals.running:
                copied = list(placing.copy_late(self._fleet, at_s))
                self.copies += len(copied)
                self._out += copied
            if math.isfinite(self._idle_s):
                self._release_idle(at_s)

    def _release_idle(self, at_s: float) -> None:
        for slot in list(self._fleet.bench.idles()):
            if at_s - slot.idle_since_s >= self._idle_s:
                self._fleet.remove(slot, at_s)
                self._out.append(Release(slot.name, NOT_QUEUED))

    def _cancel_all(self, task: str, at_s: float, reason: str) -> None:
        for slot in self._fleet.places(task):
            attempt = self._fleet.take_off(slot, task)
            self._out.append(Cancel(slot.name, task, attempt.number, reason))
            self._settle(slot, at_s)
