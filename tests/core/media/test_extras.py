"""3D layout, 360-degree projection and crop: read from the file's own bytes, put into the copy, compared, refused."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import av
import pytest
from av.sidedata.sidedata import Type

from core.errors import InputError
from core.media.containers import check_output
from core.media.encode import resolve_encoder
from core.media.extras import SPHERICAL_V1
from core.media.index import index_film
from core.media.movboxes import insert_in_sample_entry
from core.media.verify import verify_film
from core.records import Check, EncodeSpec
from tests.core.media import rendering
from tests.media_clips import VPX, X264, ffmpeg, make_clip, picture


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


# A film of 128x96: two pictures side by side, of a sphere turned by 90 degrees, the outer 8 and 4 pixels not shown.
ST3D = box(b"st3d", bytes(4) + b"\x02")
PROJECTION = box(b"prhd", bytes(4) + struct.pack(">3i", 90 << 16, 0, 0)) + box(b"equi", bytes(20))
SV3D = box(b"sv3d", box(b"svhd", bytes(4) + b"farm\0") + box(b"proj", PROJECTION))
CLAP = box(b"clap", struct.pack(">8i", 112, 1, 88, 1, 0, 1, 0, 1))
WHOLE_CLAP = box(b"clap", struct.pack(">8i", 128, 1, 96, 1, 0, 1, 0, 1))
XML = b'<rdf:SphericalVideo xmlns:GSpherical="http://ns.google.com/videos/1.0/spherical/"></rdf:SphericalVideo>'


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("extras")


def film(folder: Path, name: str, boxes: bytes, *encoder: str) -> Path:
    """One second with boxes in its sample entry."""
    path = folder / name
    ffmpeg(*picture(1), *(encoder or X264), path)
    path.write_bytes(insert_in_sample_entry(path.read_bytes(), boxes))
    return path


def rendered(source: Path, output: Path) -> dict[str, Check]:
    """The film rendered to `output`, and the checks that failed."""
    index = index_film(source)
    container = rendering.container_for(output, index)
    chosen = rendering.settings(index, container, rendering.FAST)
    assert chosen is not None
    check_output(index, chosen, container)
    rendering.render(source, index, chosen, output, pieces=2)
    report = verify_film(source, output, source_index=index, settings=chosen)
    return {check.name: check for check in report.checks if not check.ok}


def sides(path: Path) -> dict[Type, bytes]:
    """What libavformat itself makes of it, on the first frame."""
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        return {item.type: bytes(item) for item in frame.side_data if item.type in (Type.STEREO3D, Type.SPHERICAL)}


@pytest.mark.parametrize("name", ["in.mp4", "in.mov"])
def test_boxes_are_carried_as_they_are(name: str, tmp_path: Path) -> None:
    source = film(tmp_path, name, ST3D + SV3D + CLAP)
    parts = index_film(source).video.extras
    assert parts == {"st3d": ST3D.hex(), "sv3d": SV3D.hex(), "clap": CLAP.hex()}
    out = tmp_path / f"out{source.suffix}"
    assert rendered(source, out) == {}
    assert index_film(out).video.extras == parts
    assert sides(out) == sides(source)
    assert set(sides(out)) == {Type.STEREO3D, Type.SPHERICAL}


def test_a_sphere_of_the_first_kind_is_carried(tmp_path: Path) -> None:
    """A uuid box with XML beside the track's media."""
    source = tmp_path / "in.mp4"
    ffmpeg(*picture(1), *X264, source)
    data = bytearray(source.read_bytes())
    moov = data.rindex(b"moov") - 4
    track = data.index(b"trak", moov) - 4
    extra = box(b"uuid", SPHERICAL_V1 + XML)
    end = track + struct.unpack_from(">I", data, track)[0]
    for at in (moov, track):
        struct.pack_into(">I", data, at, struct.unpack_from(">I", data, at)[0] + len(extra))
    source.write_bytes(data[:end] + extra + data[end:])
    assert index_film(source).video.extras == {"uuid": extra.hex()}
    assert rendered(source, tmp_path / "out.mp4") == {}
    assert index_film(tmp_path / "out.mp4").video.extras == {"uuid": extra.hex()}


@pytest.mark.parametrize(("name", "encoder"), [("in.mkv", X264), ("in.webm", ["-c:v", "libvpx-vp9", *VPX])])
def test_elements_of_matroska_are_carried(name: str, encoder: list[str], tmp_path: Path) -> None:
    boxed = film(tmp_path, "boxed.mp4", SV3D + CLAP, "-vf", "setsar=4/3", *encoder)
    source = tmp_path / name
    ffmpeg("-i", boxed, "-c", "copy", "-metadata:s:v", "stereo_mode=left_right", source)
    parts = index_film(source).video.extras
    assert {"StereoMode", "Projection", "PixelCropTop", "PixelCropLeft"} <= set(parts)
    out = tmp_path / f"out{source.suffix}"
    assert rendered(source, out) == {}
    assert index_film(out).video.extras == parts
    assert sides(out) == sides(source)


def test_what_is_lost_is_noticed(tmp_path: Path) -> None:
    source = film(tmp_path, "in.mp4", ST3D + CLAP)
    index = index_film(source)
    plain = replace(index, video=replace(index.video, extras={}))
    chosen, out = rendering.lossless(index, tmp_path / "out.mp4")
    rendering.render(source, plain, chosen, out)
    failed = [check for check in verify_film(source, out).checks if not check.ok]
    assert [check.name for check in failed] == ["frame packing", "3D, 360 degrees and crop"]  # x264 writes its own
    assert "st3d=absent" in failed[1].got


def test_containers_that_cannot_carry_it_are_refused(tmp_path: Path) -> None:
    index = index_film(film(tmp_path, "in.mp4", SV3D))
    for container in ("matroska", "mpegts"):
        settings = resolve_encoder(index, EncodeSpec(), container)
        with pytest.raises(InputError, match=r"how the film's picture is to be shown \(sv3d\).*name the output \.mp4"):
            check_output(index, settings, container)


def test_a_crop_that_crops_nothing_is_none(tmp_path: Path) -> None:
    assert index_film(film(tmp_path, "in.mp4", WHOLE_CLAP)).video.extras == {}


def test_a_second_layer_of_pictures_is_refused(tmp_path: Path) -> None:
    index = index_film(film(tmp_path, "in.mp4", box(b"lhvC", bytes(16))))
    settings = resolve_encoder(index, EncodeSpec(), "mp4")
    with pytest.raises(InputError, match="second layer of pictures"):
        check_output(index, settings, "mp4")


def test_dolby_vision_is_named_from_the_header(tmp_path: Path) -> None:
    config = box(b"dvvC", bytes([1, 0, 0x10, 0x2D, 0x10]) + bytes(19))
    source = film(tmp_path, "in.mp4", config)
    assert any("Dolby Vision" in note for note in index_film(source).notes)
    copy = tmp_path / "copy.mkv"
    ffmpeg("-i", source, "-c", "copy", "-strict", "unofficial", copy)
    assert any("Dolby Vision" in note for note in index_film(copy).notes)


@pytest.mark.parametrize("name", ["cfr_mp4", "rich_ass_mkv", "prores_mov", "sar_mkv", "h264_ts"])
def test_plain_films_have_none(name: str, clips: Path) -> None:
    assert index_film(make_clip(name, clips)).video.extras == {}


def test_a_3d_layout_in_the_picture_itself_survives_or_is_noted(tmp_path: Path) -> None:
    """H.264 frame packing, an SEI message."""
    source = tmp_path / "in.mp4"
    ffmpeg(*picture(1), *X264, "-x264-params", "frame-packing=3", source)
    index = index_film(source)
    assert (index.video.frame_packing, index.video.extras) == (1, {})
    assert rendered(source, tmp_path / "out.mp4") == {}
    assert index_film(tmp_path / "out.mp4").video.frame_packing == 1
    other = resolve_encoder(index, EncodeSpec("hevc"), "mp4")
    assert any("3D layout" in note for note in check_output(index, other, "mp4"))
    flat = tmp_path / "flat.mp4"
    ffmpeg(*picture(1), *X264, flat)
    assert "frame packing" in {check.name for check in verify_film(source, flat).checks if not check.ok}
