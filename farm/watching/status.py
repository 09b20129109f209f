"""status.json: how far a job is, told in the job's store every two seconds while it runs and once at its end.

It is no content: nothing depends on it, a resumed run writes it anew, and a finished job takes it away with the rest
of its state. A write that fails is let go; who watches sees that nothing was heard.
"""

from __future__ import annotations

import math
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import TracebackType

from actors.dispatch import Decision, Event
from actors.drive import Order, Watch
from core import codec
from core.errors import BudgetSpent, FarmError, Interrupted
from core.records import LETTERS, FileStamp, JobState, JobStatus
from farm.artifacts import Store
from farm.watching.jsonlog import utc_text
from farm.watching.pace import Pace
from farm.watching.tally import Tally, map_of

EVERY_S = 2.0
WRITING_SHARE = 0.05  # of the time at most: a write that takes long is done less often
MOST_WORKING = 256
MOST_NOTES = 20
Spent = Callable[[], tuple[float, str] | None]  # money of this run by now and its currency, None where none is known


@dataclass(frozen=True)
class Clocks:
    """`seconds` does not go back; `now` is for people."""

    seconds: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = lambda: datetime.now(UTC)


class Status:
    """A `Progress` that knows how far the job is: `snapshot` says it, from any thread."""

    def __init__(
        self,
        target: str,
        output: str,
        *,
        job: str = "",
        run: str = "",
        before: FileStamp | None = None,
        spent: Spent | None = None,
        clocks: Clocks | None = None,
    ) -> None:
        """`run` is the name of the store's holder, by default one of its own; `before` what is at `output` now."""
        self._clocks = clocks = clocks or Clocks()
        self._began_s = clocks.seconds()
        self._lock = threading.Lock()
        self._tally = Tally()
        self._pace: Pace | None = None
        self._mapping = False
        self._offset_s = 0.0  # the pool's clock less ours
        self._notes: deque[str] = deque(maxlen=MOST_NOTES)
        self._spent = spent
        began = utc_text(clocks.now())
        self._last = JobStatus(
            run=run or secrets.token_hex(8),
            job=job,
            target=target,
            output=output,
            state="running",
            stage="",
            sequence=0,
            started=began,
            updated=began,
            seconds=0.0,
            every_s=EVERY_S,
            before=before,
        )

    # ------------------------------------------------------------ what is heard

    def stage(self, name: str) -> None:
        with self._lock:
            self._last = replace(self._last, stage=name)
            self._mapping = False

    def watch(self, orders: Sequence[Order], open_orders: Sequence[Order]) -> Watch:
        with self._lock:
            self._tally.begin(orders, open_orders)
            self._pace = None
            self._mapping = True
            self._last = replace(self._last, map=map_of(orders[0]) if orders else "")
        return self._hear

    def _hear(self, happening: Event | Decision, at_s: float) -> None:
        with self._lock:
            self._offset_s = at_s - self._clocks.seconds()
            self._tally.hear(happening, at_s)
            if self._pace is None and self._tally.running:
                self._pace = Pace(at_s)

    def note(self, text: str) -> None:
        with self._lock:
            self._notes.append(text)

    def close(self) -> None:
        """Nothing is held."""

    # ------------------------------------------------------------ what is told

    def snapshot(self, every_s: float = EVERY_S) -> JobStatus:
        """How far the job is now; each is one later than the last."""
        spent = self._spent() if self._spent is not None else None
        with self._lock:
            tally, now_s = self._tally, self._clocks.seconds()
            pool_s = now_s + self._offset_s
            frames, cost = tally.through()
            busy = tally.busy()
            low_s, high_s, speed = self._speed(pool_s, frames, cost, len(busy))
            began_s = self._began_s + self._offset_s
            working = tuple(
                replace(one, since_s=round(one.since_s - began_s, 3)) for one in tally.working(MOST_WORKING)
            )
            self._last = replace(
                self._last,
                sequence=self._last.sequence + 1,
                updated=utc_text(self._clocks.now()),
                seconds=round(now_s - self._began_s, 3),
                every_s=every_s,
                grid=tally.states.decode("ascii"),
                working=working,
                working_total=len(tally.running),
                frames=tally.frames,
                frames_done=frames,
                frames_per_second=round(speed, 3),
                faces=tally.faces_done,
                eta_low_s=low_s,
                eta_high_s=high_s,
                retries=dict(sorted(tally.retries.items())),
                slots=sum(renderer.up for renderer in tally.renderers.values()),
                busy=len(busy),
                cost=None if spent is None else round(spent[0], 6),
                currency="" if spent is None else spent[1],
                words=tally.words,
                notes=tuple(self._notes),
            )
            return self._last

    def _speed(self, pool_s: float, frames: int, cost: float, busy: int) -> tuple[float | None, float | None, float]:
        """Seconds left at least and at most, and frames a second of this run's map."""
        pace, tally = self._pace, self._tally
        if pace is None:
            return None, None, 0.0
        if not self._mapping:
            return None, None, self._last.frames_per_second
        pace.note(pool_s, cost)
        left = pace.left_s(pool_s, cost, tally.cost - cost, busy=busy, longest=tally.longest())
        here = frames - tally.frames_reused
        speed = here / max(pool_s - pace.began_s, 1e-6) if here else 0.0
        if left is None:
            return None, None, speed
        return math.floor(left[0]), math.ceil(left[1]), speed

    def end(self, error: BaseException | None) -> JobStatus:
        """The last word: what became of the run. Nothing works on it any more."""
        state, told, code = outcome(error)
        with self._lock:
            self._last = replace(self._last, state=state, error=told, exit_code=code)
        last = self.snapshot()
        return replace(
            last,
            grid=last.grid.replace(LETTERS["running"], LETTERS["waiting"]),
            working=(),
            working_total=0,
            eta_low_s=None,
            eta_high_s=None,
            slots=0,
            busy=0,
            words="",
        )


def outcome(error: BaseException | None) -> tuple[JobState, str, int]:
    """State, words and exit code of a run that ended with `error`."""
    if error is None:
        return "finished", "", 0
    if isinstance(error, FarmError):
        return "stopped" if isinstance(error, Interrupted | BudgetSpent) else "failed", str(error), error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return "stopped", "stopped by a signal; run the same command again to resume", Interrupted.exit_code
    return "failed", f"{type(error).__name__}: {' '.join(str(error).split())}", FarmError.exit_code


class StatusFile:
    """Writes a `Status` into `store`, on a thread of its own, while it is entered; the last word at its end."""

    def __init__(self, store: Store, status: Status, *, every_s: float = EVERY_S) -> None:
        self._store, self._status = store, status
        self._every_s = every_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._tell, name="status file", daemon=True)

    def __enter__(self) -> StatusFile:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del kind, trace
        self._over.set()
        self._thread.join()
        self._write(self._status.end(error))

    def _tell(self) -> None:
        wait_s = self._every_s
        while True:
            began = time.monotonic()
            self._write(self._status.snapshot(wait_s))
            wait_s = max(self._every_s, (time.monotonic() - began) / WRITING_SHARE)
            if self._over.wait(wait_s):
                return

    def _write(self, status: JobStatus) -> None:
        try:
            self._store.replace(self._store.status_name, codec.encode(status))
        except FarmError:
            return
