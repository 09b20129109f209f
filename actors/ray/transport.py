"""Ray calls for the dispatcher's decisions, events for the answers.

Answers come through callbacks into one queue, in Ray's own thread; the queue is read by the thread of the loop.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, cast

from actors.code import code_here, difference
from actors.deaths import address_in, as_farm_error, at_node, in_doubt, lost_reason, node_died, unfit
from actors.dispatch import (
    Assign,
    Beat,
    Busy,
    Done,
    Event,
    Failed,
    NodeDecision,
    NoPlace,
    SlotDied,
    SlotHere,
    SlotReady,
    SlotUnfit,
)
from actors.dispatch.refusals import of_a_node
from actors.ray.fleet import FleetWatch
from actors.ray.joining import cloudpickle, ray
from actors.ray.nodes import Resources
from actors.ray.renderer import SLOTS_AN_ACTOR, Introduction
from actors.work import JobStore, Order, Receipt
from core.errors import FarmError, WorkerLost

BEAT_S = 1.0
# Ray ends the whole process when the head was silent for 60 s; by then everything is to be closed.
SILENCE_S = 25.0
SAME_CODE = "install the same version on every machine (build the image again, or run `ray up` again)"
STORES_PICKLED = 64
# At so many looks (actors.ray.fleet: one in 4 s) a renderer may wait beside room for one before it is asked for again.
# A process that does not come up Ray itself gives up within a minute, and starts another.
LOOKS = 150  # ten minutes: one whose process starts from a cold disk is not to be ended for room elsewhere
Told = tuple[Event, Receipt | None]


@dataclass(frozen=True, eq=False)
class _Call:
    """A call under way: which incarnation of which slot it went to, and for which attempt if it is work."""

    slot: str
    epoch: int
    kind: str  # here | setup | work | progress | notice
    assign: Assign | None = None


class RayTransport:
    """Renderers as slots; `new_actor` makes one that takes `needs` of a node, but of none of the nodes that it is
    given the ids of."""

    def __init__(self, new_actor: Callable[[frozenset[str]], Any], needs: Resources) -> None:
        self._new_actor = new_actor
        self._fleet = FleetWatch(self._tell, needs)
        self._coming: set[str] = set()  # slots that are not set up yet
        self._avoids: dict[str, frozenset[str]] = {}  # slot -> the nodes that its renderer does not begin on
        self._bound: dict[str, str] = {}  # slot -> the node that it was on, where it may begin again in any case
        self._waits: dict[str, int] = {}  # slot -> since which look it waits
        self._code = code_here()
        self._doubted: set[str] = set()  # lost, and not told yet
        self._homes: dict[str, str] = {}  # slot -> its node's id in Ray
        self._actors: dict[str, Any] = {}
        self._calls: dict[_Call, None] = {}
        self._epoch: dict[str, int] = {}
        self._asked_s = 0.0
        self._stores: dict[int, tuple[JobStore, bytes]] = {}  # pickled, by identity, those of the last jobs
        self._answers: queue.SimpleQueue[tuple[_Call, Future[Any]] | Event | None] = queue.SimpleQueue()

    def watch(self) -> None:
        """Begin to watch the nodes."""
        self._fleet.start()

    # ------------------------------------------------------------ decisions

    def start(self, slot: str, home: str = "") -> None:
        """Bring a slot up, on no node that is shunned but its `home`, the id of the node where it was."""
        self._epoch[slot] = self._epoch.get(slot, 0) + 1
        if slot not in self._actors:
            self._bound[slot] = home
            self._avoids[slot] = self._fleet.shunned - {home}
            self._actors[slot] = self._new_actor(self._avoids[slot])
        self._coming.add(slot)
        self._call(_Call(slot, self._epoch[slot], "here"), self._actors[slot].here.remote())
        self._call(_Call(slot, self._epoch[slot], "setup"), self._actors[slot].setup.remote())

    def submit(self, assign: Assign, order: Order, store: JobStore) -> None:
        reference = self._actors[assign.slot].work.remote(assign.task, assign.attempt, order, self._pickled(store))
        self._call(_Call(assign.slot, self._epoch[assign.slot], "work", assign), reference)

    def cancel(self, slot: str, task: str, attempt: int) -> None:
        """Nobody waits for the answer: when the renderer is gone, so is the attempt."""
        if slot in self._actors:
            self._actors[slot].cancel.remote(task, attempt)

    def restart(self, slot: str) -> None:
        home = self._homes.get(slot) or self._bound.get(slot, "")
        self._end(slot)
        self.start(slot, home)

    def retire(self, slot: str) -> None:
        self._end(slot)

    def regard(self, decision: NodeDecision) -> None:
        """Take note of what is thought of a node. Where it is trusted again, renderers that were asked for before and
        have not begun are asked for again: of Ray, they would wait for another node for ever."""
        trusted = self._fleet.regard(decision)
        if trusted:
            for slot in self._not_begun():
                if self._avoids[slot] & trusted:
                    self.restart(slot)

    def _not_begun(self) -> list[str]:
        """The slots whose renderers have not said yet where they are, and are not known to be dead."""
        asked = {call.slot for call in self._calls if call.kind == "here" and self._current(call)}
        return sorted(asked - self._homes.keys())

    def _ask_again(self) -> None:
        """Ask again for renderers that Ray has not begun though there was room for them all the time: it may never, as
        was seen once, with 2.60, where one that waited was ended and another one asked for at once."""
        room, shunned = self._fleet.room, self._fleet.shunned
        for slot in self._not_begun():
            since = self._waits.setdefault(slot, room.looks)
            if room.take(since, LOOKS, shunned - {self._bound[slot]}):
                self.restart(slot)
                self._waits[slot] = room.looks

    @property
    def report(self) -> str:
        return self._fleet.report

    def kill(self, slot: str) -> None:
        """End a slot that hangs; its calls then fail, which is how its death is noticed."""
        if slot in self._actors:
            ray.kill(self._actors[slot])

    def dismiss(self, silent: Callable[[], None]) -> None:
        """End all renderers. From any thread, once nobody polls any more. `silent` is called when the head has not
        answered for so long that Ray may soon end this process: from another thread, after the last call of Ray that is
        made here; or at once, where it is so silent by now, and then no renderer is ended one by one."""
        if self._fleet.silent_s < SILENCE_S:
            self._end_all()
            self._fleet.linger(SILENCE_S, silent)
        else:
            self._fleet.stop()
            silent()

    def end(self) -> None:
        """End all renderers and the watch over nodes. From any thread, once nobody polls any more."""
        self._fleet.stop()
        self._end_all()

    def _end_all(self) -> None:
        for slot in list(self._actors):
            self._end(slot)

    def _end(self, slot: str) -> None:
        self._homes.pop(slot, None)
        self._avoids.pop(slot, None)
        self._bound.pop(slot, None)
        self._waits.pop(slot, None)
        self._coming.discard(slot)
        self._doubted.discard(slot)
        actor = self._actors.pop(slot, None)
        if actor is not None and ray.is_initialized():
            ray.kill(actor)

    def _call(self, call: _Call, reference: Any) -> None:
        self._calls[call] = None
        reference.future().add_done_callback(lambda answer: self._answers.put((call, answer)))

    def _pickled(self, store: JobStore) -> bytes:
        known = self._stores.get(id(store))
        if known is None:
            if len(self._stores) >= STORES_PICKLED:
                del self._stores[next(iter(self._stores))]
            known = self._stores[id(store)] = (store, cast(Any, cloudpickle).dumps(store))
        return known[1]

    # ------------------------------------------------------------ events

    def poll(self, timeout_s: float) -> list[Told]:
        if self._fleet.silent_s >= SILENCE_S:
            raise WorkerLost(
                f"the head of the cluster has not answered for {SILENCE_S:g} s",
                hint="what was finished is kept: when the cluster is there again, run the same command again",
            )
        self._fleet.waiting = bool(self._coming)
        self._ask()
        events: list[Told] = []
        try:
            heard = self._answers.get(timeout=timeout_s)
            while True:
                if isinstance(heard, tuple):
                    call, answer = heard
                    del self._calls[call]
                    events += self._answer(call, answer)
                elif heard is not None and not self._late(heard):
                    events.append((heard, None))
                heard = self._answers.get_nowait()
        except queue.Empty:
            return events

    def wake(self) -> None:
        self._answers.put(None)

    def _late(self, event: Event) -> bool:
        """Whether it was true when it was told and is not any more: the death of a renderer that another one has
        followed already, or that there is no place beside nodes that are trusted again."""
        if isinstance(event, SlotDied):
            return event.slot not in self._doubted
        return isinstance(event, NoPlace) and not self._fleet.shunned

    def _tell(self, event: Event) -> None:
        self._answers.put(event)

    def _ask(self) -> None:
        """Ask every slot that works or is set up how far it is, one question at a time, and again for those that do not
        come."""
        now_s = time.monotonic()
        if now_s - self._asked_s < BEAT_S:
            return
        self._asked_s = now_s
        self._ask_again()
        waiting = {call.slot for call in self._calls if call.kind == "progress"}
        working = {call.slot for call in self._calls if call.kind == "work" and self._current(call)}
        for slot in (working | (self._coming & self._homes.keys())) - waiting:
            self._call(_Call(slot, self._epoch[slot], "progress"), self._actors[slot].progress.remote())

    def _current(self, call: _Call) -> bool:
        return call.slot in self._actors and self._epoch[call.slot] == call.epoch

    def _answer(self, call: _Call, answer: Future[Any]) -> list[Told]:
        error = answer.exception()
        if error is not None:  # everything Ray can raise is sorted by the table of actors.deaths
            return self._refusal(error, call)
        value = answer.result()
        if call.assign is not None:
            return [(Done(call.slot, call.assign.task, call.assign.attempt), value)]
        if not self._current(call):
            return []
        if call.kind in ("here", "setup"):
            return self._begun(call.slot, *value) if call.kind == "here" else [(self._introduced(call, value), None)]
        if call.kind == "notice":
            if value is not None:
                self._fleet.leaves(self._homes[call.slot], value.left_s, value.what)
            return []
        frames, words = value
        beats: list[Event] = [Beat(call.slot, task, attempt, count) for (task, attempt), count in frames.items()]
        return [(event, None) for event in (*beats, *([Busy(call.slot, words)] if words else []))]

    def _begun(self, slot: str, node_id: str, node: str, ages: tuple[float, ...] | None = None) -> list[Told]:
        """A renderer is there, and may not be set up yet."""
        if slot not in self._coming:
            return []
        self._homes[slot] = node_id
        self._waits.pop(slot, None)
        return [(SlotHere(slot, node, ages), None)]

    def _introduced(self, call: _Call, renderer: Introduction) -> Event:
        """A renderer is set up: it takes work, if it is one of ours and can do it."""
        self._coming.discard(call.slot)
        other = difference(self._code, renderer.code)
        if other:
            told: FarmError = WorkerLost(f"a renderer has {other}", where=renderer.node, hint=SAME_CODE)
            return SlotUnfit(call.slot, told, renderer.node)
        if renderer.unfit is not None:
            return SlotUnfit(call.slot, at_node(renderer.unfit, renderer.node), renderer.node)
        self._homes[call.slot] = renderer.node_id
        self._call(_Call(call.slot, call.epoch, "notice"), self._actors[call.slot].notice.remote())
        return SlotReady(call.slot, SLOTS_AN_ACTOR, renderer.node, renderer.kind)

    def _refusal(self, error: BaseException, call: _Call) -> list[Told]:
        if call.kind == "here":
            return []  # what ended it is told by the set-up, and better
        reason = lost_reason(error)
        if call.kind == "setup" and self._current(call) and (told := unfit(error)) is not None:
            address = address_in(error)
            node = self._fleet.at(address) if address else ""
            return [(SlotUnfit(call.slot, at_node(told, node), node), None)]
        if reason is not None or call.assign is None:
            if self._current(call):
                # The first call to fail tells of the death; the others of the same incarnation add nothing.
                self._epoch[call.slot] += 1
                return self._lost(call.slot, reason or str(as_farm_error(error)), error)
            return []
        told = as_farm_error(error)
        of_node = of_a_node(told)  # asked before the error gets another class
        if call.slot in self._homes and of_node:
            told = at_node(told, self._fleet.name(self._homes[call.slot]))
        return [(Failed(call.slot, call.assign.task, call.assign.attempt, told, of_node), None)]

    def _lost(self, slot: str, reason: str, error: BaseException) -> list[Told]:
        """Who is to blame is found out beside; where the node is not known yet, it is who Ray says."""
        if slot in self._doubted:
            return []
        home = self._homes.get(slot)
        if home is None:
            return [(SlotDied(slot, reason, blame=not node_died(error)), None)]
        self._doubted.add(slot)
        self._fleet.lost(slot, home, reason, doubt=in_doubt(error))
        return []
