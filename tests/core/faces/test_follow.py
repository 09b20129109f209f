"""Following faces: tracks, gaps, chance finds, and numbers of tracks; on made-up faces whose truth is known."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import count, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import PlanError
from core.faces.follow import follow_film
from core.records import FaceTable, MediaIndex
from tests.faces_assets import made_up_faces, pieces_of_film
from tests.follow_films import film, follow, straight, vectors_of, without_mesh

FRAMES = 80
GAP = 11  # frames that may be missing at 25 frames/s


def test_two_people_are_two_tracks() -> None:
    followed = follow(
        film(FRAMES), FaceTable.concat([straight(0, FRAMES, 100, 200), straight(0, FRAMES, 400, 200, radius=30)])
    )
    assert len(followed.table) == 2 * FRAMES
    assert (followed.table.role == -1).all()
    assert (np.diff(followed.table.frame) >= 0).all()
    assert len(followed.tracks) == 2
    for number, x in ((0, 100), (1, 400)):
        rows = followed.rows(number)
        np.testing.assert_array_equal(rows.frame, np.arange(FRAMES))
        np.testing.assert_allclose(rows.box[:, [0, 2]].mean(axis=1), x + np.arange(FRAMES), atol=0.05)


def test_short_gaps_are_filled_and_long_ones_split() -> None:
    table = straight(0, FRAMES, 100, 200)
    lost = np.isin(table.frame, np.r_[20 : 20 + GAP, 50 : 50 + GAP + 1])
    followed = follow(film(FRAMES), table.take(~lost))
    assert set(np.arange(FRAMES)) - set(followed.table.frame.tolist()) == set(range(50, 50 + GAP + 1))
    filled = followed.table.take(np.isin(followed.table.frame, np.arange(20, 20 + GAP)))
    assert (filled.score == 0).all()
    assert (filled.track == 0).all()
    np.testing.assert_allclose(filled.box[:, 0], 50 + filled.frame, atol=0.1)
    assert followed.tracks.first.tolist() == [0, 50 + GAP + 1]
    assert followed.tracks.end.tolist() == [50, FRAMES]
    assert followed.tracks.found.tolist() == [50 - GAP, FRAMES - 50 - GAP - 1]


def test_gaps_are_filled_by_time_not_by_count() -> None:
    """In variable frame rate a frame shown late is filled further along."""
    pts = np.array([0, 10, 20, 90, 100, 110], np.int64)
    index = replace(film(6, rate=1000), pts=pts)
    centres = np.stack([pts / 2.0, np.full(6, 100.0)], axis=1)
    table = made_up_faces(range(6), centres)
    followed = follow(index, table.take(table.frame != 3))
    np.testing.assert_allclose(followed.table.box[:, 0], centres[:, 0] - 50, atol=0.1)


@pytest.mark.parametrize("rate", [10, 25, 60])
def test_half_a_second_is_filled_at_every_rate(rate: int) -> None:
    table = straight(0, 90, 100, 200, speed=0)
    most = rate // 2 - 1 + rate % 2 // 2
    for lost, tracks in ((most, 1), (most + 1, 2)):
        left = table.take((table.frame < 20) | (table.frame >= 20 + lost))
        assert len(follow(film(90, rate=rate), left).tracks) == tracks


def test_a_cut_ends_the_track_though_nothing_moves() -> None:
    followed = follow(film(FRAMES), straight(0, FRAMES, 100, 200), cuts=[30, 31])
    assert followed.tracks.first.tolist() == [0, 30, 31]
    assert followed.tracks.end.tolist() == [30, 31, FRAMES]


def test_no_gap_is_filled_across_a_cut() -> None:
    table = straight(0, FRAMES, 100, 200)
    followed = follow(film(FRAMES), table.take((table.frame < 28) | (table.frame > 31)), cuts=[30])
    assert followed.tracks.end.tolist() == [28, FRAMES]
    assert set(range(28, 32)).isdisjoint(followed.table.frame.tolist())


def test_a_cut_that_nobody_saw_ends_the_track() -> None:
    """Another place, another size, or another face at the same place and size."""
    for after in (
        straight(40, FRAMES, 400, 200),
        straight(40, FRAMES, 140, 200, radius=90),
        straight(40, FRAMES, 140, 200, seed=7),
    ):
        followed = follow(film(FRAMES), FaceTable.concat([straight(0, 40, 100, 200), after]))
        assert followed.tracks.end.tolist() == [40, FRAMES]


def test_chance_finds_are_nobody() -> None:
    steady = straight(0, FRAMES, 100, 200)
    chance = made_up_faces(range(30, 32), np.full((2, 2), 400.0), score=0.3)
    brief = made_up_faces(range(60, 61), np.full((1, 2), 300.0), score=0.8)
    blind = without_mesh(made_up_faces(range(5, 25), np.full((20, 2), 550.0), score=0.6), range(FRAMES))
    followed = follow(film(FRAMES), FaceTable.concat([steady, chance, brief, blind]))
    nobody = followed.rows(-1)
    assert sorted(nobody.frame.tolist()) == [*range(5, 25), 30, 31]
    assert followed.tracks.first.tolist() == [0, 60]


def test_faces_without_mesh_are_followed() -> None:
    """In profile no mesh is found: for a moment it is filled in, for longer it stays missing; the track goes on."""
    table = without_mesh(straight(0, FRAMES, 100, 200), [*range(10, 15), *range(30, 60)])
    followed = follow(film(FRAMES), table)
    assert len(followed.tracks) == 1
    rows = followed.rows(0)
    np.testing.assert_array_equal(np.isfinite(rows.mesh).all(axis=(1, 2)), ~np.isin(rows.frame, np.arange(30, 60)))
    np.testing.assert_allclose(rows.box[:, 0], 50 + rows.frame, atol=0.1)
    expected = straight(0, FRAMES, 100, 200).mesh[10:15]
    np.testing.assert_allclose(rows.mesh[10:15], expected, atol=0.1)
    only = follow(film(FRAMES), without_mesh(straight(0, FRAMES, 100, 200), range(FRAMES)))
    assert len(only.tracks) == 1
    np.testing.assert_allclose(only.table.points, straight(0, FRAMES, 100, 200).points, atol=0.1)


def test_fast_movement_is_followed() -> None:
    """Half a face's width a frame, once the track knows its speed."""
    shown = np.arange(20)
    x = 100 + np.cumsum(np.minimum(5.0 * shown, 50.0))
    followed = follow(film(FRAMES), made_up_faces(shown, np.stack([x, np.full(20, 200.0)], axis=1)))
    assert len(followed.tracks) == 1


def test_rows_may_come_in_any_order_and_the_result_is_the_same() -> None:
    table = FaceTable.concat([straight(0, FRAMES, 100, 200), straight(5, 70, 400, 200, radius=30)])
    expected = follow(film(FRAMES), table).table
    shuffled = follow(film(FRAMES), table.take(np.random.default_rng(3).permutation(len(table)))).table
    for name in expected.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(shuffled, name), getattr(expected, name))


def test_nothing_found_and_faces_outside_the_film() -> None:
    nothing = follow(film(FRAMES), FaceTable.empty())
    assert (len(nothing.table), len(nothing.tracks)) == (0, 0)
    with pytest.raises(PlanError, match="film of 80"):
        follow(film(FRAMES), straight(70, 90, 100, 100))
    with pytest.raises(PlanError, match="frame 9 after those of frame 9"):
        follow(film(FRAMES), straight(0, 10, 100, 100), straight(9, 20, 100, 100))


def test_each_row_knows_how_large_its_track_gets() -> None:
    """A face that grows to three times its size, beside one that keeps its own; one seen by chance has no track."""
    grown = FaceTable.concat(
        [made_up_faces(range(n, n + 1), np.array([[200.0, 200.0]]), 40.0 + n) for n in range(FRAMES)]
    )
    steady = straight(0, FRAMES, 500, 200, speed=0, radius=30)
    chance = made_up_faces(range(30, 31), np.full((1, 2), 420.0), score=0.3)
    followed = follow(film(FRAMES), FaceTable.concat([grown, steady, chance]))
    table = followed.table
    reach = [set(table.reach_px[table.track == track].tolist()) for track in (-1, 0, 1)]
    assert [len(found) for found in reach] == [1, 1, 1]
    assert reach[0] == {0.0}
    assert [one.pop() for one in reach[1:]] == followed.tracks.reach_px.tolist()
    sizes = sorted(followed.tracks.reach_px.tolist())
    assert 2 * 30 * 0.9 < sizes[0] <= 2 * 30 * 1.01
    assert 2 * (40 + FRAMES - 1) * 0.9 < sizes[1] <= 2 * (40 + FRAMES - 1) * 1.01


def test_sizes_are_in_displayed_pixels() -> None:
    """Pixels twice as wide as high stretch the picture, whichever way it is turned for display."""
    table = straight(0, 20, 100, 200, speed=0)
    plain = follow(film(20), table).tracks
    thin = np.array([0.5, 1], np.float32)
    narrow = replace(
        table,
        mesh=(table.mesh - 100) * thin + 100,
        points=(table.points - 100) * thin + 100,
        box=((table.box.reshape(-1, 2, 2) - 100) * thin + 100).reshape(-1, 4),
    )
    for rotation in (0, 90):
        video = replace(film(20).video, sample_aspect_ratio=Fraction(2), rotation=rotation)
        tracks = follow(replace(film(20), video=video), narrow).tracks
        assert float(tracks.reach_px[0]) == pytest.approx(float(plain.reach_px[0]), rel=1e-3)
        assert float(tracks.area_px[0]) == pytest.approx(float(plain.area_px[0]), rel=1e-3)


def test_the_table_of_tracks_tells_what_is_in_the_rows() -> None:
    faces = straight(0, FRAMES, 100, 200, person=1)
    vector = np.array(faces.vector)
    vector[faces.frame % 4 != 0] = np.nan
    sharpness = np.where(faces.frame == 36, 2.0, 1.0)
    score = np.where(faces.frame == 40, 0.5, 0.9)
    faces = replace(faces, vector=vector, sharpness=sharpness, score=score).take(faces.frame != 21)
    other = straight(10, 20, 400, 300, radius=30)
    other = replace(other, vector=np.full((10, 16), np.nan))
    tracks = follow(film(FRAMES), FaceTable.concat([faces, other])).tracks
    assert tracks.first.tolist() == [0, 10]
    assert tracks.end.tolist() == [FRAMES, 20]
    assert tracks.found.tolist() == [FRAMES - 1, 10]
    assert tracks.score.tolist() == pytest.approx([0.9, 0.9])
    assert tracks.vectors.tolist() == [FRAMES // 4, 0]
    taken = vectors_of(1, np.arange(0, FRAMES, 4))
    np.testing.assert_allclose(tracks.vector[0], taken.mean(axis=0), atol=1e-6)
    assert tracks.spread[0] == pytest.approx(np.linalg.norm(taken - taken.mean(axis=0), axis=1).mean(), rel=1e-4)
    assert np.isnan(tracks.vector[1]).all()
    assert np.isnan(tracks.spread[1])
    assert tracks.best_frame[0] == 36
    np.testing.assert_array_equal(tracks.best_box[0], faces.box[faces.frame == 36][0])


@pytest.mark.parametrize("detect_every", [2, 5, 13])
def test_frames_that_nobody_looked_at_have_their_faces_up_to_every_cut(detect_every: int) -> None:
    table = straight(0, FRAMES, 100, 200)
    table = table.take(table.frame % detect_every == 0)
    followed = follow(film(FRAMES), table, cuts=[33], detect_every=detect_every, segments=[32, 34, 79])
    assert followed.tracks.first.tolist() == [0, 33]
    assert followed.tracks.end.tolist() == [33, FRAMES]
    np.testing.assert_array_equal(followed.table.frame, np.arange(FRAMES))
    np.testing.assert_allclose(followed.table.box[:, 0], 50 + np.arange(FRAMES), atol=0.1)
    assert [set(piece.frame.tolist()) for piece in followed.pieces] == [
        set(range(32)), {32, 33}, set(range(34, 79)), {79}
    ]  # fmt: skip
    np.testing.assert_array_equal(followed.table.score > 0, followed.table.frame % detect_every == 0)


def test_a_face_seen_once_stays_where_it_is_up_to_the_cut() -> None:
    table = straight(10, 11, 100, 200)
    followed = follow(film(FRAMES), table, cuts=[8, 14], detect_every=5)
    np.testing.assert_array_equal(followed.table.frame, np.arange(8, 14))
    np.testing.assert_allclose(followed.table.box[:, 0], 50, atol=0.1)


def test_no_face_is_put_beside_the_picture() -> None:
    """Half a second from a face at the edge that moves out of it to the cut."""
    table = straight(0, 61, 340, 200, speed=4.5)
    followed = follow(film(FRAMES), table.take(table.frame % 10 == 0), cuts=[70], detect_every=10)
    np.testing.assert_array_equal(followed.table.frame, np.arange(70))
    assert followed.table.box[:, [0, 2]].mean(axis=1).max() < 640


def random_film(seed: int, frames: int = 60) -> tuple[MediaIndex, FaceTable, list[int]]:
    """A film at a random frame rate with up to six people who come, go, shake, are lost, and look alike at times."""
    random = np.random.default_rng(seed)
    pts = np.cumsum(random.integers(1, 4, frames)) if random.random() < 0.5 else np.arange(frames) * 3
    plain = film(frames, rate=75)
    video = replace(plain.video, sample_aspect_ratio=Fraction(4, 3), rotation=int(random.choice([0, 90, 180])))
    index = replace(plain, pts=pts.astype(np.int64), video=video)
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
        who = np.where(random.random(len(shown)) < 0.1, (person + 1) % 6, person)
        vector = np.array([vectors_of(int(one), np.array([0]))[0] for one in who]).reshape(-1, 16)
        vector[random.random(len(shown)) < 0.5] = np.nan
        twice = [replace(faces, mesh=mesh, vector=vector)] * (2 if random.random() < 0.2 else 1)  # found twice over
        tables += twice
    cuts = np.sort(random.choice(np.arange(1, frames), int(random.integers(0, 4)), replace=False))
    return index, FaceTable.concat(tables), cuts.tolist()


@settings(max_examples=16)
@given(st.integers(0, 2**32 - 1))
def test_every_cut_of_the_film_gives_what_the_whole_film_gives(seed: int) -> None:
    """To the last bit: read in any parts, written in any segments, in variable frame rate, with ties and gaps."""
    index, table, cuts = random_film(seed)
    random = np.random.default_rng(seed)
    expected = follow(index, table, cuts=cuts)
    some = sorted(random.choice(np.arange(1, index.frames), 5, replace=False).tolist())
    for segments in ([], list(range(1, index.frames)) if seed % 4 == 0 else some):
        ends = [0, *sorted(random.choice(np.arange(1, index.frames), 4, replace=False)), index.frames]
        parts = [table.take((table.frame >= a) & (table.frame < b)) for a, b in pairwise(ends)]
        got = follow(index, *parts, cuts=cuts, segments=segments)
        for segment, piece in zip(pieces_of_film(index, segments), got.pieces, strict=True):
            assert ((piece.frame >= segment.first) & (piece.frame < segment.end)).all()
        for name in FaceTable.__dataclass_fields__:
            np.testing.assert_array_equal(getattr(got.table, name), getattr(expected.table, name), name)
        for name in expected.tracks.__dataclass_fields__:
            np.testing.assert_array_equal(getattr(got.tracks, name), getattr(expected.tracks, name), name)


@settings(max_examples=16)
@given(st.integers(0, 2**32 - 1))
def test_tracks_are_whole_and_lose_no_find(seed: int) -> None:
    index, table, cuts = random_film(seed)
    followed = follow(index, table, cuts=cuts)
    rows, tracks = followed.table, followed.tracks
    assert int((rows.score > 0).sum()) == len(table)
    starts = np.array([0, *cuts])
    for number in range(len(tracks)):
        one = followed.rows(number)
        np.testing.assert_array_equal(one.frame, np.arange(tracks.first[number], tracks.end[number]))
        assert int((one.score > 0).sum()) == tracks.found[number]
        assert len(set(np.searchsorted(starts, one.frame, side="right").tolist())) == 1
    assert (np.diff(tracks.first) >= 0).all()


def test_finds_without_extent_break_nothing() -> None:
    """Boxes, points and meshes of one point, as a broken network may give them."""
    faces = straight(0, 30, 100, 200, person=1)
    box, points, mesh = np.array(faces.box), np.array(faces.points), np.array(faces.mesh)
    for rows, value in ((slice(3, 6), 100), (slice(20, 30), 0)):
        box[rows], points[rows], mesh[rows] = value, value, value
    followed = follow(film(30), replace(faces, box=box, points=points, mesh=mesh))
    assert int((followed.table.score > 0).sum()) == 30
    assert np.isfinite(followed.table.points).all()
    assert 0 in followed.tracks.first


def peak_bytes(frames: int, shown: int) -> int:
    """The most memory that following takes in a film whose every block of 100 frames has a face in `shown` of them."""

    def parts() -> Iterator[FaceTable]:
        for first in range(0, frames, 100):
            gc.collect()  # at fixed places, so that the peak is the same each time
            yield straight(first, first + shown, 100 + first % 1000 / 10, 200, speed=0.1)

    index = film(frames)
    with TemporaryDirectory() as folder:
        names = count()
        segments = pieces_of_film(index, range(1000, frames, 1000))
        tracemalloc.start()
        followed = follow_film(
            index, parts, np.zeros(0, np.int64), segments, lambda end: Path(folder, f"{next(names)}{end}")
        )
        assert followed.tracks.found.sum() == frames // 100 * shown
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return peak


@pytest.mark.heavy
def test_memory_does_not_grow_with_the_film() -> None:
    """Twice the film may take 128 bytes more a face, not the 4 kB that a face is; the smoother holds 340 frames."""
    gc.freeze()  # makes the collections quick
    peak_bytes(100, 20)  # what is made once
    assert peak_bytes(800, 100) - peak_bytes(400, 100) < 400 * 128
    gc.unfreeze()


@pytest.mark.heavy
def test_a_film_of_two_hours_takes_as_little_memory_as_a_short_one() -> None:
    """200,000 frames, a face in one of 25, and 2,000 tracks: 40 bytes more a frame than a tenth of them."""
    gc.freeze()
    peak_bytes(100, 4)
    assert peak_bytes(200_000, 4) - peak_bytes(20_000, 4) < 180_000 * 40
    gc.unfreeze()
