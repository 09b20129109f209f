"""What a container can carry is said before any work starts, with the name of one that can."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from core.errors import InputError
from core.media.containers import carries, check_output, container_for, is_rewritten, tick_of_rate
from core.media.encode import resolve_encoder
from core.media.index import index_film
from core.records import EncodeSpec, MediaIndex
from tests.media_clips import make_clip


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("containers")


def refusal(index: MediaIndex, container: str, codec: str | None = None) -> str:
    settings = resolve_encoder(index, EncodeSpec(codec), "matroska")
    with pytest.raises(InputError) as caught:
        check_output(index, settings, container)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "muxer"),
    [
        ("a.mp4", "mp4"),
        ("a.M4V", "mp4"),
        ("a.mov", "mov"),
        ("a.mkv", "matroska"),
        ("a.webm", "webm"),
        ("a.avi", "avi"),
        ("a.ts", "mpegts"),
        ("a.mts", "mpegts"),
        ("a", "mp4"),
    ],
)
def test_the_suffix_names_the_container(name: str, muxer: str, clips: Path) -> None:
    assert container_for(Path(name), index_film(make_clip("cfr_mp4", clips))) == muxer


def test_an_unknown_suffix_is_refused(clips: Path) -> None:
    with pytest.raises(InputError, match=r"no container for the name \.gif"):
        container_for(Path("a.gif"), index_film(make_clip("cfr_mp4", clips)))


def test_streams_that_do_not_fit_are_named(clips: Path) -> None:
    film = index_film(make_clip("rich_srt_mkv", clips))
    text = next(s for s in film.streams if s.kind == "subtitle")
    assert f"mp4 cannot carry stream {text.index} (subtitle subrip)" in refusal(film, "mp4")
    assert "name the output .mkv" in refusal(film, "mp4")
    mp4 = index_film(make_clip("rich_mp4", clips))
    assert "subtitle mov_text" in refusal(mp4, "matroska")
    assert "name the output .mp4" in refusal(mp4, "matroska")


def test_times_that_do_not_fit_are_refused(clips: Path) -> None:
    film = index_film(make_clip("ntsc_mp4", clips))
    assert "counts 1/1000 s" in refusal(film, "matroska")
    vfr = index_film(make_clip("vfr_mp4", clips))
    uneven = vfr.pts + np.arange(vfr.frames) % 2
    assert "one frame rate" in refusal(replace(vfr, pts=uneven, streams=vfr.streams[:1]), "avi")


def test_rotation_and_fields_that_do_not_fit_are_refused(clips: Path) -> None:
    turned = index_film(make_clip("rotate90_mp4", clips))
    assert "rotation (" in refusal(turned, "mpegts")
    mirrored = replace(turned, video=replace(turned.video, display_matrix=(-65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)))
    assert "more than a rotation" in refusal(mirrored, "matroska")
    assert "field order" in refusal(index_film(make_clip("interlaced_mpeg2_ts", clips)), "mpegts", "hevc")


def test_what_muxers_write_anew_is_not_a_fault(clips: Path) -> None:
    film = index_film(make_clip("timecode_mov", clips))
    track = next(s for s in film.streams if s.kind == "data")
    assert is_rewritten(track, film)
    settings = resolve_encoder(film, EncodeSpec("h264"), "matroska")
    notes = check_output(replace(film, streams=(film.streams[film.video.stream_index], track)), settings, "matroska")
    assert "kept as the tag `timecode`" in notes[0]


def test_carries_asks_the_muxer() -> None:
    assert carries("mp4", "audio", "aac")
    assert carries("mp4", "subtitle", "mov_text")
    assert not carries("mp4", "subtitle", "ass")
    assert carries("matroska", "attachment", "")
    assert not carries("mp4", "attachment", "")
    assert not carries("webm", "audio", "aac")
    assert not carries("mpegts", "audio", "flac")


@pytest.mark.parametrize("codec", ["vp8", "vp9", "av1", "flac", "opus", "truehd"])
def test_what_the_muxer_writes_into_mp4_only_is_refused_in_mov(codec: str) -> None:
    kind = "video" if codec[0] in "va" else "audio"
    assert not carries("mov", kind, codec)
    assert carries("mp4", kind, codec) == (codec != "vp8")


def test_a_cover_is_refused_in_mov(clips: Path) -> None:
    index = index_film(make_clip("rich_mp4", clips))
    settings = resolve_encoder(index, EncodeSpec(), "mov")
    with pytest.raises(InputError, match=r"mov cannot carry stream \d \(video png\); name the output \.mp4"):
        check_output(index, settings, "mov")


def test_avi_counts_in_the_greatest_common_step(clips: Path) -> None:
    film = index_film(make_clip("cfr_mp4", clips))
    assert tick_of_rate(film) * film.time_base == Fraction(1, 25)
    one = replace(
        film,
        pts=np.array([0]),
        duration=np.array([512]),
        key=np.array([True]),
        packet=np.array([0]),
    )
    assert tick_of_rate(one) == 512
