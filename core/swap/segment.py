"""Render one segment: decode, replace faces in batches across frames, label, encode. Order and number are kept.

A frame in which nobody is replaced goes from decoder to encoder as it is, without a copy. OpenCV is loaded only when
there are faces to replace.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import PlanError
from core.media.copying import copy_order
from core.media.decode import DecodedFrame, decode_segment
from core.media.encode import SegmentEncoder
from core.media.planes import working_format
from core.records import Damage, FaceTable, MediaIndex, SegmentReceipt, WorkOrder
from core.swap.chain import RING, Chain, Clock
from core.swap.stages import left_out

if TYPE_CHECKING:
    from core.inference.sessions import Sessions
    from core.swap.replace import Replacer
    from core.swap.stages import OpenRole


def render_segment(
    *,
    source: Path,
    index: MediaIndex,
    order: WorkOrder,
    faces: FaceTable,
    roles: Sequence[OpenRole],
    output: Path,
    threads: int,
    heartbeat: Callable[[int], None],
    sessions: Sessions | None = None,
) -> SegmentReceipt:
    """Render the order's segment of the film at `source` into the file `output`, or copy it where the order says so.

    `faces` has at least the segment's rows, `role` >= 0 where a face is to be replaced; `roles` are the order's, open.
    `sessions`, where there are networks, says when fewer frames are to be held. `heartbeat` is called with the number
    of frames encoded. The receipt's `file`, `attempt` and `models` are for the caller to fill in. Damaged frames are
    rendered and listed; what they mean is the caller's decision. Raises `PlanError` where `faces` names a role that
    the order has not.
    """
    if order.copy:
        return copy_order(source, index, order, output, heartbeat)
    segment = order.segment
    clock = Clock()
    damage: list[Damage] = []
    replacer: Replacer | None = None
    chain: Chain | None = None
    if len(faces) and int(faces.role.max()) >= len(roles):
        raise PlanError(f"segment {segment.index}: its faces name role {faces.role.max()} of {len(roles)}")
    if roles and len(faces):
        from core.swap.replace import Replacer  # noqa: PLC0415 - loads OpenCV

        replacer = Replacer(index, working_format(index.video.pix_fmt), faces, roles)
        chain = Chain(replacer, clock, lambda: sessions.ring(RING) if sessions else RING)
    done = 0
    with SegmentEncoder(output, order.encoder, index, segment, threads) as encoder:
        decoded = decode_segment(source, index, segment, threads=threads)
        frames = _watched(decoded, clock, damage)
        for item in frames if chain is None else chain.through(frames):
            started = time.monotonic()
            encoder.write(item.frame, item.pts)
            clock.add("encode", started)
            done += 1
            heartbeat(done)
        started = time.monotonic()
        encoded = encoder.close()
        clock.add("encode", started)
    if chain is not None:
        clock.seconds.update(chain.seconds())
    if replacer is not None:
        replacer.skipped.update(left_out(roles))
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
        provider=", ".join(sorted({role.stages[0].model.provider for role in roles})) or "none",
        device=", ".join(sorted({role.stages[0].model.device for role in roles})) or "cpu",
        attempt=0,
        damage=tuple(damage),
        frames_replaced=replacer.frames_replaced if replacer else 0,
        faces_by_role=tuple(replacer.faces_by_role) if replacer else (0,) * len(roles),
    )


def _watched(frames: Iterator[DecodedFrame], clock: Clock, damage: list[Damage]) -> Iterator[DecodedFrame]:
    """The frames as they come; what decoding took goes to the clock, damaged ones are listed."""
    while True:
        started = time.monotonic()
        item = next(frames, None)
        clock.add("decode", started)
        if item is None:
            return
        if item.damage is not None:
            damage.append(Damage(item.ordinal, item.pts, item.damage))
        yield item
