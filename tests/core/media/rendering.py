"""A whole identity render in one process: every frame through decode, encode and join, nothing done to it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

from core.errors import InputError
from core.media.containers import check_output, container_for
from core.media.decode import decode_segment
from core.media.encode import SegmentEncoder, resolve_encoder
from core.media.join import join_film
from core.media.plan import plan_segments
from core.records import EncoderSettings, EncodeSpec, MediaIndex, Segment

# Lossless by encoder: what a wish with crf 0 comes to, at the fastest preset each has.
LOSSLESS = (
    EncodeSpec(None, 0, "ultrafast"),
    EncodeSpec(None, 0, "8"),
    EncodeSpec("ffv1", None, None),
    EncodeSpec("h264", 0, "ultrafast"),
    EncodeSpec("hevc", 0, "ultrafast"),
    EncodeSpec("vp9", 0, "8"),
)
FAST = (EncodeSpec(None, None, "ultrafast"), EncodeSpec(None, None, "8"), EncodeSpec(None, None, None))


def settings(index: MediaIndex, container: str, specs: Iterable[EncodeSpec]) -> EncoderSettings | None:
    """The first of `specs` that suits the film and the container."""
    for spec in specs:
        try:
            return resolve_encoder(index, spec, container)
        except InputError:
            continue
    return None


def lossless(index: MediaIndex, output: Path) -> tuple[EncoderSettings, Path]:
    """Lossless settings for the film, in `output`'s container or, where that has none, in Matroska."""
    for path in (output, output.with_suffix(".mkv")):
        container = container_for(path, index)
        found = settings(index, container, LOSSLESS)
        if found is not None:
            check_output(index, found, container)
            return found, path
    raise AssertionError(f"nothing lossless for {output.name}")


def cut(index: MediaIndex, pieces: int) -> tuple[Segment, ...]:
    """About `pieces` runs of whole GOPs; 0 for one a keyframe."""
    span = (index.end_pts - int(index.pts[0])) * index.time_base
    return plan_segments(index, span / pieces if pieces else Fraction(0))


def encode(
    source: Path, index: MediaIndex, chosen: EncoderSettings, segments: Sequence[Segment], folder: Path
) -> list[tuple[Segment, Path]]:
    """Segment files of the unchanged frames; each with another number of threads."""
    pairs = []
    for segment in segments:
        path = folder / f"{segment.index:05}.seg"
        with SegmentEncoder(path, chosen, index, segment, threads=1 + segment.index % 2) as encoder:
            for frame in decode_segment(source, index, segment, threads=1):
                assert frame.damage is None
                encoder.write(frame.frame, frame.pts)
            encoder.close()
        pairs.append((segment, path))
    return pairs


def render(
    source: Path,
    index: MediaIndex,
    chosen: EncoderSettings,
    output: Path,
    *,
    pieces: int = 1,
    tags: dict[str, str] | None = None,
) -> None:
    """The film at `source` again, as `output`, in `pieces` segments."""
    folder = output.parent / f"{output.name}.{pieces}"
    folder.mkdir()
    pairs = encode(source, index, chosen, cut(index, pieces), folder)
    join_film(source, index, chosen, pairs, output, container_for(output, index), tags=tags)
