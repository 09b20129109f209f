"""Render one segment: decode, replace faces in batches across frames, label, encode. Order and number are kept.

A frame in which nobody is replaced goes from decoder to encoder as it is, without a copy. OpenCV is loaded only when
there are faces to replace.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import PlanError
from core.media.decode import DecodedFrame, decode_segment
from core.media.encode import SegmentEncoder
from core.media.planes import plane_views, working_format
from core.records import Damage, FaceTable, MediaIndex, SegmentReceipt, SourceIdentity, WorkOrder

if TYPE_CHECKING:
    from core.swap.batch import Batcher, FaceWork
    from core.swap.replace import Replacer
    from core.swap.swapper import Swapper

RING = 8  # frames held while their faces wait for a full batch; bounds memory


@dataclass
class _Held:
    """A frame on its way, with the faces that are being replaced in it."""

    item: DecodedFrame
    works: list[FaceWork] = field(default_factory=list)


@dataclass
class _Clock:
    """Seconds by stage."""

    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, stage: str, started: float) -> float:
        now = time.monotonic()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - started
        return now


def render_segment(
    *,
    source: Path,
    index: MediaIndex,
    order: WorkOrder,
    faces: FaceTable,
    identity: SourceIdentity | None,
    swapper: Swapper | None,
    output: Path,
    threads: int,
    heartbeat: Callable[[int], None],
) -> SegmentReceipt:
    """Render the order's segment of the film at `source` into the file `output`.

    `faces` has at least the segment's rows, `source` >= 0 where a face is to be replaced. `heartbeat` is called with
    the number of frames encoded. The receipt's `file` and `attempt` are for the caller to fill in. Damaged frames are
    rendered and listed; what they mean is the caller's decision.
    """
    segment = order.segment
    clock = _Clock()
    damage: list[Damage] = []
    replacer: Replacer | None = None
    batcher: Batcher | None = None
    if swapper is not None and len(faces):
        if identity is None:
            raise PlanError(f"segment {segment.index}: a swapper but no source face")
        from core.swap.batch import Batcher  # noqa: PLC0415 - loads OpenCV
        from core.swap.replace import Replacer  # noqa: PLC0415

        replacer = Replacer(index, working_format(index.video.pix_fmt), faces, swapper, identity)
        batcher = Batcher(swapper, identity)
    done = 0
    with SegmentEncoder(output, order.encoder, index, segment, threads) as encoder:
        frames = decode_segment(source, index, segment, on_damage=order.on_damage, threads=threads)
        for held in _replaced(frames, replacer, batcher, clock, damage):
            started = time.monotonic()
            encoder.write(held.frame, held.pts)
            clock.add("encode", started)
            done += 1
            heartbeat(done)
        started = time.monotonic()
        encoded = encoder.close()
        clock.add("encode", started)
    if batcher is not None:
        clock.seconds["swap"] = batcher.seconds
    return SegmentReceipt(
        order_id=order.id,
        segment=segment.index,
        file="",
        sha256=encoded.sha256,
        size_bytes=encoded.size_bytes,
        frames=encoded.frames,
        pts_first=int(index.pts[segment.first]),
        pts_last=int(index.pts[segment.end - 1]),
        faces_replaced=replacer.faces_replaced if replacer else 0,
        faces_skipped=dict(sorted(replacer.skipped.items())) if replacer else {},
        seconds=clock.seconds,
        provider=swapper.provider if swapper else "none",
        device=swapper.device if swapper else "cpu",
        attempt=0,
        damage=tuple(damage),
        frames_replaced=replacer.frames_replaced if replacer else 0,
    )


def _replaced(
    frames: Iterator[DecodedFrame],
    replacer: Replacer | None,
    batcher: Batcher | None,
    clock: _Clock,
    damage: list[Damage],
) -> Iterator[DecodedFrame]:
    """The frames in order, with their faces replaced. At most RING frames wait here."""
    ring: deque[_Held] = deque()
    while True:
        started = time.monotonic()
        item = next(frames, None)
        started = clock.add("decode", started)
        if item is not None:
            if item.damage is not None:
                damage.append(Damage(item.ordinal, item.pts, item.damage))
            held = _Held(item)
            if replacer is not None and batcher is not None and (rows := replacer.wanted(item.ordinal)):
                held.works = replacer.cut(plane_views(item.frame), rows)
                clock.add("crop", started)
                batcher.add(held.works)
            ring.append(held)
        if batcher is not None and (item is None or len(ring) >= RING):
            batcher.flush()
        while ring and all(work.done for work in ring[0].works):
            ready = ring.popleft()
            if ready.works and replacer is not None:
                started = time.monotonic()
                ready.item.frame.make_writable()
                replacer.finish(plane_views(ready.item.frame), ready.works)
                clock.add("paste", started)
            yield ready.item
        if item is None:
            return
