"""Cuts of synthetic films whose cuts are known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from core.errors import PlanError, StorageError
from core.faces.shots import (
    THUMB_HIGH,
    THUMB_WIDE,
    Cutter,
    ShotScorer,
    ShotScores,
    find_cuts,
    read_scores,
    write_scores,
)
from core.records import MediaIndex
from tests.faces_assets import carphone
from tests.follow_films import film

Frames = list[NDArray[np.uint8]]
WIDE, HIGH = 192, 108


def camera(
    name: str, frames: int, x: float, y: float, move: float, *, zoom: float = 1.0, blur: int = 0, light: float = 1.0
) -> Frames:
    """A camera that moves over one of skimage's pictures, `move` pixels a frame, with a sensor's noise."""
    random = np.random.default_rng(frames)
    out = []
    for frame in range(frames):
        place = np.array([[zoom, 0, -x - move * frame], [0, zoom, -y - move * frame / 4]])
        picture = getattr(skimage.data, name)()[..., :3]
        shown = cv2.warpAffine(picture, place, (WIDE, HIGH), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REFLECT)
        shown = cv2.blur(shown, (blur, 1)) if blur else shown
        out.append(np.clip(light * shown + random.normal(0, 2, shown.shape), 0, 255).astype(np.uint8))
    return out


def talking(first: int, last: int) -> Frames:
    with av.open(str(carphone())) as file:
        return [np.asarray(item.to_ndarray(format="rgb24"), np.uint8) for item in file.decode(video=0)][first:last]


def lit(frames: Frames, places: list[int], factor: float, more: float) -> Frames:
    """Some of the frames brighter or darker."""
    changed = {place: np.clip(frames[place] * factor + more, 0, 255).astype(np.uint8) for place in places}
    return [changed.get(place, frame) for place, frame in enumerate(frames)]


def scores_of(frames: Frames, cuts: list[int]) -> list[ShotScores]:
    """The scores of a film cut into segments before the frames `cuts`."""
    edges = [0, *cuts, len(frames)]
    out = []
    for first, end in pairwise(edges):
        scorer = ShotScorer(first)
        for frame in frames[first:end]:
            scorer.add(frame)
        out.append(scorer.scores())
    return out


def cuts_of(frames: Frames, index: MediaIndex | None = None) -> list[int]:
    return [int(cut) for cut in find_cuts(index or film(len(frames)), scores_of(frames, []))]


ROOM = camera("astronaut", 20, 40, 10, 0.5)
COFFEE = camera("coffee", 20, 20, 20, 0.5)
CAT = camera("chelsea", 20, 40, 40, 0.5)


def test_hard_cuts_are_found() -> None:
    face = [np.asarray(cv2.resize(frame, (WIDE, HIGH)), np.uint8) for frame in talking(0, 20)]
    assert cuts_of(ROOM + COFFEE + CAT + face + COFFEE) == [20, 40, 60, 80]
    assert cuts_of(lit(ROOM + CAT, list(range(40)), 0.15, 0)) == [20]
    assert cuts_of(ROOM[:5] + COFFEE[:5] + CAT[:5] + ROOM[:5]) == [5, 10, 15]


def test_cuts_to_another_view_of_the_same_scene_are_found() -> None:
    views = [ROOM, camera("astronaut", 20, 60, 50, 0.3, zoom=0.7), camera("astronaut", 20, 150, 40, 0.3)]
    assert cuts_of([frame for view in views for frame in view]) == [20, 40]


@pytest.mark.parametrize("length", [1, 2, 4])
def test_flashes_and_dropouts_are_no_cuts(length: int) -> None:
    places = list(range(8, 8 + length))
    assert cuts_of(lit(ROOM, places, 2.2, 60)) == []
    assert cuts_of(lit(ROOM, places, 0, 255)) == []
    assert cuts_of(lit(ROOM, places, 0, 0)) == []


def test_fades_and_dissolves_of_one_scene_are_no_cuts() -> None:
    away = [(frame * (1 - place / 19)).astype(np.uint8) for place, frame in enumerate(ROOM)]
    assert cuts_of(away + away[::-1]) == []
    mixed = [
        (a * (1 - n / 19.0) + b * (n / 19.0)).astype(np.uint8) for n, (a, b) in enumerate(zip(ROOM, CAT, strict=True))
    ]
    assert cuts_of([*[ROOM[0]] * 5, *mixed, *[CAT[-1]] * 5]) == []


def test_fast_movement_is_no_cut() -> None:
    whip = camera("coffee", 8, 30, 20, 30, blur=21)
    assert cuts_of([*camera("coffee", 12, 18, 17, 1), *whip, *camera("coffee", 12, 270, 80, 1)]) == []
    shaking = [camera("astronaut", 1, 60 + 9 * np.sin(1.7 * n), 40 + 7 * np.cos(2.1 * n), 0)[0] for n in range(30)]
    assert cuts_of(shaking) == []
    assert cuts_of(talking(0, 120)[::10]) == []


def test_repeated_frames_and_variable_frame_rate_change_nothing() -> None:
    frames = [frame for frame in camera("astronaut", 12, 40, 10, 3) + camera("coffee", 12, 40, 10, 3) for _ in range(3)]
    assert cuts_of(frames) == [36]
    random = np.random.default_rng(0)
    index = film(40)
    pts = np.cumsum(random.integers(1, 5, 40))
    uneven = replace(index, pts=pts, duration=np.append(np.diff(pts), 1))
    assert cuts_of(ROOM + CAT, uneven) == [20]


@settings(max_examples=8, deadline=None)
@given(st.sets(st.integers(1, 59)))
def test_it_does_not_matter_how_the_film_is_cut(cuts: set[int]) -> None:
    frames = lit(ROOM, [8], 0, 255) + COFFEE + CAT
    got = find_cuts(film(60), scores_of(frames, sorted(cuts)))
    assert got.tolist() == [20, 40]


def test_scores_come_back_from_their_file(tmp_path: Path) -> None:
    (scores,) = scores_of(ROOM + CAT, [])
    for name in ("one", "two"):
        write_scores(scores, tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    back = read_scores(tmp_path / "one")
    assert back.first == scores.first
    np.testing.assert_array_equal(back.score, scores.score)
    np.testing.assert_array_equal(back.kept, scores.kept)
    np.testing.assert_array_equal(back.thumbs, scores.thumbs)
    assert back.kept.tolist() == [0, 19, 20, 39]
    (tmp_path / "two").write_bytes(b"nothing")
    with pytest.raises(StorageError, match="not shot scores"):
        read_scores(tmp_path / "two")


def restless(frames: int, each: int) -> Iterator[ShotScores]:
    """Scores that all are large, some far larger, in parts of `each` frames; with all their pictures."""
    random = np.random.default_rng(0)
    picture = random.integers(0, 256, (each, THUMB_HIGH, THUMB_WIDE, 3), np.uint8)
    for first in range(0, frames, each):
        score = np.where(np.arange(first, first + each) % 9 == 4, 0.9, 0.3).astype(np.float32)
        yield ShotScores(first, score, np.arange(each), picture)


def test_pictures_are_held_only_until_it_is_decided() -> None:
    """However long the film, and however much its frames differ."""
    most = []
    for frames in (400, 4000):
        cutter, held = Cutter(film(frames)), []
        for part in restless(frames, 40):
            cutter.add(part)
            held.append(cutter.held)
        assert len(cutter.close()) > frames / 20
        most.append(max(held))
    assert most[0] == most[1] < 40


def test_scores_that_do_not_cover_the_film_are_refused() -> None:
    first, second = scores_of(ROOM, [12])
    for parts in ([first], [second], [second, first], [first, first], []):
        with pytest.raises(PlanError, match="shot scores"):
            find_cuts(film(20), parts)
