"""The frames of a film are the same however it is cut, and the ones that FFmpeg's own program decodes."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from core.errors import InputError
from core.media import seek
from core.media.checksum import ffv1_whole
from core.media.decode import DecodedFrame, decode_segment
from core.media.guard import film_stream, open_film
from core.media.index import index_film
from core.media.plan import plan_segments
from core.media.planes import plane_views
from core.records import MediaIndex, Segment
from tests.choice import USUAL_CLIPS, some
from tests.media_clips import CLIPS, make_clip
from tests.media_damage import DAMAGED, make_damaged

# Decoders that meet an error soon after the first bad byte; the others may go on for some frames before they do.
EXACT = {
    f"flipped_{name}"
    for name in ("cfr_mp4", "open_gop_mp4", "mpeg4_mp4", "mpeg4_bframes_avi", "prores_mov", "ffv1_mkv", "mjpeg_mov")
}

Hashed = tuple[int, int, str, str | None]


def md5(item: DecodedFrame) -> Hashed:
    """Ordinal, pts, MD5 of the planes without padding, damage."""
    digest = hashlib.md5(usedforsecurity=False)
    for view in plane_views(item.frame):
        digest.update(np.ascontiguousarray(view).tobytes())
    return item.ordinal, item.pts, digest.hexdigest(), item.damage


def decode(path: Path, index: MediaIndex, segments: Sequence[Segment], threads: int = 0) -> list[Hashed]:
    found: list[Hashed] = []
    for segment in segments:
        mine = [md5(item) for item in decode_segment(path, index, segment, threads=threads)]
        assert [item[0] for item in mine] == list(range(segment.first, segment.end))
        found += mine
    return found


def cuts(index: MediaIndex) -> Iterator[tuple[Segment, ...]]:
    """One segment, about two, about seven, one a keyframe."""
    length = (index.end_pts - int(index.pts[0])) * index.time_base
    for seconds in (length, length / 2, length / 7, Fraction(0)):
        yield plan_segments(index, seconds)


def reference_hashes(path: Path, stream: int) -> list[str]:
    """MD5 of every decoded frame, by the ffmpeg program."""
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-noautorotate", "-copyts", "-i", str(path),
        "-map", f"0:{stream}", "-fps_mode", "passthrough", "-c:v", "rawvideo", "-f", "framemd5", "-",
    ]  # fmt: skip
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return [line.split(",")[-1].strip() for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("name", some(sorted(CLIPS), USUAL_CLIPS))
def test_frames_do_not_depend_on_the_cut(name: str, clips: Path) -> None:
    path = make_clip(name, clips)
    index = index_film(path)
    first, *others = [decode(path, index, segments) for segments in cuts(index)]
    assert [item[1] for item in first] == index.pts.tolist()
    assert not [item for item in first if item[3]]
    assert all(other == first for other in others)
    if name not in {"rawvideo_avi", "ffv1_rgb_mkv", "png_mov"}:  # packed: the planes are in another order
        assert [item[2] for item in first] == reference_hashes(path, index.video.stream_index)


@pytest.mark.parametrize("name", sorted(DAMAGED))
def test_damaged_films_do_not_depend_on_the_cut_or_the_threads(name: str, clips: Path) -> None:
    path = make_damaged(name, clips)
    index = index_film(path)
    first, *others = [decode(path, index, segments) for segments in cuts(index)]
    assert all(other == first for other in others)
    if "vp8" not in name:  # its decoder makes different pictures of bad data with one thread and with several
        assert decode(path, index, plan_segments(index, Fraction(1)), threads=1) == first


@pytest.mark.parametrize("name", sorted(name for name in DAMAGED if name.startswith("flipped_")))
def test_frames_that_changed_are_named(name: str, clips: Path) -> None:
    """Whole films keep their frames; in damaged ones, every frame that differs from the whole film's is named."""
    whole, path = make_clip(name.removeprefix("flipped_"), clips), make_damaged(name, clips)
    before, after = index_film(whole), index_film(path)
    good = {item[1]: item[2] for item in decode(whole, before, plan_segments(before, Fraction(1)))}
    found = decode(path, after, plan_segments(after, Fraction(1)))
    named = {item[1] for item in found if item[3]}
    assert named
    changed = {pts for _, pts, digest, _ in found if good.get(pts) != digest}
    assert changed & named
    if name in EXACT:
        assert changed <= named


def test_a_missing_frame_shows_the_one_before(clips: Path, tmp_path: Path) -> None:
    """Frames 10 to 12 of an intra-coded film are wiped; they show frame 9, whatever the cut."""
    whole = make_clip("png_mov", clips)
    index = index_film(whole)
    data = bytearray(whole.read_bytes())
    with open_film(whole) as container:
        spots = [(p.pos, p.size) for p in container.demux(film_stream(container)) if p.size and p.pos is not None]
    for position, size in spots[10:13]:
        data[position : position + size] = bytes(size)
    path = tmp_path / "holes.mov"
    path.write_bytes(bytes(data))
    index = index_film(path)
    for segments in cuts(index):
        found = decode(path, index, segments)
        assert [item[0] for item in found if item[3]] == [10, 11, 12]
        assert {item[2] for item in found[9:13]} == {found[9][2]}
        assert len({item[2] for item in found}) == 22


def test_frames_missing_at_the_start_show_the_first_that_decodes(clips: Path, tmp_path: Path) -> None:
    whole = make_clip("png_mov", clips)
    data = bytearray(whole.read_bytes())
    with open_film(whole) as container:
        spots = [(p.pos, p.size) for p in container.demux(film_stream(container)) if p.size and p.pos is not None]
    for position, size in spots[:2]:
        data[position : position + size] = bytes(size)
    path = tmp_path / "no_start.mov"
    path.write_bytes(bytes(data))
    index = index_film(path)
    for segments in cuts(index):
        found = decode(path, index, segments)
        assert [item[0] for item in found if item[3]] == [0, 1]
        assert {item[2] for item in found[:3]} == {found[2][2]}


def test_painting_on_a_frame_does_not_reach_its_replacement(clips: Path, tmp_path: Path) -> None:
    whole = make_clip("png_mov", clips)
    data = bytearray(whole.read_bytes())
    with open_film(whole) as container:
        spots = [(p.pos, p.size) for p in container.demux(film_stream(container)) if p.size and p.pos is not None]
    data[spots[5][0] : sum(spots[5])] = bytes(spots[5][1])
    path = tmp_path / "hole.mov"
    path.write_bytes(bytes(data))
    index = index_film(path)
    (segment,) = plan_segments(index, Fraction(100))
    untouched = decode(path, index, [segment])
    painted = []
    for item in decode_segment(path, index, segment):
        painted.append(md5(item))
        item.frame.make_writable()
        for view in plane_views(item.frame):
            view[...] = 0
    assert painted == untouched


def test_nothing_decodes(clips: Path, tmp_path: Path) -> None:
    whole = make_clip("png_mov", clips)
    index = index_film(whole)
    data = bytearray(whole.read_bytes())
    start, end = data.index(b"mdat") + 4, data.rindex(b"moov") - 4
    data[start:end] = bytes(end - start)
    path = tmp_path / "nothing.mov"
    path.write_bytes(bytes(data))
    with pytest.raises(InputError, match=r"no picture could be read|no frame of it can be decoded"):
        list(decode_segment(path, index, plan_segments(index, Fraction(0))[3]))


@pytest.mark.parametrize("name", ["cfr_mp4", "open_gop_ts", "vfr_mkv", "h264_bframes_avi"])
@pytest.mark.parametrize("shift_s", [-100, -1, 1, 100])
def test_seeks_that_land_elsewhere(name: str, shift_s: int, clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every seek goes wrong by some seconds; the frames are the same."""
    path = make_clip(name, clips)
    index = index_film(path)
    whole = decode(path, index, plan_segments(index, Fraction(100)))
    right = seek._targets

    def wrong(index: MediaIndex, start: int) -> list[int]:
        return [target + int(shift_s / index.time_base) for target in right(index, start)]

    monkeypatch.setattr(seek, "_targets", wrong)
    assert decode(path, index, plan_segments(index, Fraction(0))) == whole


def test_a_segment_stops_reading_when_it_has_its_frames(clips: Path) -> None:
    path = make_clip("cfr_mp4", clips)
    index = index_film(path)
    segments = plan_segments(index, Fraction(0))
    frames = decode_segment(path, index, segments[1])
    assert next(iter(frames)).ordinal == segments[1].first
    assert [segment.end for segment, _ in pairwise(segments)] == [segment.first for segment in segments[1:]]


def test_checksums_of_ffv1(clips: Path) -> None:
    with open_film(make_clip("ffv1_mkv", clips)) as container:
        packets = [packet for packet in container.demux(film_stream(container)) if packet.size]
    assert all(ffv1_whole(packet) for packet in packets)
    broken = packets[3]
    data = bytearray(memoryview(broken))
    data[len(data) // 2] ^= 4
    broken.update(bytes(data))
    assert not ffv1_whole(broken)


def test_an_index_of_another_film_is_noticed(clips: Path) -> None:
    path = make_clip("one_gop_mp4", clips)
    index = index_film(make_clip("cfr_mp4", clips))
    found = decode(path, replace(index, key=index.key.copy()), plan_segments(index, Fraction(100)))
    assert [item[1] for item in found] == index.pts.tolist()
