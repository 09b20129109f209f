"""The pool in one process, without Ray: one slot whose work runs on threads. Same surface, same output."""

from __future__ import annotations

import platform
import queue
import threading
from collections.abc import Callable

from actors.dispatch import Assign, Beat, Busy, Done, Event, Failed, NodeDecision, SlotReady
from actors.drive import Patience, unexpected
from actors.machine import machine_kind
from actors.pooled import Pooled
from actors.work import JobStore, Order, Receipt, Works
from actors.worker import Worker, WorkerSettings
from core.errors import FarmError, Interrupted, PlanError

SLOT = "local"
# Nothing can end a thread that hangs, and no renderer has to come up: patience has no use here.
FOREVER_S = float("inf")
STOP_S = 20.0


class LocalPool(Pooled):
    """Runs orders on `parallel` threads of this process; close it to stop what runs."""

    def __init__(
        self, settings: WorkerSettings, *, parallel: int, make: Callable[[WorkerSettings], Works] = Worker
    ) -> None:
        super().__init__(quiet_s=STOP_S, slots_end=False)
        self.workers = 1
        self._worker = make(settings)
        self._kind = machine_kind(settings.device)
        self._parallel = parallel
        self._begun = threading.Lock()

    def start(self) -> None:
        """Begin to listen for jobs; there is nothing to bring up."""
        with self._begun:
            if not self._check_open():
                transport = _Threads(self._worker, self._parallel, self._kind)
                self._begin(transport, [SLOT], Patience(FOREVER_S, FOREVER_S))


class _Threads:
    """One thread an attempt; results come back through a queue."""

    def __init__(self, worker: Works, parallel: int, kind: str) -> None:
        self._worker = worker
        self._parallel = parallel
        self._kind = kind
        self._words = ""
        self._running: set[tuple[str, int]] = set()
        self._cancelled: set[tuple[str, int]] = set()
        self._events: queue.SimpleQueue[tuple[Event, Receipt | None] | None] = queue.SimpleQueue()

    def start(self, slot: str) -> None:
        self._worker.setup()
        self._events.put((SlotReady(slot, self._parallel, platform.node(), self._kind), None))

    def submit(self, assign: Assign, order: Order, store: JobStore) -> None:
        self._running.add((assign.task, assign.attempt))
        # Daemon: a thread that is deep in a library must not keep an interrupted program alive.
        threading.Thread(target=self._attempt, args=(assign, order, store), daemon=True).start()

    def _attempt(self, assign: Assign, order: Order, store: JobStore) -> None:
        key = (assign.task, assign.attempt)

        def heartbeat(frames: int) -> None:
            if key in self._cancelled:
                raise Interrupted("stopped")
            self._events.put((Beat(assign.slot, assign.task, assign.attempt, frames), None))

        event: Event
        receipt: Receipt | None = None
        try:
            receipt = self._worker.work(order, assign.attempt, heartbeat, store)
            event = Done(assign.slot, assign.task, assign.attempt)
        except FarmError as error:
            event = Failed(assign.slot, assign.task, assign.attempt, error)
        except BaseException as error:  # a thread has no caller: whatever ends it must reach the driver
            told = unexpected(error)
            told.__cause__ = error
            event = Failed(assign.slot, assign.task, assign.attempt, told)
        self._running.discard(key)
        self._cancelled.discard(key)
        self._events.put((event, receipt))

    def poll(self, timeout_s: float) -> list[tuple[Event, Receipt | None]]:
        events: list[tuple[Event, Receipt | None]] = []
        if self._worker.words != self._words:
            self._words = self._worker.words
            events.append((Busy(SLOT, self._words), None))
        try:
            heard = self._events.get(timeout=timeout_s)
            while True:
                if heard is not None:
                    events.append(heard)
                heard = self._events.get_nowait()
        except queue.Empty:
            return events

    def wake(self) -> None:
        self._events.put(None)

    def cancel(self, _slot: str, task: str, attempt: int) -> None:
        if (task, attempt) in self._running:
            self._cancelled.add((task, attempt))

    def restart(self, slot: str) -> None:
        raise PlanError(f"{slot}: a thread of this process cannot die alone")

    def kill(self, slot: str) -> None:
        """Nothing ends a thread: one that does not look up any more ends with the process."""

    def retire(self, slot: str) -> None:
        raise PlanError(f"{slot}: a thread of this process cannot be retired")

    def regard(self, decision: NodeDecision) -> None:
        """There is one node."""

    @property
    def report(self) -> str:
        return ""
