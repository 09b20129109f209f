"""Working formats are planar and lossless, and planes are views of the frame's own samples."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from core.errors import InputError
from core.media.planes import (
    _PLANAR,
    _REPACKED,
    component_shapes,
    copy_frame,
    plane_views,
    to_working,
    working_format,
)
from tests.media_clips import ffmpeg, picture

RNG = np.random.default_rng(7)


def noise(pix_fmt: str, width: int = 38, height: int = 22) -> av.VideoFrame:
    """A frame of random samples that are valid in `pix_fmt`."""
    frame = av.VideoFrame(width, height, pix_fmt)
    for plane, (rows, columns) in zip(frame.planes, component_shapes(pix_fmt, width, height), strict=True):
        wide = pix_fmt.endswith("le")
        bits = max(component.bits for component in frame.format.components)
        samples = RNG.integers(0, 1 << bits, (rows, columns), dtype=np.uint16)
        line = np.zeros((rows, plane.line_size), np.uint8)
        line[:, : columns * (2 if wide else 1)] = samples.astype("<u2" if wide else np.uint8).view(np.uint8)
        plane.update(line.tobytes())
    return frame


FEW_BITS = {name for name in _REPACKED if name.startswith(("rgb44", "bgr44", "rgb5", "bgr5", "rgb8", "bgr8"))}


@pytest.mark.parametrize("packed", sorted(set(_REPACKED) - FEW_BITS - {"pal8"}))
def test_repacking_loses_nothing(packed: str) -> None:
    """planar -> packed -> planar is the identity on whatever the packed format can hold."""
    planar = _REPACKED[packed]
    try:
        start = noise(planar).reformat(format=packed, threads=1)
        back = start.reformat(format=planar, threads=1)
    except ValueError:
        pytest.fail(f"{packed} cannot be converted")
    again = to_working(back.reformat(format=packed, threads=1), planar)
    held = to_working(start, planar)
    for one, two in zip(plane_views(held), plane_views(again), strict=True):
        assert np.array_equal(one, two)


@pytest.mark.parametrize("packed", sorted(FEW_BITS))
def test_few_bits_stay_distinct(packed: str) -> None:
    """Every code of a format below eight bits a component becomes a colour of its own, the same everywhere."""
    wide = packed.endswith("le")
    codes = np.arange(1 << (16 if wide else 8), dtype="<u2" if wide else np.uint8).reshape(256 if wide else 1, 256)
    frame = av.VideoFrame(codes.shape[1], codes.shape[0], packed)
    line = np.zeros((codes.shape[0], frame.planes[0].line_size), np.uint8)
    line[:, : codes.shape[1] * codes.itemsize] = codes.view(np.uint8).reshape(codes.shape[0], -1)
    frame.planes[0].update(line.tobytes())
    colours = np.stack(plane_views(to_working(frame, _REPACKED[packed])), axis=-1).reshape(-1, 3)
    bits = sum(component.bits for component in frame.format.components)
    assert len(np.unique(colours, axis=0)) == 1 << bits


def test_palette_becomes_its_colours(tmp_path: Path) -> None:
    """A film of palette pictures gives the colours that FFmpeg's own RGB conversion gives."""
    path = tmp_path / "palette.mov"
    ffmpeg(*picture(0.2), "-pix_fmt", "pal8", "-c:v", "png", path)
    with av.open(str(path)) as film:
        frame = next(film.decode(video=0))
        assert frame.format.name == "pal8"
        green, blue, red = plane_views(to_working(frame, working_format("pal8")))
        assert np.array_equal(np.stack([red, green, blue], axis=-1), frame.to_ndarray(format="rgb24"))


@pytest.mark.parametrize(
    ("packed", "planar"),
    [("nv12", "yuv420p"), ("p010le", "yuv420p10le"), ("yuyv422", "yuv422p"), ("rgb24", "gbrp"), ("bgra", "gbrap")],
)
def test_repacking_keeps_every_sample(packed: str, planar: str) -> None:
    source = noise(planar)
    if planar.endswith("10le"):
        assert max(view.max() for view in plane_views(source)) <= 1023
    there = source.reformat(format=packed, threads=1)
    assert there.format.name == packed
    for one, two in zip(plane_views(source), plane_views(to_working(there, planar)), strict=True):
        assert np.array_equal(one, two)


def test_repacking_is_the_same_every_time() -> None:
    for _ in range(100):
        source = noise("yuv420p10le")
        packed = source.reformat(format="p010le", threads=1)
        for one, two in zip(plane_views(source), plane_views(to_working(packed, "yuv420p10le")), strict=True):
            assert np.array_equal(one, two)


@pytest.mark.parametrize("pix_fmt", sorted(_PLANAR))
def test_views_have_component_shapes(pix_fmt: str) -> None:
    frame = noise(pix_fmt, 37, 23)
    views = plane_views(frame)
    assert [view.shape for view in views] == list(component_shapes(pix_fmt, 37, 23))
    assert all(view.dtype == (np.uint16 if pix_fmt.endswith("le") else np.uint8) for view in views)
    views[0][3, 5] = 1
    assert plane_views(frame)[0][3, 5] == 1


def test_working_format_names_what_it_refuses() -> None:
    assert working_format("yuvj420p") == "yuvj420p"
    assert working_format("yuv422p10be") == "yuv422p10le"
    assert working_format("nv12") == "yuv420p"
    with pytest.raises(InputError, match="gbrpf32le"):
        working_format("gbrpf32le")
    with pytest.raises(InputError, match="xyz12le"):
        working_format("xyz12le")


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p10le", "gbrp", "yuvj420p", "gray", "yuva444p12le"])
def test_a_copy_is_equal_and_apart(pix_fmt: str) -> None:
    source = noise(pix_fmt)
    source.pts, source.colorspace, source.color_range = 77, 1, 2
    twin = copy_frame(source)
    before = [view.copy() for view in plane_views(source)]
    assert (twin.pts, int(twin.colorspace), int(twin.color_range)) == (77, 1, 2)
    for one, two in zip(before, plane_views(twin), strict=True):
        assert np.array_equal(one, two)
        two[...] = 0
    for one, two in zip(before, plane_views(source), strict=True):
        assert np.array_equal(one, two)
