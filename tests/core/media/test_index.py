"""The table of frames against FFmpeg's own program, and everything else that a film says about itself."""

from __future__ import annotations

import subprocess
from fractions import Fraction
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from core import codec
from core.errors import InputError
from core.media.index import index_film
from core.media.numbering import NO_PTS, assign_pts, longest_rise
from core.records import MediaIndex
from tests.media_clips import CLIPS, X264, ffmpeg, make_clip, picture
from tests.media_damage import DAMAGED, make_damaged

DECODED = {"h264_avi", "h264_bframes_avi", "mpeg4_bframes_avi"}


def reference_times(path: Path, stream: int) -> list[Fraction]:
    """Display times in seconds of every decoded frame, by the ffmpeg program."""
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-noautorotate", "-copyts", "-i", str(path),
        "-map", f"0:{stream}", "-fps_mode", "passthrough", "-enc_time_base", "demux",
        "-c:v", "rawvideo", "-f", "framehash", "-hash", "adler32", "-",
    ]  # fmt: skip
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    base = next(Fraction(line.split()[-1]) for line in lines if line.startswith("#tb"))
    return [int(line.split(",")[2]) * base for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("name", sorted(CLIPS))
def test_every_frame_has_the_time_that_ffmpeg_gives_it(name: str, clips: Path) -> None:
    path = make_clip(name, clips)
    index = index_film(path)
    assert [int(pts) * index.time_base for pts in index.pts] == reference_times(path, index.video.stream_index)
    assert index.indexed_by == ("decode" if name in DECODED else "demux")
    assert not index.damage
    assert index.missing_s == 0
    assert int(index.duration.sum()) == index.end_pts - int(index.pts[0])
    assert bool(np.all(index.duration > 0))


def test_an_index_survives_its_json(clips: Path) -> None:
    index = index_film(make_clip("rich_ass_mkv", clips))
    again = codec.decode(codec.encode(index), MediaIndex)
    assert codec.encode(again) == codec.encode(index)


def test_picture_properties(clips: Path) -> None:
    video = {
        name: index_film(make_clip(name, clips)).video
        for name in ("hdr10_mp4", "hdr10_mkv", "bt709_mp4", "sar_mkv", "tff_mp4", "bff_mp4", "h264_fullrange_mp4")
    }
    for name in ("hdr10_mp4", "hdr10_mkv"):
        colour, light = video[name].colour, video[name].mastering
        assert (colour.primaries, colour.transfer, colour.matrix, colour.range, colour.chroma_location) == (
            9,
            16,
            9,
            1,
            3,
        )
        assert light is not None
        assert light.red == (Fraction(34000, 50000), Fraction(16000, 50000))
        assert light.white == (Fraction(15635, 50000), Fraction(16450, 50000))
        assert (light.min_luminance, light.max_luminance) == (Fraction(1, 10000), Fraction(1000))
        assert (light.max_content_light, light.max_frame_average_light) == (1000, 400)
        assert video[name].pix_fmt == "yuv420p10le"
    colour = video["bt709_mp4"].colour
    assert (colour.primaries, colour.transfer, colour.matrix, colour.range) == (1, 1, 1, 1)
    assert video["bt709_mp4"].mastering is None
    assert video["sar_mkv"].sample_aspect_ratio == Fraction(16, 11)
    assert (video["tff_mp4"].field_order, video["bff_mp4"].field_order) == (2, 3)
    assert (video["h264_fullrange_mp4"].pix_fmt, video["h264_fullrange_mp4"].colour.range) == ("yuvj420p", 2)


@pytest.mark.parametrize(("degrees", "reported"), [(90, 90), (180, 180), (270, -90)])
def test_rotation(degrees: int, reported: int, clips: Path) -> None:
    video = index_film(make_clip(f"rotate{degrees}_mp4", clips)).video
    assert video.rotation == reported
    assert video.display_matrix is not None
    assert (video.width, video.height) == (128, 96)


def test_streams_chapters_and_tags(clips: Path) -> None:
    index = index_film(make_clip("rich_ass_mkv", clips))
    kinds = [(stream.kind, stream.codec, stream.attached_pic) for stream in index.streams]
    assert kinds == [
        ("video", "h264", False), ("audio", "aac", False), ("audio", "aac", False), ("subtitle", "ass", False),
        ("video", "png", True),
    ]  # fmt: skip
    assert [stream.tags.get("language") for stream in index.streams[1:4]] == ["eng", "fra", "deu"]
    assert index.streams[0].packets == 75
    assert index.streams[3].packets == 2
    assert [chapter.tags["title"] for chapter in index.chapters] == ["Opening", "The rest"]
    assert [chapter.start * chapter.time_base for chapter in index.chapters] == [0, Fraction(6, 5)]
    assert index.tags["title"] == "A film"
    attached = index_film(make_clip("rich_srt_mkv", clips)).streams
    assert [(stream.codec, stream.tags["filename"]) for stream in attached if stream.kind == "attachment"] == [
        ("font/ttf", "letters.ttf")
    ]
    assert "data" in [stream.kind for stream in index_film(make_clip("rich_mov", clips)).streams]


def test_open_gops_and_reorder_depth(clips: Path) -> None:
    index = index_film(make_clip("open_gop_mp4", clips))
    assert index.video.reorder_depth == 2
    assert int(index.key.sum()) == 6
    assert index_film(make_clip("all_intra_mp4", clips)).video.reorder_depth == 0


def test_a_recording_that_starts_in_a_gop_says_what_it_leaves_out(clips: Path) -> None:
    index = index_film(make_clip("mid_gop_ts", clips))
    assert any("before the first keyframe" in note for note in index.notes)
    assert not index.damage


@pytest.mark.parametrize("name", sorted(name for name in DAMAGED if name.startswith("cut_")))
def test_a_film_cut_short_says_so(name: str, clips: Path) -> None:
    index = index_film(make_damaged(name, clips))
    last = index.damage[-1]
    assert (last.frame, last.pts) == (index.frames, index.end_pts)
    assert "cut short" in last.reason
    if not name.endswith(("_ts", "_avi")):  # those headers do not say how long the film is
        assert Fraction(1, 2) < index.missing_s < Fraction(2)


def test_a_film_cut_in_its_sound_only_is_cut_short(clips: Path, tmp_path: Path) -> None:
    whole = make_clip("faststart_mp4", clips).read_bytes()
    path = tmp_path / "short.mp4"
    path.write_bytes(whole[:-7])
    assert "cut short" in index_film(path).damage[-1].reason


@pytest.mark.parametrize("name", ["flipped_vp9_webm", "flipped_vp8_webm", "flipped_ffv1_mkv", "flipped_h264_mkv"])
def test_blocks_that_the_demuxer_loses_are_named(name: str, clips: Path) -> None:
    index = index_film(make_damaged(name, clips))
    assert any("cannot be read" in entry.reason for entry in index.damage)


def test_times_that_cannot_be_true_are_damage(clips: Path) -> None:
    index = index_film(make_damaged("flipped_hevc_ts", clips))
    assert index.indexed_by == "decode"
    assert any("cannot be true" in entry.reason for entry in index.damage)
    assert index.end_pts * index.time_base < 10


def test_two_recordings_in_one_file_are_refused(clips: Path, tmp_path: Path) -> None:
    data = make_clip("h264_ts", clips).read_bytes()
    path = tmp_path / "spliced.ts"
    path.write_bytes(data + data)
    with pytest.raises(InputError, match="jump back"):
        index_film(path)


def test_a_film_without_a_whole_frame_is_refused(clips: Path, tmp_path: Path) -> None:
    data = bytearray(make_clip("cfr_mp4", clips).read_bytes())
    start, end = data.index(b"mdat") + 4, data.rindex(b"moov") - 4
    data[start:end] = bytes(end - start)
    path = tmp_path / "zeros.mp4"
    path.write_bytes(bytes(data))
    with pytest.raises(InputError, match=r"no picture could be read|no frame of it can be decoded"):
        index_film(path)


def test_sound_longer_than_the_picture_is_no_damage(tmp_path: Path) -> None:
    for extension in ("mp4", "mkv", "ts"):
        path = tmp_path / f"long_sound.{extension}"
        ffmpeg(*picture(1), "-f", "lavfi", "-i", "sine=d=4", *X264, "-c:a", "aac", path)
        index = index_film(path)
        assert (index.frames, index.damage, index.missing_s) == (25, (), 0)


def table(*values: int | None) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array([NO_PTS if value is None else value for value in values], dtype=np.int64)


def test_assigned_times() -> None:
    given = table(0, 40, None, None, 170)
    filled, note = assign_pts(given, table(None, None, None, None, None), trust_pts=True, nominal=40)
    assert filled.tolist() == [0, 40, 83, 126, 170]
    assert note.startswith("2 frames")
    twice, _ = assign_pts(table(0, 40, 40, 120), table(None, None, None, None), trust_pts=True, nominal=40)
    assert twice.tolist() == [0, 40, 80, 120]
    late, _ = assign_pts(table(None, None, 100), table(None, None, None), trust_pts=True, nominal=40)
    assert late.tolist() == [20, 60, 100]
    # Decoded in the order 0, 2, 1: shown one tick after each falls due.
    shown, _ = assign_pts(table(None, None, None), table(0, 2, 1), trust_pts=False, nominal=1)
    assert shown.tolist() == [1, 2, 3]
    assert assign_pts(table(None), table(None), trust_pts=True, nominal=0)[0].tolist() == [0]


def test_the_longest_rise_leaves_out_what_jumps() -> None:
    values = np.array([0, 10, 20, 9000, 30, 40, 5, 50], dtype=np.int64)
    assert longest_rise(values, slack=1) == [0, 1, 2, 4, 5, 7]
    assert longest_rise(np.zeros(0, np.int64), slack=1) == []
