"""The cast: tracks, gaps, chance finds, and who is chosen; on made-up faces whose truth is known."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import count, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
import pytest

from core.errors import PlanError
from core.faces.cast import cast_faces
from core.faces.track import GAP_FRAMES, Linker
from core.records import Colour, FaceTable, MediaIndex, VideoInfo
from tests.core.faces.whole_film import cast_at_once
from tests.faces_assets import cast_film, cast_in_parts, made_up_faces, pieces_of_film

FRAMES = 80


def film(frames: int = FRAMES, step: int = 1) -> MediaIndex:
    video = VideoInfo(
        0, "h264", 640, 480, "yuv420p", Fraction(1), None, 0, 1, Fraction(25), Colour(), None, None, 0
    )  # fmt: skip
    pts = np.arange(frames, dtype=np.int64) * step
    key = np.arange(frames) == 0
    return MediaIndex("0" * 64, 1, "mov", video, Fraction(1, 25), pts, np.ones_like(pts), key, pts, (), (), {})


def straight(
    first: int, end: int, x: float, y: float, *, speed: float = 1.0, radius: float = 50.0, seed: int = 0
) -> FaceTable:
    count = np.arange(first, end)
    return made_up_faces(
        count, np.stack([x + speed * (count - first), np.full(len(count), y)], axis=1), radius, shape_seed=seed
    )


def test_two_people_are_two_tracks_and_all_are_chosen() -> None:
    table = FaceTable.concat([straight(0, FRAMES, 100, 200), straight(0, FRAMES, 400, 200, radius=30)])
    cast = cast_film(film(), table, "all")
    assert len(cast) == 2 * FRAMES
    assert set(cast.track.tolist()) == {0, 1}
    assert (cast.role == 0).all()
    assert (np.diff(cast.frame) >= 0).all()
    for number, x in ((0, 100), (1, 400)):
        rows = cast.take(cast.track == number)
        np.testing.assert_array_equal(rows.frame, np.arange(FRAMES))
        np.testing.assert_allclose(rows.box[:, [0, 2]].mean(axis=1), x + np.arange(FRAMES), atol=0.05)


def test_largest_is_the_larger_track_wherever_it_is_seen() -> None:
    """The large one is small for a moment; the choice stays. Where it is absent the other one is replaced."""
    large = straight(10, 50, 100, 200, speed=0)
    small = straight(0, FRAMES, 400, 200, speed=0, radius=30)
    cast = cast_film(film(), FaceTable.concat([large, small]), "largest")
    chosen = cast.take(cast.role == 0)
    np.testing.assert_array_equal(chosen.frame, np.arange(FRAMES))
    large_track = int(cast.track[np.argmax(cast.box[:, 2] - cast.box[:, 0])])
    assert set(chosen.frame[chosen.track == large_track].tolist()) == set(range(10, 50))


def test_short_gaps_are_filled_and_long_ones_split() -> None:
    table = straight(0, FRAMES, 100, 200)
    lost = np.isin(table.frame, np.r_[20 : 20 + GAP_FRAMES, 50 : 50 + GAP_FRAMES + 1])
    cast = cast_film(film(), table.take(~lost), "all")
    assert set(np.arange(FRAMES)) - set(cast.frame.tolist()) == set(range(50, 50 + GAP_FRAMES + 1))
    filled = cast.take(np.isin(cast.frame, np.arange(20, 20 + GAP_FRAMES)))
    assert (filled.score == 0).all()
    assert (filled.role == 0).all()
    np.testing.assert_allclose(filled.box[:, 0], 50 + filled.frame, atol=0.1)
    assert set(cast.track.tolist()) == {0, 1}


def test_gaps_are_filled_by_time_not_by_count() -> None:
    """In variable frame rate a frame shown late is filled further along."""
    pts = np.array([0, 10, 20, 90, 100, 110], np.int64)
    index = film(6)
    index = MediaIndex(**{**{name: getattr(index, name) for name in index.__dataclass_fields__}, "pts": pts})
    centres = np.stack([pts / 2.0, np.full(6, 100.0)], axis=1)
    table = made_up_faces(range(6), centres)
    cast = cast_film(index, table.take(table.frame != 3), "all")
    np.testing.assert_allclose(cast.box[:, 0], centres[:, 0] - 50, atol=0.1)


def test_a_cut_ends_the_track() -> None:
    """Another place, another size, or another face at the same place and size."""
    for after in (
        straight(40, FRAMES, 400, 200),
        straight(40, FRAMES, 140, 200, radius=90),
        straight(40, FRAMES, 140, 200, seed=7),
    ):
        track = Linker().follow(FaceTable.concat([straight(0, 40, 100, 200), after]))
        assert set(track[:40].tolist()) == {0}
        assert set(track[40:].tolist()) == {1}


def test_chance_finds_and_faces_without_mesh_are_nobody() -> None:
    steady = straight(0, FRAMES, 100, 200)
    chance = made_up_faces(range(30, 32), np.full((2, 2), 400.0), score=0.3)
    brief = made_up_faces(range(60, 61), np.full((1, 2), 300.0), score=0.8)
    blind = made_up_faces(range(5, 25), np.full((20, 2), 550.0))
    blind = FaceTable(
        **{**{n: getattr(blind, n) for n in blind.__dataclass_fields__}, "mesh": np.full((20, 468, 2), np.nan)}
    )
    cast = cast_film(film(), FaceTable.concat([steady, chance, brief, blind]), "all")
    nobody = cast.take(cast.role < 0)
    assert sorted(nobody.frame.tolist()) == [*range(5, 25), 30, 31]
    assert (nobody.track == -1).all()
    assert int((cast.role == 0).sum()) == FRAMES + 1


def test_fast_movement_is_followed() -> None:
    """Half a face's width a frame, once the track knows its speed."""
    count = np.arange(20)
    x = 100 + np.cumsum(np.minimum(5.0 * count, 50.0))
    cast = cast_film(film(), made_up_faces(count, np.stack([x, np.full(20, 200.0)], axis=1)), "all")
    assert set(cast.track.tolist()) == {0}


def test_rows_may_come_in_any_order_and_the_result_is_the_same() -> None:
    table = FaceTable.concat([straight(0, FRAMES, 100, 200), straight(5, 70, 400, 200, radius=30)])
    expected = cast_film(film(), table, "largest")
    shuffled = cast_film(film(), table.take(np.random.default_rng(3).permutation(len(table))), "largest")
    for name in expected.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(shuffled, name), getattr(expected, name))


def test_nothing_found_and_faces_outside_the_film() -> None:
    assert len(cast_film(film(), FaceTable.empty(), "largest")) == 0
    with pytest.raises(PlanError, match="film of 80"):
        cast_film(film(), straight(70, 90, 100, 100), "all")
    with pytest.raises(PlanError, match="frame 9 after those of frame 9"):
        cast_in_parts(film(), [straight(0, 10, 100, 100), straight(9, 20, 100, 100)], [], "all")


def test_each_row_knows_how_large_its_track_gets() -> None:
    """A face that grows to three times its size, beside one that keeps its own; one seen by chance has no track."""
    grown = FaceTable.concat(
        [made_up_faces(range(n, n + 1), np.array([[200.0, 200.0]]), 40.0 + n) for n in range(FRAMES)]
    )
    steady = straight(0, FRAMES, 500, 200, speed=0, radius=30)
    chance = made_up_faces(range(30, 31), np.full((1, 2), 420.0), score=0.3)
    cast = cast_film(film(), FaceTable.concat([grown, steady, chance]), "all")
    reach = [set(cast.reach_px[cast.track == track].tolist()) for track in (-1, 0, 1)]
    assert [len(found) for found in reach] == [1, 1, 1]
    sizes = sorted(found.pop() for found in reach)
    assert sizes[0] == 0
    assert 2 * 30 * 0.9 < sizes[1] <= 2 * 30 * 1.01
    assert 2 * (40 + FRAMES - 1) * 0.9 < sizes[2] <= 2 * (40 + FRAMES - 1) * 1.01


def test_reach_is_in_displayed_pixels() -> None:
    """Pixels twice as wide as high stretch the picture, whichever way it is turned for display."""
    table = straight(0, 20, 100, 200, speed=0)
    plain = float(cast_film(film(), table, "all").reach_px[0])
    narrow = replace(table, mesh=(table.mesh - 100) * np.array([0.5, 1], np.float32) + 100)
    for rotation in (0, 90):
        video = replace(film().video, sample_aspect_ratio=Fraction(2), rotation=rotation)
        cast = cast_film(replace(film(), video=video), narrow, "all")
        assert float(cast.reach_px[0]) == pytest.approx(plain, rel=1e-3)


def random_film(seed: int, frames: int = 60) -> tuple[MediaIndex, FaceTable]:
    """A film at a random frame rate with up to six people who come, go, shake, are lost, and look alike at times."""
    random = np.random.default_rng(seed)
    pts = np.cumsum(random.integers(1, 4, frames)) if random.random() < 0.5 else np.arange(frames) * 3
    video = replace(film().video, sample_aspect_ratio=Fraction(4, 3), rotation=int(random.choice([0, 90, 180])))
    index = replace(film(frames), pts=pts.astype(np.int64), video=video)
    tables = []
    for person in range(random.integers(1, 7)):
        first = int(random.integers(0, frames))
        shown = np.arange(first, min(frames, first + int(random.choice([1, 2, 3, 30, frames]))))
        shown = shown[random.random(len(shown)) > random.choice([0.0, 0.3, 0.7])]
        place = random.uniform(60, 400, 2) + np.cumsum(
            random.normal(0, random.choice([0, 3, 20]), (len(shown), 2)), axis=0
        )
        noise = random.normal(0, random.choice([0.0, 1.0]), (len(shown), 468, 2))
        score = float(random.choice([0.3, 0.9]))
        faces = made_up_faces(
            shown, np.round(place), float(random.integers(20, 60)), score=score, shape_seed=person % 2, noise=noise
        )
        mesh = np.asarray(np.round(faces.mesh * 64) / 64, np.float32)
        mesh[random.random(len(shown)) < 0.05] = np.nan
        twice = [replace(faces, mesh=mesh)] * (2 if random.random() < 0.2 else 1)  # the same find two times over
        tables += twice
    return index, FaceTable.concat(tables)


@pytest.mark.parametrize("seed", range(12))
def test_every_cut_of_the_film_gives_what_the_whole_film_gives(seed: int) -> None:
    """To the last bit: read in any parts, written in any segments, in variable frame rate, with ties and gaps."""
    index, table = random_film(seed)
    random = np.random.default_rng(seed)
    select: Literal["largest", "all"] = "largest" if seed % 2 else "all"
    expected = cast_at_once(index, table, select)
    some = sorted(random.choice(np.arange(1, index.frames), 5, replace=False).tolist())
    for cuts in ([], list(range(1, index.frames)) if seed % 4 == 0 else some):
        ends = [0, *sorted(random.choice(np.arange(1, index.frames), 4, replace=False)), index.frames]
        parts = [table.take((table.frame >= a) & (table.frame < b)) for a, b in pairwise(ends)]
        segments = cast_in_parts(index, parts, cuts, select)
        assert len(segments) == len(cuts) + 1
        for segment, piece in zip(pieces_of_film(index, cuts), segments, strict=True):
            assert ((piece.frame >= segment.first) & (piece.frame < segment.end)).all()
        for name in FaceTable.__dataclass_fields__:
            np.testing.assert_array_equal(
                np.concatenate([getattr(piece, name) for piece in segments]), getattr(expected, name), name
            )


def test_memory_does_not_grow_with_the_film() -> None:
    """Four times the film may take 128 bytes more a face, not the 4 kB that a face is."""

    def peak_bytes(frames: int) -> int:
        def parts() -> Iterator[FaceTable]:
            for first in range(0, frames, 20):
                gc.collect()  # at fixed places, so that the peak is the same each time
                yield straight(first, first + 20, 100 + first / 10, 200, speed=0.1)

        index = film(frames)
        with TemporaryDirectory() as folder:
            names = count()
            segments = pieces_of_film(index, range(20, frames, 20))
            tracemalloc.start()
            tables = cast_faces(index, parts, segments, "largest", lambda end: Path(folder, f"{next(names)}{end}"))
            assert sum(len(table) for table in tables) == frames
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        return peak

    gc.freeze()  # makes the collections quick
    peak_bytes(20)  # what is made once
    assert peak_bytes(400) - peak_bytes(100) < 300 * 128
    gc.unfreeze()
