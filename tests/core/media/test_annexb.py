"""Parameter sets and packets with start codes, as AVI wants them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import av
import imageio_ffmpeg
import pytest

from core.errors import PlanError
from core.media.annexb import parameter_sets, with_start_codes
from tests.media_clips import make_clip


def test_the_stream_is_the_one_that_ffmpeg_writes(clips: Path, tmp_path: Path) -> None:
    film = make_clip("cfr_mp4", clips)
    raw = tmp_path / "raw.h264"
    program = imageio_ffmpeg.get_ffmpeg_exe()
    copy = ("-map", "0:v:0", "-c", "copy", "-bsf:v", "h264_mp4toannexb", "-f", "h264")
    subprocess.run([program, "-v", "error", "-i", film, *copy, raw], check=True)
    with av.open(str(film)) as file:
        video = file.streams.video[0]
        sets = parameter_sets(bytes(video.codec_context.extradata or b""))
        assert b"".join(bytes(packet) for packet in with_start_codes(file, video)) == raw.read_bytes()
    assert sets.count(b"\0\0\0\1") == 2
    assert sets in raw.read_bytes()


@pytest.mark.parametrize("record", [b"", b"\0\0\0\1gB", b"\x01B\xc0\n\xff\xe1\x00\x17gB", b"\x01B\xc0\n\xff\xe1"])
def test_what_is_no_record_is_refused(record: bytes) -> None:
    with pytest.raises(PlanError):
        parameter_sets(record)
