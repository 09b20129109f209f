"""A pool: one loop on a thread of its own, and any number of threads that have jobs done by it.

What a job's watch hears it hears in the thread that called `run`, in order; so a slow listener holds nobody up, and
what it raises (or a signal, in the main thread) ends that job alone.
"""

from __future__ import annotations

import queue
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path

from actors.dispatch import Keeper
from actors.drive import POLL_S, Batch, Halt, Happening, Patience, Terms, Transport, Watch, unexpected
from actors.loop import Job, Loop, deaf
from actors.work import JobStore, Order
from core.errors import FarmError, Interrupted, WorkerLost

# None: the last attempt has stopped.
_Word = tuple[Happening, float] | Batch | FarmError | None


class Pooled(ABC):
    """What the pools have in common. Whoever inherits it brings up a transport in `start` and hands it to `_begin`."""

    def __init__(self, *, quiet_s: float, slots_end: bool = True) -> None:
        """`quiet_s`: how long a job that has ended waits for attempts that have not. `slots_end`: a slot can be ended
        while the pool goes on, and with it what does not stop."""
        self._quiet_s = quiet_s
        self._slots_end = slots_end
        self._gate = threading.Lock()  # held for moments, never while anything is waited for
        self._commands: queue.SimpleQueue[Callable[[Loop | FarmError], None]] = queue.SimpleQueue()
        self._transport: Transport | None = None
        self._thread: threading.Thread | None = None
        self._over: FarmError | None = None  # why the loop has ended
        self._once = False
        self._closing = False

    @property
    def ended(self) -> FarmError | None:
        """Why the loop has ended; None while it runs, and before it began."""
        with self._gate:
            return self._over

    @property
    def session(self) -> Path | None:
        """The folder of logs and sockets of what this pool brought up, which it removes when it is closed."""
        return None

    def stay_ended(self) -> None:
        """From now on no loop follows one that has ended: `start` and `run` raise why it did."""
        with self._gate:
            self._once = True

    @abstractmethod
    def start(self) -> None:
        """Bring up what orders need. Again, it is nothing."""

    def run(
        self,
        orders: Sequence[Order],
        watch: Watch,
        *,
        store: JobStore,
        stop_on_damage: bool,
        terms: Terms = Terms(),  # noqa: B008 - frozen
    ) -> Batch:
        """Work off the `orders` of a job in `store`; with `stop_on_damage` by the damage rule of actors.dispatch.

        Returns when its last attempt has stopped, as far as that can be waited for. Whatever the watch raises, and a
        signal, stops what runs and goes on to the caller; a `Halt` is the batch's error.
        """
        self.start()
        inbox: queue.SimpleQueue[_Word] = queue.SimpleQueue()
        job = Job(
            orders,
            store,
            terms,
            hear=lambda happening, at_s: inbox.put((happening, at_s)),
            ended=inbox.put,
            quiet=lambda: inbox.put(None),
            stop_on_damage=stop_on_damage,
        )

        def begin(loop: Loop | FarmError) -> None:
            try:
                if isinstance(loop, FarmError):
                    raise loop
                loop.add(job)
            except FarmError as error:
                inbox.put(error)
                inbox.put(None)
            except BaseException as error:  # which ends the loop; it does not know this job yet
                inbox.put(unexpected(error))
                inbox.put(None)
                raise

        try:
            self._do(begin)
            batch = self._listen(job, inbox, watch)
        except BaseException:
            self._do(lambda loop: _stop(loop, job, Interrupted("stopped"), finish=False))
            self._wait(job, inbox)
            raise
        self._wait(job, inbox)
        return batch

    def stop(self, name: str, error: FarmError, *, finish: bool = False) -> None:
        """End the job of that name with `error`; with `finish`, what runs is finished first. From any thread."""

        def end(loop: Loop | FarmError) -> None:
            job = loop.named(name) if isinstance(loop, Loop) else None
            if job is not None:
                _stop(loop, job, error, finish=finish)

        self._do(end)

    def weigh(self, group: str, weight: float) -> None:
        """The open jobs of a group share by another weight from now on. From any thread."""
        self._do(lambda loop: loop.weigh(group, weight) if isinstance(loop, Loop) else None)

    def release(self) -> None:
        """Stop every job and end the loop; safe in any state, and twice."""
        with self._gate:
            self._closing = True
            thread, transport = self._thread, self._transport
        if thread is not None and transport is not None:
            transport.wake()
            thread.join(self._quiet_s + POLL_S)

    def close(self) -> None:
        """`release`, and end all that is left; safe in any state, and twice."""
        self.release()

    # ------------------------------------------------------------ the calling threads

    def _listen(self, job: Job, inbox: queue.SimpleQueue[_Word], watch: Watch) -> Batch:
        halted: Halt | None = None
        while True:
            word = inbox.get()
            match word:
                case None:
                    continue
                case Batch():
                    return word
                case FarmError():
                    raise word
            try:
                watch(*word)
            except Halt as halt:
                if halted is None or (halted.finish and not halt.finish):
                    halted = halt
                    self._do(lambda loop, halt=halt: _halt(loop, job, halt))  # type: ignore[misc]

    def _wait(self, job: Job, inbox: queue.SimpleQueue[_Word]) -> None:
        """Until the last attempt has stopped, or `quiet_s` have passed; then its slots are given up."""
        until_s = time.monotonic() + self._quiet_s
        try:
            while inbox.get(timeout=max(0.0, until_s - time.monotonic())) is not None:
                pass
        except queue.Empty:
            if self._slots_end:
                self._do(lambda loop: loop.abandon(job) if isinstance(loop, Loop) else None)

    def _do(self, command: Callable[[Loop | FarmError], None]) -> None:
        """Let the loop's thread do something; where that has ended, it is done here with the reason of its end."""
        with self._gate:
            over = self._over
            if over is None:
                self._commands.put(command)
                if self._transport is not None:
                    self._transport.wake()
        if over is not None:
            command(over)

    # ------------------------------------------------------------ the loop's thread

    def _begin(
        self,
        transport: Transport,
        slots: Sequence[str],
        patience: Patience,
        *,
        idle_s: float = float("inf"),
        keeper: Keeper | None = None,
        ready: Callable[[], None] = deaf,
    ) -> None:
        """Start the loop; `ready` is called for each slot that is set up, and when the loop has ended."""

        def main() -> None:
            loop: Loop | None = None
            try:
                loop = Loop(transport, slots, patience, idle_s=idle_s, keeper=keeper, ready=ready)
                self._drive(loop)
                why: FarmError = Interrupted("the pool was closed")
            except FarmError as error:
                why = error
            except BaseException as error:  # a thread has no caller: whatever ends it must reach those who wait
                why = unexpected(error)
                why.__cause__ = error
            self._end(loop, why)
            ready()

        with self._gate:
            if self._closing:
                raise Interrupted("the pool was closed")
            self._over = None
            self._transport = transport
            # Daemon: a loop that is deep in a library must not keep an interrupted program alive.
            self._thread = threading.Thread(target=main, name="farm pool", daemon=True)
            self._thread.start()

    def _drive(self, loop: Loop) -> None:
        until_s = float("inf")
        while True:
            while not self._commands.empty():
                self._commands.get()(loop)
            if self._closing:
                if until_s == float("inf"):
                    until_s = time.monotonic() + self._quiet_s
                    loop.stop_all(Interrupted("the pool was closed"))
                if loop.quiet or time.monotonic() >= until_s:
                    return
            loop.step(POLL_S)

    def _end(self, loop: Loop | None, why: FarmError) -> None:
        """Nobody waits for a loop that has ended."""
        with self._gate:
            self._over = why
        if loop is not None:
            loop.end_all(why)
        while not self._commands.empty():
            self._commands.get()(why)

    def _check_open(self) -> bool:
        """Whether a loop runs. `Interrupted` where the pool was closed; where it may not begin again, why it ended."""
        with self._gate:
            if self._closing:
                raise Interrupted("the pool was closed")
            if self._once and self._over is not None:
                raise self._over
            return self._thread is not None and self._over is None

    @property
    def _why(self) -> FarmError:
        return self._over or WorkerLost("the pool has ended")


def _stop(loop: Loop | FarmError, job: Job, error: FarmError, *, finish: bool) -> None:
    if isinstance(loop, Loop):
        loop.stop(job, error, finish=finish)


def _halt(loop: Loop | FarmError, job: Job, halt: Halt) -> None:
    if isinstance(loop, Loop):
        loop.stop(job, halt.error, finish=halt.finish, waiting=halt.waiting)
