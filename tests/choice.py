"""What of a long row the normal run tests: the rest is in the heavy one."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Any

import pytest

# Of the clips, each container with each sort of trouble once. The normal run takes these through the commands and cuts
# their decoding; the others it encodes and joins in pieces. The heavy run does all with all.
USUAL_CLIPS = frozenset(
    [
        "av1_webm",
        "bff_mp4",
        "captions_mp4",
        "cfr_mp4",
        "editlist_mp4",
        "ffv1_alpha_mkv",
        "ffv1_avi",
        "fragmented_mp4",
        "gap_ts",
        "h264_444_mp4",
        "h264_bframes_avi",
        "h264_mov",
        "hdr10_mkv",
        "hevc_ts",
        "interlaced_mpeg2_ts",
        "late_video_mp4",
        "mid_gop_ts",
        "mjpeg_avi",
        "odd_420_webm",
        "one_frame_mp4",
        "open_gop_hevc_mp4",
        "open_gop_ts",
        "prores4444_alpha_mov",
        "rich_ass_mkv",
        "rich_mov",
        "rotate90_mp4",
        "sar_mp4",
        "start_offset_mkv",
        "timecode_mov",
        "tiny_mp4",
        "vfr_mp4",
        "vp8_webm",
        "vp9_altref_webm",
        "wrapping_ts",
        "wvtt_webm",
    ]
)


def some(names: Iterable[Any], always: Container[Any]) -> list[Any]:
    """Parameters: those not in `always` are heavy."""
    return [pytest.param(*_parts(name), marks=() if name in always else pytest.mark.heavy) for name in names]


def but(names: Iterable[Any], heavy: Container[Any]) -> list[Any]:
    """Parameters: those in `heavy` are heavy."""
    return [pytest.param(*_parts(name), marks=pytest.mark.heavy if name in heavy else ()) for name in names]


def _parts(name: Any) -> tuple[Any, ...]:
    return name if isinstance(name, tuple) else (name,)
