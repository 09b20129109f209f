"""The scan before rendering: films spoilt in known frames, and tables made up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.faces.analyse import FaceModels
from core.faces.scan import JOIN_FRAMES, LIMITS, SHORT_FRAMES, scan_faces
from core.records import Doubt, FaceTable, MediaIndex, Person
from tests.core.faces.two_films import Seen, changed, seen
from tests.faces_assets import carphone_clip, made_up_faces
from tests.frames import index_of

FRAMES = 40


@pytest.fixture(scope="session")
def film(models: FaceModels, clips: Path) -> Seen:
    return seen(carphone_clip(clips, frames=FRAMES), models, clips)


@pytest.fixture(scope="session")
def face(film: Seen) -> tuple[int, int, int, int]:
    """Where the face is in all frames: left, top, width, height."""
    meshes = film.tables()()[0].mesh
    low, high = meshes.min(axis=(0, 1)), meshes.max(axis=(0, 1))
    return int(low[0]), int(low[1]), int(high[0] - low[0]), int(high[1] - low[1])


def doubts(film: Seen) -> list[Doubt]:
    return list(scan_faces(film.tables()(), film.index, film.people))


def test_a_clear_film_gives_none(film: Seen) -> None:
    assert doubts(film) == []


def test_blurred_and_covered_frames_are_told(
    film: Seen, face: tuple[int, int, int, int], models: FaceModels, clips: Path
) -> None:
    left, top, wide, high = face
    cover = f"drawbox={left - 10}:{top}:{wide // 2 + 10}:{high}:gray:fill:enable='between(n,22,33)'"
    spoilt = seen(changed(film.path, "spoilt", f"gblur=8:enable='between(n,4,15)',{cover}"), models, clips)
    found = doubts(spoilt)
    blurred = [one for one in found if one.reason == "blurred"]
    covered = [one for one in found if one.reason == "occluded"]
    assert [(one.first, one.end) for one in blurred] == [(4, 16)]
    assert len(covered) == 1
    assert abs(covered[0].first - 22) <= 1
    assert abs(covered[0].end - 34) <= 1
    for one in (*blurred, *covered):
        assert one.first <= one.worst_frame < one.end
        assert one.severity > 0.3
        assert one.person == "p1"


def test_tiny_faces_are_told(film: Seen, models: FaceModels, clips: Path) -> None:
    small = seen(changed(film.path, "small", "trim=end_frame=6,scale=iw/5:ih/5:flags=area"), models, clips)
    assert [(one.reason, one.first, one.end) for one in doubts(small)] == [("tiny", 0, 6)]
    assert doubts(small)[0].measured == pytest.approx(float(film.tables()()[0].reach_px[0]) / 5, rel=0.15)


def test_faces_cut_off_are_told(film: Seen, face: tuple[int, int, int, int], models: FaceModels, clips: Path) -> None:
    left, _, wide, _ = face
    away = (left + wide // 3) // 2 * 2
    half = seen(changed(film.path, "half", f"trim=end_frame=6,crop=iw-{away}:ih:{away}:0"), models, clips)
    assert "cut off" in {one.reason for one in doubts(half)}


# ---------------------------------------------------------------- made up

INDEX = index_of(640, 480, "yuv420p")


def faces(frames: range, **columns: object) -> FaceTable:
    """Clear faces of one track in these frames, then changed in the columns given."""
    table = made_up_faces(frames, np.full((len(frames), 2), 240.0), 60.0)
    mesh = table.mesh.copy()
    # level eyes, cheeks, and a nose between them: a face from the front
    mesh[:, [33, 263, 234, 454, 1]] = np.array([[210, 220], [270, 220], [185, 240], [295, 240], [240, 250]])
    plain = replace(
        table, mesh=mesh, track=np.zeros(len(frames), np.int32), sharpness=np.full(len(frames), 0.02, np.float32)
    )
    return replace(plain, **columns)  # type: ignore[arg-type]


def test_made_up_faces_are_clear() -> None:
    assert scan_faces([faces(range(50))], INDEX) == ()


def test_turned_faces_and_profiles() -> None:
    table = faces(range(40))
    mesh = table.mesh.copy()
    mesh[5:15, 1, 0] += 60  # the nose stands before the cheek
    mesh[22:32] = np.nan
    found = scan_faces([replace(table, mesh=mesh)], INDEX)
    assert [(one.reason, one.first, one.end) for one in found] == [("turned", 5, 15), ("turned", 22, 32)]
    assert found[1].severity == 1


def test_lost_faces_are_told_unless_nobody_looked() -> None:
    score = np.full(60, 0.9, np.float32)
    score[10:20] = 0
    told = scan_faces([faces(range(60), score=score)], INDEX)
    assert [(one.reason, one.first, one.end, one.measured) for one in told] == [("lost", 10, 20, 6)]
    every = np.where(np.arange(60) % 5 == 0, 0.9, 0).astype(np.float32)
    assert scan_faces([faces(range(60), score=every)], INDEX, detect_every=5) == ()


def test_runs_are_joined_and_short_ones_left_out() -> None:
    presence = np.full(100, 45, np.float32)
    presence[10:15] = presence[15 + JOIN_FRAMES : 30] = 30
    presence[50 : 50 + SHORT_FRAMES - 1] = 30
    presence[70] = 13  # one frame, but bad
    found = scan_faces([faces(range(100), presence=presence)], INDEX)
    assert [(one.reason, one.first, one.end) for one in found] == [("occluded", 10, 30), ("occluded", 70, 71)]


def test_people_and_rows_of_nobody() -> None:
    presence = np.full(20, 20, np.float32)
    track = np.repeat(np.array([-1, 0, 1, 2], np.int32), 5)
    table = faces(range(20), presence=presence, track=track)
    assert [one.track for one in scan_faces([table], INDEX)] == [0, 1, 2]
    people = (Person("p1", (2,)), Person("p2", (0,)))
    assert [(one.track, one.person) for one in scan_faces([table], INDEX, people)] == [(0, "p2"), (2, "p1")]


def test_small_faces_are_not_told_for_blurred() -> None:
    table = made_up_faces(range(10), np.full((10, 2), 240.0), 20.0)
    table = replace(table, track=np.zeros(10, np.int32), sharpness=np.full(10, 0.001, np.float32))
    assert "blurred" not in {one.reason for one in scan_faces([table], INDEX)}


@settings(max_examples=40)
@given(st.data())
def test_it_does_not_matter_how_the_film_is_cut(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 60))
    random = np.random.default_rng(data.draw(st.integers(0, 1000)))
    frame = np.sort(random.choice(90, count, replace=False))
    presence = random.choice([45.0, 45.0, 30.0, 14.0], count).astype(np.float32)
    score = random.choice([0.9, 0.9, 0.0], count).astype(np.float32)
    table = faces(range(count), presence=presence, score=score, frame=frame.astype(np.int64))
    cuts = sorted(data.draw(st.lists(st.integers(0, count), max_size=4)))
    parts = [table.take(np.arange(a, b)) for a, b in zip([0, *cuts], [*cuts, count], strict=True)]
    whole = scan_faces([table], INDEX)
    assert scan_faces(parts, INDEX) == whole
    for one in whole:
        assert 0 < one.severity <= 1
        assert one.first <= one.worst_frame < one.end
        assert one.reason in LIMITS


def test_a_turned_film_is_measured_as_shown() -> None:
    """A film stored lying down: the face is level once it is shown upright."""
    upright = faces(range(5))
    turned = MediaIndex(**{name: getattr(INDEX, name) for name in INDEX.__dataclass_fields__})
    video = replace(INDEX.video, rotation=90)
    lying = replace(turned, video=video)
    flipped = np.stack([639 - upright.mesh[..., 1], upright.mesh[..., 0]], axis=-1)
    assert scan_faces([replace(upright, mesh=flipped)], lying) == ()
