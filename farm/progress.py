"""How far a job is, on stderr: one refreshed line on a terminal, else a line every few seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TextIO

from actors.dispatch import Beat, Busy, Done, NodeGone, NodeLeaves, Quarantine, Shun, SlotDied, SlotReady
from actors.drive import Happening, Order, Watch
from core.records import WorkOrder

REFRESH_S = 0.2
LINE_S = 5.0


def duration_text(seconds: float) -> str:
    """Seconds as 1:02:03 or 2:03."""
    whole = max(0, round(seconds))
    hours, rest = divmod(whole, 3600)
    minutes, rest = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class StderrProgress:
    """Writes to `stream`; `clock` gives monotonic seconds."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._tty = stream.isatty()
        self._width = 0
        self._stage = ""
        self._shown_s = -LINE_S
        self.told: set[str] = set()  # notes, as given

    def stage(self, name: str) -> None:
        self._stage = name
        if self._tty:
            self._write(name)

    def watch(self, orders: Sequence[Order], open_orders: Sequence[Order]) -> Watch:
        return _Map(self, orders, open_orders, self._clock).event

    def note(self, text: str) -> None:
        self.told.add(text)
        self.close()
        self._stream.write(f"farm: {text}\n")
        self._stream.flush()

    def close(self) -> None:
        """Clear the refreshed line."""
        if self._tty and self._width:
            self._stream.write("\r" + " " * self._width + "\r")
            self._stream.flush()
            self._width = 0

    def show(self, text: Callable[[], str], *, force: bool = False) -> None:
        """Show a line if the last one is old enough."""
        now_s = self._clock()
        if force or now_s - self._shown_s >= (REFRESH_S if self._tty else LINE_S):
            self._shown_s = now_s
            self._write(f"{self._stage}: {text()}")

    def _write(self, text: str) -> None:
        if self._tty:
            self._stream.write("\r" + text.ljust(self._width))
            self._width = len(text)
        else:
            self._stream.write(text + "\n")
        self._stream.flush()


class _Map:
    """Counts of one map over segments."""

    def __init__(
        self,
        progress: StderrProgress,
        orders: Sequence[Order],
        open_orders: Sequence[Order],
        clock: Callable[[], float],
    ) -> None:
        self._progress = progress
        self._clock = clock
        self._started_s = clock()
        self._orders = {order.id: order for order in open_orders}
        self._segments = len(orders)
        self._frames = sum(order.segment.frames for order in orders)
        self._reused_frames = self._frames - sum(order.segment.frames for order in open_orders)
        self._reused = len(orders) - len(open_orders)
        self._done: set[str] = set()
        self._partial: dict[str, int] = {}
        self._lost = 0
        self._up: set[str] = set()

    def event(self, event: Happening, at_s: float) -> None:
        match event:
            case Beat():
                if event.task not in self._done:
                    self._partial[event.task] = event.frames
            case Busy():
                self._progress.show(lambda: event.words)
                return
            case Done():
                self._done.add(event.task)
                self._partial.pop(event.task, None)
            case SlotDied():
                self._lost += 1
                self._progress.note(f"{event.slot} lost ({event.reason}): its segments are queued again")
            case NodeGone():
                self._progress.note(f"node {event.node} is gone: its segments are queued again")
            case NodeLeaves():
                left = duration_text(event.by_s - at_s)
                self._progress.note(f"node {event.node} is taken away in {left}: it gets nothing new")
            case SlotReady():
                self._up.add(event.slot)
            case Quarantine():
                self._up.discard(event.slot)
                if self._up:  # where none is left, the job ends with the reason, or the node is told
                    self._progress.note(f"{event.slot} is taken out of service: {event.reason}")
            case Shun():
                if not self._up:
                    self._progress.note(f"another node is waited for, because of {event.reason}")
        everything = len(self._done) == len(self._orders)
        self._progress.show(self._text, force=everything and isinstance(event, Done))

    def _text(self) -> str:
        done = [self._orders[task] for task in self._done if task in self._orders]
        here = sum(order.segment.frames for order in done) + sum(self._partial.values())
        frames = self._reused_frames + here
        seconds = max(self._clock() - self._started_s, 1e-6)
        speed = here / seconds
        renders = any(isinstance(order, WorkOrder) for order in self._orders.values())
        faces = sum(order.face_count for order in done if isinstance(order, WorkOrder))
        replaced = f"{faces} faces, " if renders else ""
        left = duration_text((self._frames - frames) / speed) if speed > 0 else "-"
        return (
            f"{100 * frames // max(self._frames, 1)} %, {frames}/{self._frames} frames, {speed:.1f} frames/s, "
            f"{replaced}{self._reused + len(self._done)}/{self._segments} segments, ETA {left}"
        )
