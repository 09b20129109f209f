"""The farm that is simulated: a heap of what comes next, nodes that boot, work, hang and go, and the real dispatcher.

A slot renders one task at a time, in the order in which it got them, as actors.worker does; what it got meanwhile has
opened its film (`prepare_s`) by the time its turn comes. The dispatcher sees the events that a pool would give it
and nothing else. No clock but for the dispatcher's own seconds, so that a seed gives one result.
"""

from __future__ import annotations

import gc
import random
import time
import zlib
from array import array
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any

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
    Kill,
    NodeGone,
    NodeLeaves,
    Quarantine,
    Release,
    Restart,
    SlotDied,
    SlotJoined,
    SlotReady,
    Tick,
)
from farm.simulate.scene import NodeType, Scene
from farm.simulate.sums import Sums

TICK_S = 10.0
END_TICK_S = 1.0  # when nothing is queued, and late tasks are looked for
RESTART_S = 15.0  # a renderer that died on a node that lives: process, runtime, models
POISON_S = 5.0  # a poisoned segment kills its renderer after so much of its work
REACT_S = 1.0  # a renderer that is told to end has ended
DARK_S = 24 * 3600.0


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
    wakes: int = 0  # entries of the heap made for it; only the last one counts


@dataclass(slots=True, eq=False)
class SimSlot:
    name: str
    node: SimNode
    queue: deque[Running] = field(default_factory=deque)
    cold: bool = True
    up_since_s: float = -1.0
    life: int = 0  # renderers it has had


@dataclass(slots=True, eq=False)
class SimNode:
    name: str
    kind: NodeType
    rate: float
    since_s: float
    slots: list[SimSlot] = field(default_factory=list)
    there: bool = True


class World:
    """Run once with `run`; the sums are in `sums` then, and the time in `now_s`."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.now_s = 0.0
        self.sums = Sums()
        self.dispatcher = Dispatcher(None, [], at_s=0.0, hang_s=scene.hang_s, start_s=DARK_S, awaits_nodes=True)
        self._dice = random.Random(f"{scene.seed}/world")
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._entries = 0
        self._nodes = 0
        self._slots: dict[str, SimSlot] = {}
        self._given_up: dict[str, SimNode] = {}  # nodes with slots that were taken out of service
        self._costs = [array("d", bytes(8 * size)) for size in scene.sizes()]
        self._published = [bytearray(size) for size in scene.sizes()]

    def run(self) -> None:
        """From the first boot to the end of the last job."""
        scene = self.scene
        for job, costs in enumerate(self._costs):
            tasks = list(scene.tasks(job))
            for task in tasks:
                costs[task.position] = task.cost
            self._tell(JobAdded(str(job), tasks))
        for kind, count in zip(scene.types, scene.counts(), strict=True):
            for _ in range(count):
                self._boot(kind)
        self._later(TICK_S, self._tick)
        # What lives to the end is no rubbish: looking through it again and again took a fifth of the time.
        gc.freeze()
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        while not self.dispatcher.finished:
            self.now_s, _, happens, about = heappop(self._heap)
            happens(*about)
        # Two looks at the processor's clock an event would cost more than the event; on a busy machine the wall's
        # clock counts what others do. So: the wall's, by the share of a processor that this process had.
        gc.unfreeze()
        self.sums.cpu_s = time.process_time() - cpu_s
        self.sums.dispatcher_s *= min(1.0, self.sums.cpu_s / max(time.perf_counter() - wall_s, 1e-9))
        for node in {slot.node.name: slot.node for slot in self._slots.values()}.values():
            self._pay(node)
        for slot in self._slots.values():
            self._span_ends(slot)

    def _later(self, seconds: float, happens: Callable[..., None], *about: Any) -> None:
        self._entries += 1
        heappush(self._heap, (self.now_s + seconds, self._entries, happens, about))

    def _tick(self) -> None:
        self._tell(Tick())
        self._later(TICK_S if self.dispatcher.backlog.queued else END_TICK_S, self._tick)

    # ------------------------------------------------------------ nodes

    def _boot(self, kind: NodeType) -> None:
        """A node comes: it boots, and is there until it is taken away."""
        scene = self.scene
        name = f"n{self._nodes}"
        self._nodes += 1
        slow = self._dice.random() < scene.slow_nodes
        node = SimNode(name, kind, kind.rate * (scene.slow_rate if slow else 1.0), self.now_s)
        boot_s = kind.boot_s * (0.75 + 0.5 * self._dice.random())
        for number in range(kind.slots):
            slot = SimSlot(f"{name}/{number}", node)
            node.slots.append(slot)
            self._slots[slot.name] = slot
            self._tell(SlotJoined(slot.name, name, kind.name))
            self._later(boot_s, self._slot_up, slot, slot.life)
        if kind.spot and scene.loss_per_hour > 0:
            life_s = self._dice.expovariate(scene.loss_per_hour / 3600.0)
            if self._dice.random() < scene.notice_share:
                self._later(boot_s + max(0.0, life_s - scene.notice_s), self._notice, node)
            else:
                self._later(boot_s + life_s, self._node_goes, node)

    def _notice(self, node: SimNode) -> None:
        if not node.there:
            return
        self._later(self.scene.notice_s, self._node_goes, node)
        self._tell(NodeLeaves(node.name, self.now_s + self.scene.notice_s))

    def _node_goes(self, node: SimNode) -> None:
        """A node is taken away; another one of its kind is asked for in its place."""
        if not node.there:
            return
        self.sums.losses += 1
        node.there = False
        for slot in node.slots:
            self._slot_ends(slot, "nodes lost")
            self._slots.pop(slot.name, None)
        self._pay(node)
        self._tell(NodeGone(node.name, "spot"))
        self._boot(node.kind)

    def _replace(self, name: str) -> None:
        """A node that the dispatcher gave up is ended, and another one of its kind is asked for in its place."""
        node = self._given_up.pop(name, None)
        if node is not None and node.there:
            node.there = False
            self._pay(node)
            self._tell(NodeGone(name, "given up"))
            self._boot(node.kind)

    def _pay(self, node: SimNode) -> None:
        self.sums.money += (self.now_s - node.since_s) / 3600.0 * node.kind.price_h

    def _slot_up(self, slot: SimSlot, life: int) -> None:
        if slot.life == life and slot.node.there and slot.name in self._slots:
            slot.up_since_s = self.now_s
            self._tell(SlotReady(slot.name, self.scene.capacity))

    def _slot_dies(self, slot: SimSlot, life: int, why: str) -> None:
        if slot.life == life and slot.node.there:
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
        self._later(seconds, self._turn, slot, running, running.wakes)

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
            self._later(POISON_S, self._poison, slot, running, slot.life)
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
        decisions = self.dispatcher.handle(event, self.now_s)
        self.sums.dispatcher_s += time.perf_counter() - began
        self.sums.events += 1
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
                slot = self._slots[decision.slot]
                self._later(RESTART_S, self._slot_up, slot, slot.life)
            case Kill():
                slot = self._slots[decision.slot]
                self._later(REACT_S, self._slot_dies, slot, slot.life, "hung")
            case Quarantine() | Release():
                slot = self._slots.pop(decision.slot)
                if isinstance(decision, Quarantine):
                    self._given_up[slot.node.name] = slot.node
                self._span_ends(slot)
            case GiveUp():
                self._replace(decision.node)
            case Finish():
                self.sums.finished_s[decision.job] = self.now_s
                if decision.error is not None:
                    self.sums.errors[decision.job] = str(decision.error)

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
