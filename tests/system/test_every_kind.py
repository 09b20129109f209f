"""Every kind of film goes through `farm render --swapper none` and `farm verify`, with the source's container and codec
where the farm encodes it. Lossless identity of the frames is tested below the command, in tests/core/media."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.media_clips import CLIPS, make_clip
from tests.system.runs import farm_here, leftovers

# Each container with each sort of trouble once. The others are in the heavy run: tests below the command have them all.
ALWAYS = frozenset(
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


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in ALWAYS else pytest.mark.heavy) for name in sorted(CLIPS)]
)
def test_render_and_verify(name: str, clips: Path, tmp_path: Path) -> None:
    film = make_clip(name, clips)
    output = tmp_path / f"out{film.suffix}"
    report = farm_here(
        "render", film, "-o", output, "--swapper", "none", "--local", "--segment-seconds", "1", "--json"
    ).report
    assert report.checks_passed == len(report.checks) > 10
    assert report.damage == ()
    assert leftovers(tmp_path, [output.name]) == []
    checked = farm_here("verify", film, output, "--json")
    assert checked.code == 0, checked.out
    assert checked.json["ok"] is True
