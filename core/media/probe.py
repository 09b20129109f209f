"""The first frames of a film: what they look like, and whether each packet gives the frame it promises."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import av.error

from core.errors import InputError
from core.media.guard import LIMITS, Claims, Limits, claims_of, film_stream, open_film
from core.media.inventory import has_captions, per_frame_notes

# Enough for the first GOP's leading frames (at most 16 in H.264 and HEVC) and a few field pairs.
PROBE_FRAMES = 24
PROBE_PACKETS = 600
PROGRESSIVE = 1  # AV_FIELD_PROGRESSIVE


@dataclass(frozen=True)
class Probe:
    """`frame` is the first one that decodes. `sent` and `shown` are the pts of packets given to the decoder, in
    decode order, and of frames that came out of it; `whole` says that the decoder was drained or is certain to
    have given every frame before `horizon`; `clean` that it raised no error. `frame_ticks` is the nominal frame
    duration in ticks, 0 where unknown. `broken` frames are marked as damaged by the decoder; `claims` is what the
    headers say."""

    frame: av.VideoFrame
    sent: tuple[int | None, ...]
    shown: tuple[int | None, ...]
    broken: frozenset[int]
    horizon: int | None
    clean: bool
    interlaced: bool
    frame_ticks: int
    notes: tuple[str, ...]
    captions: bool
    claims: Claims


def probe_first_frames(path: Path, limits: Limits = LIMITS) -> Probe:
    """Decode the first frames of `path` with one thread. `InputError` when none decodes."""
    sent: list[int | None] = []
    shown: list[int | None] = []
    broken: set[int] = set()
    key_pts: int | None = None
    first: av.VideoFrame | None = None
    clean = True
    notes: set[str] = set()
    captions = False
    ended = True
    with open_film(path, limits) as container:
        stream = film_stream(container)
        claims = claims_of(container, stream)
        context = stream.codec_context
        context.thread_count = 1
        context.options = {"max_pixels": str(limits.max_pixels)}
        rate = stream.average_rate or stream.guessed_rate
        ticks = round(1 / rate / stream.time_base) if rate and stream.time_base else 0
        packets = container.demux(stream)
        for _ in range(PROBE_PACKETS):
            try:
                packet = next(packets, None)
                if packet is None:
                    break
                if packet.size and not packet.is_discard:
                    sent.append(packet.pts)
                    if packet.is_keyframe and key_pts is None:
                        key_pts = packet.pts
                frames = packet.decode()
            except av.error.EOFError:
                break
            except av.error.FFmpegError:
                clean = False
                continue
            for frame in frames:
                first = first or frame
                if frame.is_corrupt and frame.pts is not None:
                    broken.add(frame.pts)
                    # Frames before the first keyframe lack their references in many whole films.
                    clean = clean and key_pts is not None and frame.pts < key_pts
                shown.append(frame.pts)
                notes.update(per_frame_notes(frame))
                captions = captions or has_captions(frame)
            if len(shown) >= PROBE_FRAMES:
                ended = False
                break
        name = context.name
        interlaced = int(context.field_order) > PROGRESSIVE or (first is not None and first.interlaced_frame)
    if first is None:
        raise InputError(
            f"no frame of it can be decoded (codec {name})",
            where=str(path),
            hint="the file is damaged, or this build lacks the decoder",
        )
    known = [pts for pts in shown if pts is not None]
    horizon = None if ended or not known else max(known)
    return Probe(
        first,
        tuple(sent),
        tuple(shown),
        frozenset(broken),
        horizon,
        clean,
        interlaced,
        int(Fraction(ticks)),
        tuple(sorted(notes)),
        captions,
        claims,
    )
