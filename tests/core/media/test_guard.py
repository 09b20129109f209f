"""What is no film is refused with one line; what is one is opened; nothing else is touched."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

import pytest

from core.errors import Busy, InputError, StorageError
from core.media.far import FarPath
from core.media.guard import Limits, film_stream, open_film, probe_in_child
from core.media.index import index_film
from tests.media_clips import AAC, X264, ffmpeg, make_clip, picture, tone
from tests.media_damage import HOSTILE, make_damaged

SAYS = {
    "empty": "is empty",
    "text": "is a text file",
    "ffconcat": "is an ffconcat list",
    "m3u8": "is an m3u8 playlist",
    "noise": "is not a film",
    "image": "is a PNG image",
    "audio_only": "holds no video",
    "cover_only": "only cover art",
    "no_moov": "no moov box",
    "huge_header": "claims 16000x16000",
    "huge_matroska": "claims 16000x16000",
}


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_hostile_files_are_refused_by_name(name: str, clips: Path) -> None:
    make_clip("cfr_mp4", clips)  # beside the lists that name it
    path = make_damaged(name, clips)
    with pytest.raises(InputError) as caught:
        open_film(path).close()
    assert SAYS[name] in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize("name", ["empty", "ffconcat", "huge_header", "audio_only"])
def test_the_child_gives_the_same_answer(name: str, clips: Path) -> None:
    path = make_damaged(name, clips)
    with pytest.raises(InputError) as here:
        open_film(path).close()
    with pytest.raises(InputError) as there:
        probe_in_child(path, Limits(), 60)
    assert str(here.value) == str(there.value)


def test_the_child_takes_a_film_and_a_deadline(clips: Path) -> None:
    path = make_clip("cfr_mp4", clips)
    probe_in_child(path, Limits(), 60)
    with pytest.raises(Busy, match=r"longer than 0\.002 s"):
        probe_in_child(path, Limits(), 0.001)


class Elsewhere(FarPath):
    """A film that nobody answers for."""

    opener = "tests.core.media.test_guard:wait"
    wait_s = 2.0


def wait(text: str) -> Path:
    time.sleep(60)
    return Path(text)


def test_a_far_film_that_cannot_be_had_in_time_is_not_called_hostile() -> None:
    with pytest.raises(StorageError, match=r"longer than 3 s"):
        probe_in_child(Elsewhere("film.mp4"), Limits(), 0.5)


class Endless(FarPath):
    """A film that the processor never comes to the end of."""

    opener = "tests.core.media.test_guard:spin"
    wait_s = 60.0


def spin(text: str) -> Path:
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + 1, hard))  # a minute is long for a test
    while True:
        hash(text)


def test_a_film_that_uses_the_processor_up_is_refused() -> None:
    with pytest.raises(InputError, match=r"used the processor for more than 60 s"):
        probe_in_child(Endless("film.mp4"), Limits(), 60)


def test_limits_reach_the_child(clips: Path) -> None:
    with pytest.raises(InputError, match="claims 128x96"):
        probe_in_child(make_clip("cfr_mp4", clips), Limits(max_pixels=100 * 96), 60)


@pytest.mark.parametrize("name", ["cfr_mp4", "h264_mkv", "h264_ts", "mjpeg_avi"])
def test_limits_hold_for_every_container(name: str, clips: Path) -> None:
    path = make_clip(name, clips)
    with pytest.raises(InputError, match="claims 128x96"):
        open_film(path, Limits(max_width=100))
    with pytest.raises(InputError, match="more than 20 frames"):
        index_film(path, Limits(max_frames=20))


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        open_film(tmp_path / "absent.mp4")
    with pytest.raises(InputError, match="is a directory"):
        open_film(tmp_path)
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(InputError, match="not a regular file"):
        open_film(tmp_path / "pipe.mp4")
    with pytest.raises(InputError, match="no such file"):
        open_film("http://localhost/film.mp4")
    with pytest.raises(InputError, match="cannot be opened"):
        open_film("zero\0byte.mp4")


def test_names_with_special_characters(clips: Path, tmp_path: Path) -> None:
    for name in ("a:b|c.mp4", "%05d.mp4", "naïve film?.mp4", "concat:x.mp4"):
        path = tmp_path / name
        path.write_bytes(make_clip("tiny_mp4", clips).read_bytes())
        assert index_film(path).frames == 75


def test_the_film_is_never_the_cover(clips: Path) -> None:
    for name in ("rich_mp4", "rich_ass_mkv"):
        with open_film(make_clip(name, clips)) as container:
            assert len(container.streams.video) == 2
            stream = film_stream(container)
            assert stream.codec_context.name == "h264"
            assert not int(stream.disposition) & 1024


def test_a_cover_stored_first_is_still_no_film(tmp_path: Path) -> None:
    path = tmp_path / "cover_first.mp4"
    art = tmp_path / "art.png"
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=64x64:d=1:r=1", "-frames:v", "1", art)
    maps = ["-map", "0", "-map", "1", "-map", "2", "-c:v:0", "copy", "-disposition:v:0", "attached_pic"]
    ffmpeg("-i", art, *picture(1), *tone(1), *maps, "-c:v:1", "libx264", *X264[2:], *AAC, path)
    index = index_film(path)
    assert (index.video.codec, index.frames) == ("h264", 25)
