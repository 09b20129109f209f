"""The pool in one process, without Ray: one slot whose work runs on threads. Same surface, same output."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence

from actors.dispatch import Assign, Beat, Busy, Done, Event, Failed, SlotReady
from actors.drive import Batch, Order, Patience, Receipt, Watch, Works, drive, unexpected
from actors.worker import Worker, WorkerSettings
from core.errors import FarmError, Interrupted, PlanError

SLOT = "local"
# Nothing can end a thread that hangs, and no renderer has to come up: patience has no use here.
FOREVER_S = float("inf")
STOP_S = 20.0


class LocalPool:
    """Runs orders on `parallel` threads of this process; close it to stop what runs."""

    def __init__(
        self, settings: WorkerSettings, *, parallel: int, make: Callable[[WorkerSettings], Works] = Worker
    ) -> None:
        self.workers = 1
        self._worker = make(settings)
        self._parallel = parallel
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Nothing to bring up."""

    def run(self, orders: Sequence[Order], watch: Watch, *, stop_on_damage: bool) -> Batch:
        """Work off `orders`; with `stop_on_damage` by the damage rule of actors.dispatch."""
        transport = _Threads(self._worker, self._parallel, self._stop, self._threads, stop_on_damage)
        return drive(transport, [SLOT], orders, Patience(FOREVER_S, FOREVER_S), watch)

    def close(self) -> None:
        """Stop running work at its next sign of life, and wait for it so that it can clean up behind itself."""
        self._stop.set()
        for thread in self._threads:
            thread.join(STOP_S)


class _Threads:
    """One thread an attempt; results come back through a queue."""

    def __init__(
        self,
        worker: Works,
        parallel: int,
        stop: threading.Event,
        threads: list[threading.Thread],
        stop_on_damage: bool,
    ) -> None:
        self._worker = worker
        self._parallel = parallel
        self._stop = stop
        self._threads = threads
        self._stop_on_damage = stop_on_damage
        self._words = ""
        self._cancelled: set[tuple[str, int]] = set()
        self._events: queue.SimpleQueue[tuple[Event, Receipt | None]] = queue.SimpleQueue()

    def start(self, slot: str) -> None:
        self._worker.setup()
        self._events.put((SlotReady(slot, self._parallel), None))

    def submit(self, assign: Assign, order: Order) -> None:
        # Daemon: a thread that is deep in a library must not keep an interrupted program alive.
        thread = threading.Thread(target=self._attempt, args=(assign, order), daemon=True)
        self._threads[:] = [*(t for t in self._threads if t.is_alive()), thread]
        thread.start()

    def _attempt(self, assign: Assign, order: Order) -> None:
        def heartbeat(frames: int) -> None:
            if self._stop.is_set() or (assign.task, assign.attempt) in self._cancelled:
                raise Interrupted("stopped")
            self._events.put((Beat(assign.slot, assign.task, assign.attempt, frames), None))

        try:
            receipt = self._worker.work(order, assign.attempt, heartbeat)
        except FarmError as error:
            self._events.put((Failed(assign.slot, assign.task, assign.attempt, error), None))
        except BaseException as error:  # a thread has no caller: whatever ends it must reach the driver
            told = unexpected(error)
            told.__cause__ = error
            self._events.put((Failed(assign.slot, assign.task, assign.attempt, told), None))
        else:
            damaged = self._stop_on_damage and bool(receipt.damage)
            self._events.put((Done(assign.slot, assign.task, assign.attempt, damaged), receipt))

    def poll(self, timeout_s: float) -> list[tuple[Event, Receipt | None]]:
        events: list[tuple[Event, Receipt | None]] = []
        if self._worker.words != self._words:
            self._words = self._worker.words
            events.append((Busy(SLOT, self._words), None))
        try:
            events.append(self._events.get(timeout=timeout_s))
            while True:
                events.append(self._events.get_nowait())
        except queue.Empty:
            return events

    def cancel(self, _slot: str, task: str, attempt: int) -> None:
        self._cancelled.add((task, attempt))

    def restart(self, slot: str) -> None:
        raise PlanError(f"{slot}: a thread of this process cannot die alone")

    def kill(self, slot: str) -> None:
        raise PlanError(f"{slot}: a thread of this process cannot be killed")

    def retire(self, slot: str) -> None:
        raise PlanError(f"{slot}: a thread of this process cannot be retired")
