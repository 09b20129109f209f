"""Frames through the face stages, with batches across frames and people and a bounded number of frames held.

One ring holds the frames in order. Each frame goes through the stages at its own pace: once all of its faces are back
from a stage they are pasted, and the next stage's crops are cut out of the result. Faces of one frame may have other
models in the same stage. A frame leaves when it is the oldest and finished; where too many frames or faces are held
before that, the models which the oldest waits for run with what they have.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from core.media.decode import DecodedFrame
from core.media.planes import plane_views
from core.swap.batch import Batcher, FaceWork

if TYPE_CHECKING:
    from core.swap.replace import Replacer

RING = 8  # frames held while their faces wait for a full batch; bounds memory
FACES = 64  # faces held with them, beyond one frame's own: a crop of 512 px with its mask and result takes 7 MB


@dataclass
class Clock:
    """Seconds by stage."""

    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, stage: str, started: float) -> float:
        now = time.monotonic()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - started
        return now


@dataclass
class _Held:
    """A frame on its way, the number of the stage that its faces are in, and these faces; `stage` None: finished."""

    item: DecodedFrame
    stage: int | None = None
    works: list[FaceWork] = field(default_factory=list)


class Chain:
    """The models with their batches. Seconds of cutting are in the clock's "crop", of laying back in its "paste"."""

    def __init__(self, replacer: Replacer, clock: Clock, ring: Callable[[], int] = lambda: RING) -> None:
        """`ring` is asked at every frame how many may be held: fewer where memory has become short."""
        self._replacer = replacer
        stages = [stage for role in replacer.roles for stage in role.stages]
        self._batchers = {id(stage.model): Batcher(stage.model, stage.batch) for stage in stages}
        self._names = {id(stage.model): stage.name for stage in stages}
        self._clock = clock
        self._most = ring
        self._ring: deque[_Held] = deque()

    def through(self, frames: Iterator[DecodedFrame]) -> Iterator[DecodedFrame]:
        """The frames in order, with their faces changed. Fewer than `ring` says stay here between two calls."""
        for item in frames:
            self._enter(item)
            self._advance()
            yield from self._leaving(fewer_than=max(1, self._most()))
        yield from self._leaving(fewer_than=1)

    def seconds(self) -> dict[str, float]:
        """Seconds that the models of each stage took, by the stage's name."""
        seconds: dict[str, float] = {}
        for key, batcher in self._batchers.items():
            seconds[self._names[key]] = seconds.get(self._names[key], 0.0) + batcher.seconds
        return seconds

    def _leaving(self, fewer_than: int) -> Iterator[DecodedFrame]:
        """Frames that are finished, and as many more, oldest first, as it takes to hold fewer than so many, and not
        more than FACES of their faces."""
        while self._ring and (self._ring[0].stage is None or len(self._ring) >= fewer_than or self._crowded()):
            oldest = self._ring[0]
            if oldest.stage is None:
                yield self._ring.popleft().item
            else:
                for model in dict.fromkeys(id(work.stage.model) for work in oldest.works if not work.done):
                    self._batchers[model].flush()
                self._advance()

    def _crowded(self) -> bool:
        return sum(len(held.works) for held in self._ring) > FACES

    def _enter(self, item: DecodedFrame) -> None:
        held = _Held(item)
        self._ring.append(held)
        if rows := self._replacer.wanted(item.ordinal):
            self._start(held, 0, rows)
            if not held.works:  # none of them can be cut: the frame stays as it is
                held.stage = None

    def _advance(self) -> None:
        """Paste what is back, and send these frames into their next stage, as far as it goes."""
        for held in self._ring:
            while held.stage is not None and all(work.done for work in held.works):
                self._finish(held, held.stage)

    def _start(self, held: _Held, number: int, rows: Sequence[int]) -> None:
        started = time.monotonic()
        held.stage = number
        held.works = self._replacer.cut(plane_views(held.item.frame), rows, number)
        self._clock.add("crop", started)
        for work in held.works:
            self._batchers[id(work.stage.model)].add([work])

    def _finish(self, held: _Held, number: int) -> None:
        started = time.monotonic()
        works = held.works
        rows = self._replacer.going_on([work.row for work in works], number + 1)
        held.item.frame.make_writable()
        (self._replacer.paste if rows else self._replacer.finish)(plane_views(held.item.frame), works)
        self._clock.add("paste", started)
        held.works = []  # crops of large sides are what fills memory
        held.stage = None
        if rows:
            self._start(held, number + 1, rows)
