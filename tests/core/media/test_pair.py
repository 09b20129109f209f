"""In what planes two films are compared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.errors import InputError
from core.media.decode import decode_segment
from core.media.index import index_film
from core.media.pair import pair_format
from core.media.plan import plan_segments
from core.records import Colour
from tests.frames import index_of
from tests.media_clips import ffmpeg, picture


@pytest.mark.parametrize(
    ("one", "other", "format_", "as_rgb"),
    [
        ("yuv420p", "yuv420p", "yuv420p", False),
        ("nv12", "yuv420p", "yuv420p", False),
        ("bgr24", "gbrp", "gbrp", False),
        ("yuv420p", "yuv420p10le", "gbrp", True),
        ("yuv420p", "yuv444p", "gbrp", True),
        ("yuvj420p", "yuv420p", "gbrp", True),
    ],
)
def test_planes_are_compared_where_they_can_be(one: str, other: str, format_: str, as_rgb: bool) -> None:
    made = pair_format(index_of(64, 48, one), index_of(64, 48, other))
    assert (made.format, made.as_rgb) == (format_, as_rgb)
    assert bool(made.note) is as_rgb


def test_full_range_is_the_same_under_both_names() -> None:
    stated = index_of(64, 48, "yuv420p", colour=Colour(range=2))
    made = pair_format(index_of(64, 48, "yuvj420p"), stated)
    assert not made.as_rgb


def test_films_of_other_sizes_or_lengths_are_refused() -> None:
    one = index_of(64, 48, "yuv420p")
    with pytest.raises(InputError, match="64x48 and 64x50"):
        pair_format(one, index_of(64, 50, "yuv420p"))
    two = replace(
        one,
        pts=np.array([0, 1], np.int64),
        duration=np.ones(2, np.int64),
        key=np.ones(2, np.bool_),
        packet=np.arange(2, dtype=np.int64),
    )
    with pytest.raises(InputError, match="1 and 2 frames"):
        pair_format(one, two)


def test_frames_of_other_depths_become_the_same_picture(tmp_path: Path) -> None:
    films = [tmp_path / "a.mkv", tmp_path / "b.mkv"]
    ffmpeg(*picture(0.2), "-c:v", "ffv1", "-pix_fmt", "yuv444p", films[0])
    ffmpeg("-i", films[0], "-c:v", "ffv1", "-pix_fmt", "yuv444p10le", films[1])
    indexes = [index_film(path) for path in films]
    pair = pair_format(*indexes)
    planes = []
    for which, (path, index) in enumerate(zip(films, indexes, strict=True)):
        frame = next(decode_segment(path, index, plan_segments(index, 0)[0])).frame  # type: ignore[arg-type]
        planes.append(pair.planes(frame, which))
    for one, other in zip(*planes, strict=True):
        assert one.shape == (96, 128)
        assert np.abs(one.astype(int) - other).max() <= 2
