"""What a job tells of itself while it runs, gathered for the table: states, progress, what it used, its segments.

The pool's and the driver's threads only write into memory here; the coordinator takes what is new a few times a second
and writes it down. What could not be written is told again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from actors.drive import Halt, Happening, Order, Watch
from core.errors import FarmError
from core.records import SegmentState as Letter
from core.records import WorkOrder
from core.records.status import STATES
from farm.cost.meter import Meter
from farm.cost.prices import Prices
from farm.cost.spending import Home
from farm.service.records import Event, Progress, SegmentRow, SegmentStage, SegmentState, Spent
from farm.service.states import JobState
from farm.watching.status import Status
from farm.watching.tally import Attempt, Began, Ended, Tally

STATE_OF = {
    "index": JobState.indexing,
    "plan": JobState.indexing,
    "source": JobState.analysing,
    "analyse": JobState.analysing,
    "cast": JobState.analysing,
    "scan": JobState.rendering,
    "render": JobState.rendering,
    "join": JobState.assembling,
    "verify": JobState.verifying,
    "publish": JobState.verifying,
    "quality": JobState.verifying,
}
"""Stage of the driver -> state of the job; stages that are not here change nothing."""

ROW_STATE: dict[Letter, SegmentState] = {
    "waiting": "waiting",
    "running": "working",
    "done": "done",
    "reused": "reused",
    "lost": "waiting",  # it is queued again
    "failed": "failed",
}
MOST_ROWS = 4000  # told at once; the rest follows
MOST_NOTES = 100


@dataclass(frozen=True)
class Told:
    """What is new. `marks` are the places whose segments are in it, with what was told of them."""

    states: tuple[JobState, ...]
    progress: Progress
    spent: Spent
    segments: tuple[SegmentRow, ...]
    events: tuple[Event, ...]
    marks: tuple[tuple[int, tuple[int, int, int]], ...]
    map_number: int
    notes: int


class Mirror:
    """A `Progress` of the driver. `stop` ends the job from any thread, at its next stage, event or map."""

    def __init__(self, target: str, output: str, prices: Prices, home: Home) -> None:
        self._lock = threading.Lock()
        self._status = Status(target, output)
        self._hear_status: Watch | None = None
        self._tally = Tally()
        self._prices = prices
        self._meter = Meter(prices.of, home, shared=True)
        self._error: FarmError | None = None
        self._finish = False
        self.at = ""  # the stage that runs, or ran last
        self._states: list[JobState] = []
        self._notes: list[str] = []
        self._map: SegmentStage = "analyse"
        self._map_number = 0
        self._fresh = False
        self._marks: dict[int, tuple[int, int, int]] = {}  # place -> letter, frames and attempt, as they were told
        self._last: dict[int, Attempt] = {}  # place -> its newest attempt
        self._offset_s = 0.0  # the pool's clock less ours

    def stop(self, error: FarmError, *, finish: bool = False) -> None:
        """End the job with `error`; with `finish`, segments that run are finished first."""
        with self._lock:
            self._error, self._finish = error, finish

    # ------------------------------------------------------------ what is heard

    def stage(self, name: str) -> None:
        self._status.stage(name)
        with self._lock:
            if self._error is not None:
                raise self._error
            self.at = name
            state = STATE_OF.get(name)
            if state is not None and state not in self._states[-1:]:
                self._states.append(state)

    def watch(self, orders: Sequence[Order], open_orders: Sequence[Order]) -> Watch:
        self._hear_status = self._status.watch(orders, open_orders)
        with self._lock:
            if self._error is not None:
                raise self._error
            self._tally.begin(orders, open_orders)
            self._map = "render" if any(isinstance(order, WorkOrder) for order in orders) else "analyse"
            self._map_number += 1
            self._fresh = True
            self._marks, self._last = {}, {}
        return self._hear

    def _hear(self, happening: Happening, at_s: float) -> None:
        if self._hear_status is not None:
            self._hear_status(happening, at_s)
        with self._lock:
            self._offset_s = at_s - time.monotonic()
            self._meter.hear(happening, at_s)
            for fact in self._tally.hear(happening, at_s):
                if isinstance(fact, Began | Ended):
                    known = self._last.get(fact.attempt.place)
                    if known is None or known.number <= fact.attempt.number:
                        self._last[fact.attempt.place] = fact.attempt
            if self._error is not None:
                raise Halt(self._error, finish=self._finish)

    def note(self, text: str) -> None:
        with self._lock:
            if len(self._notes) < MOST_NOTES:
                self._notes.append(text)

    def close(self) -> None:
        """Nothing is held."""

    # ------------------------------------------------------------ what is told

    def tell(self) -> Told:
        """What is new since the last `Told` that was `confirm`ed."""
        status = self._status.snapshot()
        with self._lock:
            tally = self._tally
            rows, changed, marks = self._changed()
            events = [Event("note", {"text": text}) for text in self._notes]
            if self._fresh:
                events.append(Event("segments", {"stage": self._map, "segments": len(tally.orders)}))
            if changed:
                events.append(Event("segments", {"stage": self._map, "changed": changed}))
            progress = Progress(
                stage=status.stage,
                frames_done=status.frames_done,
                frames_total=status.frames,
                segments_done=tally.count("done") + tally.count("reused"),
                segments_total=len(tally.orders),
                segments_running=len({attempt.place for attempt in tally.running.values()}),
                faces_done=status.faces,
                frames_per_s=status.frames_per_second,
                eta_low_s=status.eta_low_s,
                eta_high_s=status.eta_high_s,
            )
            return Told(
                states=tuple(self._states),
                progress=progress,
                spent=self._spent(),
                segments=tuple(rows),
                events=tuple(events),
                marks=tuple(marks),
                map_number=self._map_number,
                notes=len(self._notes),
            )

    def confirm(self, told: Told) -> None:
        """All of `told` is written down."""
        with self._lock:
            del self._states[: len(told.states)]
            del self._notes[: told.notes]
            if told.map_number == self._map_number:
                self._fresh = False
                self._marks.update(told.marks)

    def _changed(self) -> tuple[list[SegmentRow], list[list[object]], list[tuple[int, tuple[int, int, int]]]]:
        """Rows of segments that are not as they were told; of these those whose state is another; and marks."""
        frames: dict[int, int] = {}
        for one in self._tally.running.values():
            frames[one.place] = max(frames.get(one.place, 0), one.frames)
        rows: list[SegmentRow] = []
        changed: list[list[object]] = []
        marks: list[tuple[int, tuple[int, int, int]]] = []
        for place, letter in enumerate(self._tally.states):
            attempt = self._last.get(place)
            number = attempt.number if attempt is not None else 0
            mark = (letter, frames.get(place, 0), number)
            before = self._marks.get(place)
            if mark == before:
                continue
            if len(rows) >= MOST_ROWS:
                break
            row = self._row(place, mark, attempt)
            rows.append(row)
            marks.append((place, mark))
            known = STATES[chr(before[0])] if before is not None else "waiting"
            if row.state != ROW_STATE[known] or (before is not None and before[2] != number):
                changed.append([row.index, row.state, row.attempt])
        return rows, changed, marks

    def _row(self, place: int, mark: tuple[int, int, int], attempt: Attempt | None) -> SegmentRow:
        order = self._tally.orders[place]
        state = ROW_STATE[STATES[chr(mark[0])]]
        return SegmentRow(
            stage=self._map,
            index=order.segment.index,
            state=state,
            frames=order.segment.frames,
            frames_done=order.segment.frames if state in {"done", "reused"} else mark[1],
            faces=order.face_count if isinstance(order, WorkOrder) else 0,
            attempt=mark[2],
            slot=attempt.renderer.name if attempt is not None else "",
            node=attempt.renderer.node if attempt is not None else "",
        )

    def _spent(self) -> Spent:
        kinds = self._meter.kinds(time.monotonic() + self._offset_s)
        priced = [kind for kind in kinds if kind.per_hour is not None]
        money = sum(kind.total.money for kind in priced)
        return Spent(
            gpu_ms=round(1000 * sum(kind.total.gpu_s for kind in kinds)),
            core_ms=round(1000 * sum(kind.total.core_s for kind in kinds)),
            cost_micros=round(1e6 * money) if priced else None,
            currency=self._prices.currency if priced else "",
        )
