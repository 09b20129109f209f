"""The farm that is simulated: renderers that are set up, work, hang and die, the real dispatcher, and the real keeper.

A slot renders one task at a time, in the order in which it got them, as actors.worker does; what it got meanwhile has
opened its film (`prepare_s`) by the time its turn comes. The keeper asks for slots and takes them back, and is told
and asked when actors.loop does that; a cloud (farm.simulate.cloud) brings nodes for them. The dispatcher sees the
events that a pool would give it and nothing else. No clock but for the seconds of these two, so that a seed gives one
result.
"""

from __future__ import annotations

import gc
import math
import time
import zlib
from array import array
from collections import deque
from dataclasses import dataclass, field

from actors.dispatch import (
    Assign,
    Beat,
    Cancel,
    Decision,
    Dispatcher,
    Done,
    Event,
    Finish,
    GiveUp,
    JobAdded,
    Keeper,
    Kill,
    NodeGone,
    NodeLeaves,
    Quarantine,
    Release,
    Restart,
    Shun,
    SlotDied,
    SlotHere,
    SlotJoined,
    SlotLeft,
    SlotReady,
    Task,
    Tick,
    Trust,
)
from actors.loop import KEEP_S
from farm.simulate.clock import Clock
from farm.simulate.cloud import RENDERER_S, Cloud, Node
from farm.simulate.scene import Scene
from farm.simulate.sums import Sums

TICK_S = 10.0
END_TICK_S = 1.0  # when nothing is queued, and late tasks are looked for
POISON_S = 5.0  # a poisoned segment kills its renderer after so much of its work
REACT_S = 1.0  # a renderer that is told to end has ended
NEEDS = "a place on a node"


@dataclass(slots=True, eq=False)
class Running:
    """One attempt on a slot. `dice` are its own, so that what happens to it does not hang on what happens elsewhere."""

    task: str
    job: int
    position: int
    number: int
    cost: float
    given_s: float
    dice: int
    began_s: float = -1.0
    wakes: int = 0  # entries of the clock made for it; only the last one counts


@dataclass(slots=True, eq=False)
class SimSlot:
    """A renderer that has a place on a node."""

    name: str
    node: Node
    queue: deque[Running] = field(default_factory=deque)
    cold: bool = True
    up_since_s: float = -1.0
    life: int = 0  # renderers it has had


class World(Clock):
    """Run once with `run`; the sums are in `sums` then, and the time in `now_s`."""

    def __init__(self, scene: Scene) -> None:
        super().__init__()
        self.scene = scene
        self.sums = Sums()
        idle_s = math.inf if scene.fixed else scene.idle_s
        self.dispatcher = Dispatcher(
            None, [], at_s=0.0, hang_s=scene.hang_s, start_s=scene.start_s, idle_s=idle_s, awaits_nodes=True
        )
        self.keeper = Keeper(scene.slots if scene.fixed else 0, scene.slots, NEEDS)
        self.said: list[tuple[float, str]] = []  # what the keeper said, and when
        self._keeps = 0  # looks of the keeper
        self._cloud = Cloud(scene, self, self.sums, self)
        self._to_come = scene.jobs
        self._slots: dict[str, SimSlot] = {}
        self._costs = [array("d", bytes(8 * size)) for size in scene.sizes()]
        self._published = [bytearray(size) for size in scene.sizes()]

    def run(self) -> None:
        """From the first job to the end of the last one."""
        scene = self.scene
        self._keep()
        for job in range(scene.jobs):
            tasks = self._tasks(job)
            if job and scene.job_every_s > 0:
                self.later(job * scene.job_every_s, self._add, job, tasks)
            else:
                self._add(job, tasks)
        self.later(TICK_S, self._tick)
        # What lives to the end is no rubbish: looking through it again and again took a fifth of the time.
        gc.freeze()
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        while self._to_come or not self.dispatcher.finished:
            self.step()
        # Two looks at the processor's clock an event would cost more than the event; on a busy machine the wall's
        # clock counts what others do. So: the wall's, by the share of a processor that this process had.
        gc.unfreeze()
        self.sums.cpu_s = time.process_time() - cpu_s
        self.sums.dispatcher_s *= min(1.0, self.sums.cpu_s / max(time.perf_counter() - wall_s, 1e-9))
        self._cloud.settle()
        for slot in self._slots.values():
            self._span_ends(slot)

    def _tasks(self, job: int) -> list[Task]:
        tasks = list(self.scene.tasks(job))
        for task in tasks:
            self._costs[job][task.position] = task.cost
        return tasks

    def _add(self, job: int, tasks: list[Task]) -> None:
        """A job comes, as actors.loop adds one."""
        self._to_come -= 1
        if not self.dispatcher.open:
            self.keeper.reopen()
            forgiven = self.dispatcher.forgive()
            for decision in forgiven:
                self.keeper.hear(decision, self.now_s)
            self._obey_all(forgiven)
        self._keep()
        self._tell(JobAdded(str(job), tasks))

    def _tick(self) -> None:
        self._tell(Tick())
        self.later(TICK_S if self.dispatcher.backlog.queued else END_TICK_S, self._tick)

    # ------------------------------------------------------------ the keeper

    def _keep(self) -> None:
        """Let slots join and leave: at once when a job comes, and a second after the last time."""
        began = time.perf_counter()
        self.keeper.report = self._cloud.report
        events = self.keeper.look(self.dispatcher, self.now_s)
        self.sums.dispatcher_s += time.perf_counter() - began
        for event in events:
            self._tell(event)
            if isinstance(event, SlotJoined):
                self._cloud.ask(event.slot)
            elif isinstance(event, SlotLeft):
                self._retire(event.slot)
        words = self.keeper.words(self.now_s, waits=bool(self.dispatcher.open))
        if words:
            self.said.append((self.now_s, words))
        self._keeps += 1
        self.later(KEEP_S, self._keep_again, self._keeps)

    def _keep_again(self, number: int) -> None:
        if number == self._keeps:
            self._keep()

    # ------------------------------------------------------------ what the cloud tells

    def begins(self, slot: str, node: Node) -> None:
        self._slots[slot] = SimSlot(slot, node)
        self._set_up(self._slots[slot], node.start_s)

    def notice(self, node: Node, by_s: float) -> None:
        self._tell(NodeLeaves(node.name, by_s))

    def gone(self, node: Node, why: str) -> None:
        for name in node.slots:
            self._slot_ends(self._slots.pop(name), "nodes lost")
        self._tell(NodeGone(node.name, why))

    # ------------------------------------------------------------ slots

    def _set_up(self, slot: SimSlot, seconds: float) -> None:
        self.later(0.0, self._slot_here, slot, slot.life)  # whoever decided this is to be heard out first
        self.later(seconds, self._slot_up, slot, slot.life)

    def _slot_here(self, slot: SimSlot, life: int) -> None:
        if self._lives(slot, life):
            self._tell(SlotHere(slot.name, slot.node.name, (self.now_s - slot.node.since_s,)))

    def _slot_up(self, slot: SimSlot, life: int) -> None:
        if self._lives(slot, life):
            slot.up_since_s = self.now_s
            self._tell(SlotReady(slot.name, self.scene.capacity, slot.node.name, slot.node.kind.name))

    def _lives(self, slot: SimSlot, life: int) -> bool:
        return slot.life == life and self._slots.get(slot.name) is slot

    def _slot_dies(self, slot: SimSlot, life: int, why: str) -> None:
        if self._lives(slot, life):
            self._slot_ends(slot, why)
            self._tell(SlotDied(slot.name, why))

    def _slot_ends(self, slot: SimSlot, why: str) -> None:
        """The renderer is gone with all it worked on."""
        for running in slot.queue:
            running.wakes += 1
            if running.began_s >= 0:
                self.sums.waste(why, self.now_s - running.began_s)
        slot.queue.clear()
        self._span_ends(slot)
        slot.cold = True
        slot.life += 1

    def _retire(self, name: str) -> None:
        """The slot is out of service, released or taken back: its place is free."""
        slot = self._slots.pop(name, None)
        if slot is not None:
            self._slot_ends(slot, "taken back")
        self._cloud.leave(name)

    def _span_ends(self, slot: SimSlot) -> None:
        if slot.up_since_s >= 0:
            self.sums.spans.append((slot.up_since_s, self.now_s, slot.node.rate))
            slot.up_since_s = -1.0

    # ------------------------------------------------------------ work on a slot

    def _begin(self, slot: SimSlot) -> None:
        """The first of the slot's tasks gets its turn, when its film is open."""
        if slot.queue and slot.queue[0].began_s < 0:
            first = slot.queue[0]
            wait_s = first.given_s + self.scene.prepare_s - self.now_s
            if wait_s > 0:
                self._wake(slot, first, wait_s)
            else:
                self._render(slot, first)

    def _wake(self, slot: SimSlot, running: Running, seconds: float) -> None:
        running.wakes += 1
        self.later(seconds, self._turn, slot, running, running.wakes)

    def _turn(self, slot: SimSlot, running: Running, wake: int) -> None:
        if running.wakes != wake:
            return
        if running.began_s < 0:
            self._render(slot, running)
            return
        left_s = self._left_s(slot, running)
        if left_s <= 0:
            self._finish(slot, running)
            return
        self._tell(Beat(slot.name, running.task, running.number, int(self.now_s - running.began_s) + 1))
        if running.wakes == wake:
            self._go_on(slot, running, left_s)

    def _render(self, slot: SimSlot, running: Running) -> None:
        running.began_s = self.now_s
        if running.job == 0 and running.position < self.scene.poisoned:
            self.later(POISON_S, self._poison, slot, running, slot.life)
        elif (running.dice >> 16) / 65536 < self.scene.hang_share:
            self.sums.hangs += 1
        else:
            self._go_on(slot, running, self._left_s(slot, running))

    def _poison(self, slot: SimSlot, running: Running, life: int) -> None:
        if running in slot.queue:
            self._slot_dies(slot, life, "poisoned")

    def _go_on(self, slot: SimSlot, running: Running, left_s: float) -> None:
        # A little beyond the end, so that rounding never leaves a step of nothing.
        self._wake(slot, running, self.scene.beat_s if left_s > self.scene.beat_s else left_s * (1 + 1e-9) + 1e-9)

    def _left_s(self, slot: SimSlot, running: Running) -> float:
        scene = self.scene
        noise = 1 + scene.noise * ((running.dice & 0xFFFF) / 32768 - 1)
        cold_s = scene.cold_engines_s if slot.cold else 0.0
        return running.began_s + cold_s + running.cost / slot.node.rate * noise - self.now_s

    def _finish(self, slot: SimSlot, running: Running) -> None:
        sums = self.sums
        slot.queue.popleft()
        slot.cold = False
        spent_s = self.now_s - running.began_s
        if self._published[running.job][running.position]:
            sums.waste("copies", spent_s)
        else:
            self._published[running.job][running.position] = 1
            sums.done += 1
            sums.useful_s += spent_s
            sums.useful_cost += running.cost
            sums.longest_cost = max(sums.longest_cost, running.cost)
            sums.served[running.job] = sums.served.get(running.job, 0.0) + running.cost
            if sums.done == (self.scene.segments + 1) // 2:
                sums.served_at_half = dict(sums.served)
        self._begin(slot)
        self._tell(Done(slot.name, running.task, running.number))

    # ------------------------------------------------------------ the dispatcher

    def _tell(self, event: Event) -> None:
        began = time.perf_counter()
        now_s, hear = self.now_s, self.keeper.hear
        decisions = self.dispatcher.handle(event, now_s)
        hear(event, now_s)
        for decision in decisions:
            hear(decision, now_s)
        self.sums.dispatcher_s += time.perf_counter() - began
        self.sums.events += 1
        self._obey_all(decisions)

    def _obey_all(self, decisions: list[Decision]) -> None:
        self.sums.decisions += len(decisions)
        for decision in decisions:
            self._obey(decision)

    def _obey(self, decision: Decision) -> None:
        match decision:
            case Assign():
                self._assign(decision)
            case Cancel():
                self._cancel(decision)
            case Restart():
                self._set_up(self._slots[decision.slot], RENDERER_S)
            case Kill():
                slot = self._slots[decision.slot]
                self.later(REACT_S, self._slot_dies, slot, slot.life, "hung")
            case Quarantine() | Release():
                self._retire(decision.slot)
            case Shun() | Trust() | GiveUp():
                self._cloud.regard(decision)
            case Finish():
                self.sums.finished_s[decision.job] = self.now_s
                if decision.error is not None:
                    self.sums.errors[decision.job] = str(decision.error)
                self.dispatcher.forget(decision.job)

    def _assign(self, assign: Assign) -> None:
        slot = self._slots[assign.slot]
        job, position = (int(part) for part in assign.task.split("/"))
        dice = zlib.crc32(f"{self.scene.seed}/{assign.task}/{assign.attempt}".encode())
        cost = self._costs[job][position]
        slot.queue.append(Running(assign.task, job, position, assign.attempt, cost, self.now_s, dice))
        self.sums.assigned += 1
        self._begin(slot)

    def _cancel(self, cancel: Cancel) -> None:
        slot = self._slots.get(cancel.slot)
        for running in slot.queue if slot is not None else ():
            if slot is not None and (running.task, running.number) == (cancel.task, cancel.attempt):
                running.wakes += 1
                if running.began_s >= 0:
                    copied = self._published[running.job][running.position]
                    self.sums.waste("copies" if copied else "given back", self.now_s - running.began_s)
                slot.queue.remove(running)
                self._begin(slot)
                return
