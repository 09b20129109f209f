"""What packets hold beside the picture: an alpha plane that no decoder here gives, metadata that begins late."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from core.errors import InputError
from core.media.containers import check_output
from core.media.encode import resolve_encoder
from core.media.index import index_film
from core.records import EncodeSpec
from tests.media_clips import VPX, ffmpeg, picture


def webm(folder: Path, encoder: str, *arguments: str) -> Path:
    path = folder / f"{encoder}.webm"
    ffmpeg(*picture(0.4), "-c:v", encoder, *VPX, *arguments, path)
    return path


@pytest.mark.parametrize("encoder", ["libvpx-vp9", "libvpx"])
@pytest.mark.parametrize("container", ["webm", "matroska"])
def test_alpha_that_would_be_lost_is_refused(encoder: str, container: str, tmp_path: Path) -> None:
    index = index_film(webm(tmp_path, encoder, "-vf", "format=yuva420p"))
    assert index.video.pix_fmt == "yuv420p"
    settings = resolve_encoder(index, EncodeSpec(), container)
    with pytest.raises(InputError, match=f"the {index.video.codec} picture has an alpha plane"):
        check_output(index, settings, container)


def test_a_film_that_only_claims_alpha_is_taken(tmp_path: Path) -> None:
    """Its block additions have another number than that of alpha."""
    film = webm(tmp_path, "libvpx-vp9", "-vf", "format=yuva420p")
    film.write_bytes(film.read_bytes().replace(b"\xee\x81\x01", b"\xee\x81\x05"))
    index = index_film(film)
    assert index.streams[0].tags["alpha_mode"] == "1"
    assert not index.video.hidden_alpha
    check_output(index, resolve_encoder(index, EncodeSpec(), "webm"), "webm")


def test_hdr10_plus_that_begins_late_is_named(tmp_path: Path) -> None:
    """One SEI message (ITU-T T.35, ST 2094-40) in front of a late picture, far behind the frames that are probed."""
    raw, late = tmp_path / "plain.h264", tmp_path / "late.h264"
    ffmpeg(*picture(3), "-c:v", "libx264", "-preset", "ultrafast", "-bf", "0", "-f", "h264", raw)
    data = raw.read_bytes()
    pictures = [found.start() for found in re.finditer(rb"\x00\x00\x01[\x41\x61\x65]", data)]
    content = bytes.fromhex("b5003c00010401") + b"\x40" * 8
    message = b"\0\0\0\1\x06" + bytes([4, len(content)]) + content + b"\x80"
    late.write_bytes(data[: pictures[60]] + message + data[pictures[60] :])
    for path, noted in ((raw, False), (late, True)):
        film = path.with_suffix(".mp4")
        ffmpeg("-r", "25", "-i", path, "-c", "copy", film)
        assert any("HDR10+" in note for note in index_film(film).notes) == noted
