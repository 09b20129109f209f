"""`farm probe`: what a film is, as the farm sees it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from core import codec
from core.records import MediaIndex
from farm.cli.out import put
from farm.paths import place, usable_path

DEFAULT_SEGMENT_S = Fraction(10)


def facts(index: MediaIndex, path: Path) -> dict[str, Any]:
    """The index without its tables. Times are in ticks of `time_base` unless the name says `_s`."""
    from core.media.plan import plan_segments  # noqa: PLC0415

    steps = np.diff(index.pts)
    return {
        "path": str(path),
        "sha256": index.sha256,
        "size_bytes": index.size_bytes,
        "format": index.format,
        "indexed_by": index.indexed_by,
        "frames": index.frames,
        "keyframes": int(np.count_nonzero(index.key)),
        "segments": len(plan_segments(index, DEFAULT_SEGMENT_S)),
        "time_base": index.time_base,
        "pts_first": int(index.pts[0]),
        "pts_end": index.end_pts,
        "duration_s": float((index.end_pts - int(index.pts[0])) * index.time_base),
        "variable_rate": len(steps) > 0 and int(steps.max()) != int(steps.min()),
        "step_min": int(steps.min()) if len(steps) else 0,
        "step_max": int(steps.max()) if len(steps) else 0,
        "video": index.video,
        "streams": index.streams,
        "chapters": index.chapters,
        "tags": index.tags,
        "damage": index.damage,
        "missing_s": float(index.missing_s),
        "notes": index.notes,
    }


def lines(index: MediaIndex, path: Path) -> list[str]:
    """The same for a person."""
    seen = facts(index, path)
    video, colour = index.video, index.video.colour
    rate = "variable" if seen["variable_rate"] else "constant"
    out = [
        f"{path}: {index.format}, {index.size_bytes} bytes, sha256 {index.sha256}",
        f"  film      {video.codec} {video.width}x{video.height} {video.pix_fmt}, {index.frames} frames, "
        f"{seen['keyframes']} keyframes, {seen['duration_s']:.3f} s, {rate} rate ({float(video.frame_rate):.3f}/s)",
        f"  time      base {index.time_base}, first pts {seen['pts_first']}, end {seen['pts_end']}, "
        f"indexed by {index.indexed_by}",
        f"  picture   pixel aspect {video.sample_aspect_ratio or 'unknown'}, rotation {video.rotation}, "
        f"field order {video.field_order}, primaries {colour.primaries}, transfer {colour.transfer}, "
        f"matrix {colour.matrix}, range {colour.range}, HDR {'yes' if video.mastering else 'no'}",
    ]
    for stream in index.streams:
        language = stream.tags.get("language", "")
        what = " ".join(part for part in (stream.kind, stream.codec, language) if part)
        cover = ", cover art" if stream.attached_pic else ""
        out.append(f"  stream {stream.index:<2} {what}, {stream.packets} packets{cover}")
    out += [
        f"  chapter   {float(c.start * c.time_base):.3f} s to {float(c.end * c.time_base):.3f} s "
        f"{c.tags.get('title', '')}".rstrip()
        for c in index.chapters
    ]
    out += [f"  tag       {name}={value}" for name, value in index.tags.items()]
    out += [f"  note      {note}" for note in index.notes]
    out += [f"  damaged   frame {d.frame} (pts {d.pts}): {d.reason}" for d in index.damage]
    if index.missing_s:
        out.append(f"  damaged   cut off {float(index.missing_s):.3f} s before the end that its header says")
    return out


def probe(
    target: Annotated[Path, typer.Argument(parser=place, metavar="TARGET", help="The film, a file or s3://.")],
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error below its line.")] = False,
) -> None:
    """Say what TARGET is: frames, timing, picture, streams, damage."""
    del debug
    usable_path(target, "check the path")
    from farm.stages import index_film_safely  # noqa: PLC0415 - loads the media core

    index = index_film_safely(target)
    if json:
        put(codec.encode(facts(index, target)).decode() + "\n")
    else:
        put("\n".join(lines(index, target)) + "\n")
