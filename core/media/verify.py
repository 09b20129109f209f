"""Law 7: is the output the source with other pixels, and nothing else changed? Each question is one `Check`.

Times are compared as exact fractions of a second. A copied packet's time may differ from the source's by at most one
tick of the output's time base, and only where that time base is another one than the source's; the picture's own
times never. Streams that a muxer writes from other data (QuickTime chapter and timecode tracks) are compared by that
data: the chapters and the `timecode` tag.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from hashlib import sha256
from pathlib import Path

import numpy as np

from core.media import compare
from core.media.compare import PacketTable
from core.media.containers import is_cover, is_rewritten, is_unknown_data, source_container
from core.media.copycheck import copy_checks
from core.media.encode import BOTTOM_FIRST, TOP_FIRST
from core.media.far import as_path
from core.media.index import index_film
from core.media.planes import working_format
from core.media.tags import MOV_FAMILY, comparable_film_tags, comparable_stream_tags
from core.media.transport import described, stream_pids
from core.records import (
    Check,
    Colour,
    EncoderSettings,
    Int64Array,
    Mastering,
    MediaIndex,
    Segment,
    StreamInfo,
    Transport,
    VerifyReport,
)

LABEL_TAGS = ("aigc",)  # what the farm adds to a film with replaced faces
DEFAULT, ATTACHED_PIC = 1, 1 << 10  # AVDisposition
AUDIO_TYPES = 1 << 7 | 1 << 8 | 1 << 9  # hearing impaired, visual impaired, clean effects


def verify_film(
    source: Path,
    output: Path,
    *,
    source_index: MediaIndex | None = None,
    settings: EncoderSettings | None = None,
    extra_tags: Mapping[str, str] | None = None,
    joints: Sequence[int] = (),
    copies: Sequence[Segment] = (),
) -> VerifyReport:
    """Every check of law 7 on `output` against `source`.

    `settings` says which codec was promised (else any that keeps depth and chroma will do); `extra_tags` are the
    container tags that must have been added, and no others (None, where that is not known: the farm's label may be
    there); `joints` are the ordinals of the segments' first frames, around which decoding is tried; `copies` are the
    segments whose packets were copied.
    """
    before = source_index if source_index is not None else index_film(as_path(source))
    after = index_film(as_path(output))
    container = source_container(after)
    checks = [
        *_time_checks(before, after, container),
        *_picture_checks(before, after, settings),
        *_inventory_checks(before, after, container, extra_tags),
        *_copy_checks(as_path(source), as_path(output), before, after),
    ]
    faults = compare.undecodable_places(as_path(output), after, joints)
    checks.append(Check("keyframes decode", "all", "; ".join(faults[:3]) or "all", not faults))
    checks += copy_checks(as_path(source), as_path(output), before, after, copies)
    return VerifyReport(tuple(checks))


def _same(name: str, expected: object, got: object) -> Check:
    return Check(name, str(expected), str(got), expected == got)


def _seconds(value: Fraction) -> str:
    return f"{float(value):.6f} s"


# ---------------------------------------------------------------- time


def _time_checks(before: MediaIndex, after: MediaIndex, container: str) -> list[Check]:
    checks = [_same("frames", before.frames, after.frames)]
    start = (int(before.pts[0]) * before.time_base, int(after.pts[0]) * after.time_base)
    checks.append(Check("start", _seconds(start[0]), _seconds(start[1]), start[0] == start[1]))
    checks.append(_table_check("timestamps", before.pts, after.pts, before.time_base, after.time_base))
    last = (int(before.duration[-1]) * before.time_base, int(after.duration[-1]) * after.time_base)
    # mpegts and avi store no durations: the last frame's is a reader's guess in any file.
    stored = container not in ("mpegts", "avi")
    coarser = after.time_base if after.time_base > before.time_base else 0  # it may be rounded to the output's ticks
    checks.append(
        Check(
            "last frame lasts",
            _seconds(last[0]),
            _seconds(last[1]) if stored else "not stored",
            last[0] == last[1] or not stored or abs(last[0] - last[1]) < coarser,
        )
    )
    return checks


def _table_check(name: str, a: Int64Array, b: Int64Array, base_a: Fraction, base_b: Fraction) -> Check:
    """Equal times, as fractions; the first difference by frame number."""
    size = min(len(a), len(b))
    ratio = base_a / base_b
    # Exact in Python integers: a * ratio may not fit 64 bits.
    left = np.asarray(a[:size]).astype(object) * ratio.numerator
    right = np.asarray(b[:size]).astype(object) * ratio.denominator
    differ = np.flatnonzero(left != right)
    if len(differ):
        at = int(differ[0])
        return Check(
            name,
            f"frame {at} at {_seconds(int(a[at]) * base_a)}",
            f"frame {at} at {_seconds(int(b[at]) * base_b)}; {len(differ)} differ",
            False,
        )
    return Check(name, f"{len(a)} as in the source", f"{len(b)} equal", len(a) == len(b))


# ---------------------------------------------------------------- picture


def _picture_checks(before: MediaIndex, after: MediaIndex, settings: EncoderSettings | None) -> list[Check]:
    a, b = before.video, after.video
    codec = settings.codec if settings else b.codec
    packed = settings is None or settings.encoder == "libx264"  # others do not write it: a note of `check_output`
    return [
        _same("codec", codec, b.codec),
        _same("size", f"{a.width}x{a.height}", f"{b.width}x{b.height}"),
        _same("depth and chroma", _samples(a.pix_fmt), _samples(b.pix_fmt)),
        _same("sample aspect", _aspect(a.sample_aspect_ratio), _aspect(b.sample_aspect_ratio)),
        _same("display matrix", a.display_matrix or "none", b.display_matrix or "none"),
        _same("field order", _fields(a.field_order), _fields(b.field_order)),
        _same("colour", _colour(a.colour, a.pix_fmt), _colour(b.colour, b.pix_fmt)),
        _chroma(a.colour, b.colour, b.codec, _samples(b.pix_fmt)),
        _mastering(a.mastering, b.mastering),
        _same("frame packing", a.frame_packing if packed else 0, b.frame_packing),
        _mapping("3D, 360 degrees and crop", _short(a.extras), _short(b.extras)),
    ]


def _short(parts: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value if len(value) <= 32 else sha256(value.encode()).hexdigest()[:12] for name, value in parts.items()
    }


def _samples(pix_fmt: str) -> str:
    """Layout of the samples without how they are packed or named: yuvj420p is yuv420p in full range."""
    return working_format(pix_fmt).replace("yuvj", "yuv")


def _aspect(ratio: Fraction) -> str:
    """Unknown means square."""
    return "1:1" if ratio in (0, 1) else f"{ratio.numerator}:{ratio.denominator}"


def _fields(order: int) -> str:
    if order in TOP_FIRST:
        return "top field first"
    return "bottom field first" if order in BOTTOM_FIRST else "progressive"


def _colour(colour: Colour, pix_fmt: str) -> str:
    """An unstated range is limited for YUV and full for RGB and yuvj; an unstated matrix of RGB is RGB."""
    rgb = "gbr" in working_format(pix_fmt)
    full = rgb or "yuvj" in pix_fmt
    matrix = 0 if rgb and colour.matrix == 2 else colour.matrix
    levels = colour.range or (2 if full else 1)
    return f"primaries {colour.primaries}, transfer {colour.transfer}, matrix {matrix}, range {levels}"


def _chroma(a: Colour, b: Colour, codec: str, samples: str) -> Check:
    """Where the codec can state it: H.264, H.265 and AV1 with 4:2:0; unstated means left (H.264 E.2.1)."""
    named = codec in ("h264", "hevc") and "420" in samples and a.chroma_location != 0
    expected = a.chroma_location if named else 0
    got = b.chroma_location if named else 0
    ok = expected == got or {expected, got} <= {0, 1}
    return Check("chroma location", str(expected or "unstated"), str(got or "unstated"), ok)


def _mastering(a: Mastering | None, b: Mastering | None) -> Check:
    def rounded(m: Mastering | None) -> tuple[object, ...] | None:
        """In the units in which every format stores them: 1/50000 and 1/10000 cd/m2."""
        if m is None:
            return None
        points = tuple(
            None if p is None else tuple(round(c * 50000) for c in p) for p in (m.red, m.green, m.blue, m.white)
        )
        light = tuple(None if v is None else round(v * 10000) for v in (m.min_luminance, m.max_luminance))
        return (*points, *light, m.max_content_light or None, m.max_frame_average_light or None)

    return _same("mastering display", rounded(a) or "none", rounded(b) or "none")


# ---------------------------------------------------------------- inventory


def copied(index: MediaIndex) -> list[StreamInfo]:
    """Streams that are copied packet by packet: all but the film, attachments, what muxers write
    anew, and data that no muxer here knows (a note of `check_output` names it)."""
    return [
        s
        for s in index.streams
        if s.index != index.video.stream_index
        and s.kind != "attachment"
        and not (is_rewritten(s, index) or is_unknown_data(s))
    ]


def _ordered(index: MediaIndex) -> list[StreamInfo]:
    """Copied streams, the attached pictures last: containers differ in where they list them."""
    return sorted(copied(index), key=lambda s: is_cover(s, index))


def _inventory_checks(
    before: MediaIndex, after: MediaIndex, container: str, extra: Mapping[str, str] | None
) -> list[Check]:
    a, b = _ordered(before), _ordered(after)
    checks = [_same("streams", _names(a, before), _names(b, after))]
    film = (before.streams[before.video.stream_index], after.streams[after.video.stream_index])
    pairs = zip(_enabled([film[0], *a], container), [film[1], *b], strict=False)
    for one, other in pairs:
        made_anew = one.index == before.video.stream_index
        name = "picture" if made_anew else f"stream {one.index}"
        want = comparable_stream_tags(one.tags, container, re_encoded=made_anew)
        have = comparable_stream_tags(other.tags, container, re_encoded=made_anew)
        if is_cover(other, after):
            continue
        checks.append(_mapping(f"{name}: tags", want, have))
        checks.append(_disposition(f"{name}: disposition", one, other, container, from_ts=before.format == "mpegts"))
    want, have = comparable_film_tags(before.tags, container), comparable_film_tags(after.tags, container)
    if extra is None:
        want |= {key: value for key, value in have.items() if key in LABEL_TAGS}
    elif container != "mpegts":
        want |= {key.lower(): value for key, value in extra.items()}
    checks.append(_mapping("tags", want, have))
    if before.transport is not None and container == "mpegts":
        checks += _transport_checks(before, before.transport, after)
    checks.append(_same("chapters", _chapters(before), _chapters(after)))
    return checks


def _transport_checks(before: MediaIndex, tables: Transport, after: MediaIndex) -> list[Check]:
    """The program's number, names and PIDs."""
    pids = stream_pids(before)
    wanted = [pids[before.video.stream_index], *(pids[s.index] for s in _ordered(before))]
    got = [after.streams[after.video.stream_index].pid, *(s.pid for s in _ordered(after))]
    found = described(after.transport) if after.transport else {}
    want = described(tables)
    return [
        _mapping("program", want, {key: value for key, value in found.items() if key in want}),
        _same("PIDs", " ".join(f"{pid:#x}" for pid in wanted), " ".join(f"{pid:#x}" for pid in got)),
    ]


def _names(streams: Sequence[StreamInfo], index: MediaIndex) -> str:
    return ", ".join(f"{s.kind} {s.codec}" + (" (cover)" if is_cover(s, index) else "") for s in streams) or "none"


def _mapping(name: str, want: Mapping[str, str], have: Mapping[str, str]) -> Check:
    keys = sorted(k for k in {*want, *have} if want.get(k) != have.get(k))
    if not keys:
        return Check(name, f"{len(want)} kept", f"{len(have)} equal", True)
    shown = keys[:3]
    return Check(
        name,
        ", ".join(f"{k}={want.get(k, 'absent')}" for k in shown),
        ", ".join(f"{k}={have.get(k, 'absent')}" for k in shown),
        False,
    )


def _disposition(name: str, a: StreamInfo, b: StreamInfo, container: str, *, from_ts: bool) -> Check:
    """mp4 and mov keep only `default` (a track's enabled flag) and attached pictures, avi keeps none, and mpegts keeps
    the one audio type that it can state itself (13818-1, 2.6.18)."""
    mask = (1 << 31) - 1
    if container in MOV_FAMILY:
        mask = ATTACHED_PIC | DEFAULT
    elif container in ("mpegts", "avi"):
        mask = AUDIO_TYPES if from_ts and container == "mpegts" and a.kind == "audio" else 0
    return _same(name, a.disposition & mask, b.disposition & mask)


def _enabled(streams: Sequence[StreamInfo], container: str) -> list[StreamInfo]:
    """`streams` as mp4 and mov state them: where none of a kind is default, the muxer enables the first."""
    if container not in MOV_FAMILY:
        return list(streams)
    found: list[StreamInfo] = []
    for stream in streams:
        kind = [s for s in streams if s.kind == stream.kind and not s.attached_pic]
        if kind and kind[0] is stream and not any(s.disposition & DEFAULT for s in kind):
            stream = replace(stream, disposition=stream.disposition | DEFAULT)  # noqa: PLW2901
        found.append(stream)
    return found


def _chapters(index: MediaIndex) -> str:
    rows = [
        f"{_seconds(c.start * c.time_base)}-{_seconds(c.end * c.time_base)} {c.tags.get('title', '')}".strip()
        for c in index.chapters
    ]
    return "; ".join(rows) or "none"


# ---------------------------------------------------------------- copied packets


def _copy_checks(source: Path, output: Path, before: MediaIndex, after: MediaIndex) -> list[Check]:
    a, b = _ordered(before), _ordered(after)
    # Framing, and how samples to skip are told, differ between containers; within one they must be the same.
    alike = before.format == after.format
    left, right = (compare.packet_tables(p, s, bare=not alike) for p, s in ((source, a), (output, b)))
    checks = []
    for one, other in zip(a, b, strict=False):
        x, y = left[one.index], right[other.index]
        checks.append(_packets(f"stream {one.index}: packets", x, y))
        if not is_cover(one, before):
            checks.append(_packet_times(f"stream {one.index}: times", x, y))
        if alike:
            trimmed = sum(1 for p, q in zip(x.side, y.side, strict=False) if p != q)
            checks.append(_same(f"stream {one.index}: packets trimmed otherwise", 0, trimmed))
    if any(s.kind == "attachment" for s in (*before.streams, *after.streams)):
        checks.append(_same("attachments", compare.attachments(source), compare.attachments(output)))
    return checks


def _packets(name: str, a: PacketTable, b: PacketTable) -> Check:
    expected = f"{len(a.digest)} packets, sha256 {a.payload.hexdigest()[:12]}"
    if a.digest == b.digest:
        return Check(name, expected, "equal", True)
    at = next((i for i, (p, q) in enumerate(zip(a.digest, b.digest, strict=False)) if p != q), None)
    where = f", first difference at packet {at}" if at is not None else ""
    return Check(name, expected, f"{len(b.digest)} packets, sha256 {b.payload.hexdigest()[:12]}{where}", False)


def _packet_times(name: str, a: PacketTable, b: PacketTable) -> Check:
    slack = Fraction(0) if a.time_base == b.time_base else b.time_base
    size = min(len(a.pts), len(b.pts))
    for i in range(size):
        here, there = a.pts[i] * a.time_base, b.pts[i] * b.time_base
        if a.pts[i] == b.pts[i] and not slack:
            continue
        if abs(here - there) > slack:
            return Check(name, f"packet {i} at {_seconds(here)}", f"packet {i} at {_seconds(there)}", False)
    return Check(name, f"{len(a.pts)} as in the source", f"{len(b.pts)} equal", len(a.pts) == len(b.pts))
