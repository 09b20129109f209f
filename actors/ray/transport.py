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

from actors.deaths import as_farm_error, lost_reason
from actors.dispatch import Assign, Beat, Busy, Done, Event, Failed, SlotDied, SlotReady
from actors.ray.joining import cloudpickle, ray
from actors.ray.renderer import SLOTS_AN_ACTOR
from actors.work import JobStore, Order, Receipt

BEAT_S = 1.0
STORES_PICKLED = 64
Told = tuple[Event, Receipt | None]


@dataclass(frozen=True, eq=False)
class _Call:
    """A call under way: which incarnation of which slot it went to, and for which attempt if it is work."""

    slot: str
    epoch: int
    kind: str  # setup | work | progress
    assign: Assign | None = None


class RayTransport:
    """Renderers as slots. `new_actor` makes one, `node_of` gives a node's name and kind by its id in Ray."""

    def __init__(self, new_actor: Callable[[], Any], node_of: Callable[[str], tuple[str, str]]) -> None:
        self._new_actor = new_actor
        self._node_of = node_of
        self._actors: dict[str, Any] = {}
        self._calls: dict[_Call, None] = {}
        self._epoch: dict[str, int] = {}
        self._asked_s = 0.0
        self._stores: dict[int, tuple[JobStore, bytes]] = {}  # pickled, by identity, those of the last jobs
        self._answers: queue.SimpleQueue[tuple[_Call, Future[Any]] | None] = queue.SimpleQueue()

    # ------------------------------------------------------------ decisions

    def start(self, slot: str) -> None:
        self._epoch[slot] = self._epoch.get(slot, 0) + 1
        if slot not in self._actors:
            self._actors[slot] = self._new_actor()
        self._call(_Call(slot, self._epoch[slot], "setup"), self._actors[slot].setup.remote())

    def submit(self, assign: Assign, order: Order, store: JobStore) -> None:
        reference = self._actors[assign.slot].work.remote(assign.task, assign.attempt, order, self._pickled(store))
        self._call(_Call(assign.slot, self._epoch[assign.slot], "work", assign), reference)

    def cancel(self, slot: str, task: str, attempt: int) -> None:
        """Nobody waits for the answer: when the renderer is gone, so is the attempt."""
        if slot in self._actors:
            self._actors[slot].cancel.remote(task, attempt)

    def restart(self, slot: str) -> None:
        self._end(slot)
        self.start(slot)

    def retire(self, slot: str) -> None:
        self._end(slot)

    def kill(self, slot: str) -> None:
        """End a slot that hangs; its calls then fail, which is how its death is noticed."""
        if slot in self._actors:
            ray.kill(self._actors[slot])

    def end(self) -> None:
        """End all renderers. From any thread, once nobody polls any more."""
        for slot in list(self._actors):
            self._end(slot)

    def _end(self, slot: str) -> None:
        actor = self._actors.pop(slot, None)
        if actor is not None:
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
        self._ask()
        events: list[Told] = []
        try:
            heard = self._answers.get(timeout=timeout_s)
            while True:
                if heard is not None:
                    call, answer = heard
                    del self._calls[call]
                    events += self._answer(call, answer)
                heard = self._answers.get_nowait()
        except queue.Empty:
            return events

    def wake(self) -> None:
        self._answers.put(None)

    def _ask(self) -> None:
        """Ask every slot that works how far it is, one question at a time."""
        now_s = time.monotonic()
        if now_s - self._asked_s < BEAT_S:
            return
        self._asked_s = now_s
        waiting = {call.slot for call in self._calls if call.kind == "progress"}
        working = {call.slot for call in self._calls if call.kind == "work" and self._current(call)}
        for slot in working - waiting:
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
        if call.kind == "setup":
            return [(SlotReady(call.slot, SLOTS_AN_ACTOR, *self._node_of(value.node)), None)]
        frames, words = value
        beats: list[Event] = [Beat(call.slot, task, attempt, count) for (task, attempt), count in frames.items()]
        return [(event, None) for event in (*beats, *([Busy(call.slot, words)] if words else []))]

    def _refusal(self, error: BaseException, call: _Call) -> list[Told]:
        reason = lost_reason(error)
        if reason is not None:
            if not self._current(call):
                return []
            # The first call to fail tells of the death; the others of the same incarnation add nothing.
            self._epoch[call.slot] += 1
            return [(SlotDied(call.slot, reason), None)]
        told = as_farm_error(error)
        if call.assign is None:
            raise told from error
        return [(Failed(call.slot, call.assign.task, call.assign.attempt, told), None)]
