"""The join: times from the table, one encoder's segments, tags and boxes that read back."""

from __future__ import annotations

import struct
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.errors import PlanError
from core.media.ebml import display_size
from core.media.encode import resolve_encoder
from core.media.index import index_film
from core.media.join import join_film
from core.media.movboxes import tags_box
from core.media.pieces import decode_times
from core.media.verify import verify_film
from core.records import EncodeSpec, MediaIndex
from tests.core.media import rendering
from tests.media_clips import make_clip


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("join")


@pytest.fixture(scope="module")
def film(clips: Path) -> MediaIndex:
    return index_film(make_clip("cfr_mp4", clips))


@given(
    steps=st.lists(st.integers(4, 5000), min_size=1, max_size=40),
    start=st.integers(-500, 5000),
    depth=st.integers(0, 3),
    floor=st.booleans(),
)
@example(steps=[4], start=0, depth=2, floor=True)  # fewer frames than are reordered
def test_decode_times_rise_and_come_before_display(
    film: MediaIndex, steps: list[int], start: int, depth: int, floor: bool
) -> None:
    pts = start + np.concatenate([[0], np.cumsum(steps)])
    n = len(pts)
    index = replace(film, pts=pts, duration=np.full(n, 4), key=np.arange(n) == 0, packet=np.arange(n))
    dts = list(decode_times(index, depth, floor=floor))
    assert len(dts) == n
    assert all(a < b for a, b in pairwise(dts))
    # Display order delayed by the depth is the latest any frame may be stored.
    assert all(dts[k] <= pts[max(0, k - depth)] or floor for k in range(n))
    assert not (floor and start >= 0) or min(dts) >= 0


def test_segments_must_tile_the_film(clips: Path, tmp_path: Path) -> None:
    source = make_clip("cfr_mp4", clips)
    index = index_film(source)
    settings = resolve_encoder(index, EncodeSpec(preset="ultrafast"), "mp4")
    pairs = rendering.encode(source, index, settings, rendering.cut(index, 0), tmp_path)
    with pytest.raises(PlanError, match="starts at frame"):
        join_film(source, index, settings, pairs[1:], tmp_path / "a.mp4", "mp4")
    with pytest.raises(PlanError, match="end at frame"):
        join_film(source, index, settings, pairs[:-1], tmp_path / "a.mp4", "mp4")
    swapped = [(pairs[0][0], pairs[1][1]), (pairs[1][0], pairs[0][1]), *pairs[2:]]
    lengths = [s.frames for s, _ in pairs]
    if lengths[0] == lengths[1]:
        join_film(source, index, settings, swapped, tmp_path / "b.mp4", "mp4")


def test_segments_of_two_encoders_are_refused(clips: Path, tmp_path: Path) -> None:
    source = make_clip("cfr_mp4", clips)
    index = index_film(source)
    cuts = rendering.cut(index, 2)
    fast, slow = (resolve_encoder(index, EncodeSpec("h264", None, p), "mp4") for p in ("ultrafast", "slow"))
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first = rendering.encode(source, index, fast, cuts[:1], tmp_path / "a")
    rest = rendering.encode(source, index, slow, cuts[1:], tmp_path / "b")
    with pytest.raises(PlanError, match="other parameters"):
        join_film(source, index, fast, first + rest, tmp_path / "out.mp4", "mp4")


@pytest.mark.parametrize("name", ["rich_mp4", "rich_mov", "rich_srt_mkv"])
def test_added_tags_read_back(name: str, clips: Path, tmp_path: Path) -> None:
    source = make_clip(name, clips)
    index = index_film(source)
    chosen, output = rendering.lossless(index, tmp_path / source.name)
    tags = {"AIGC": '{"Label":"1","ContentProducer":"ü"}'}
    rendering.render(source, index, chosen, output, tags=tags)
    with av.open(str(output)) as file:
        assert file.metadata["AIGC"] == tags["AIGC"]
    report = verify_film(source, output, source_index=index, settings=chosen, extra_tags=tags)
    assert [c for c in report.checks if not c.ok] == []


def test_a_tags_box_is_whole() -> None:
    box = tags_box({"AIGC": "x", "second": "ü"})
    assert struct.unpack_from(">I4s", box) == (len(box), b"meta")
    assert box.count(b"mdta") == 3  # the handler, and one for each key


@pytest.mark.parametrize("codec", ["vp9", "ffv1", "av1"])
def test_sample_aspect_in_matroska(codec: str, clips: Path, tmp_path: Path) -> None:
    source = make_clip("sar_mkv", clips)
    index = index_film(source)
    assert index.video.sample_aspect_ratio not in (0, 1)
    settings = resolve_encoder(index, EncodeSpec(codec), "matroska")
    out = tmp_path / "out.mkv"
    rendering.render(source, index, settings, out, pieces=2)
    report = verify_film(source, out, source_index=index, settings=settings)
    assert [c for c in report.checks if not c.ok] == []


@given(
    width=st.integers(1, 4096),
    height=st.integers(1, 4096),
    ratio=st.fractions(min_value=Fraction(1, 8), max_value=8, max_denominator=255),
)
def test_display_size_is_exact(width: int, height: int, ratio: Fraction) -> None:
    shown = display_size(width, height, ratio)
    assert Fraction(shown[0], shown[1]) == Fraction(width, height) * ratio
