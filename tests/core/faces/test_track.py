"""Who goes on as whom: faces that touch, change places, hide, jump and leave; on made-up faces whose truth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from core.faces.metric import metric_of
from core.records import FaceTable
from tests.faces_assets import made_up_faces
from tests.follow_films import Following, film, follow, straight, vectors_of, without_mesh

FRAMES = 80


def going(person: int, x: NDArray[np.float64], *, y: float = 200, first: int = 0, seed: int = 0) -> FaceTable:
    """A person at the places `x` [n], with a vector in every frame."""
    shown = np.arange(first, first + len(x))
    faces = made_up_faces(shown, np.stack([x, np.full(len(x), y)], axis=1), shape_seed=seed)
    return replace(faces, vector=vectors_of(person, shown))


def people(followed: Following) -> list[set[int]]:
    """Of each track, whose vectors its finds have."""
    out = []
    for number in range(len(followed.tracks)):
        vectors = followed.rows(number).vector
        known = vectors[np.isfinite(vectors).all(axis=1)]
        out.append(set(known.argmax(axis=1).tolist()))
    return out


MEETING = np.concatenate([np.arange(100.0, 300.0, 5), np.full(10, 295.0)])


@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize("every", [1, 4])
def test_faces_that_meet_go_on_as_themselves(back: bool, every: int) -> None:
    """Both alike in shape, so that movement says that they cross, they cross or turn back."""
    left = np.concatenate([MEETING, MEETING[::-1] if back else 590 - MEETING[::-1]])
    faces = FaceTable.concat([going(1, left), going(2, 610 - left, y=215)])
    vector = np.array(faces.vector)
    vector[faces.frame % every != 0] = np.nan
    followed = follow(film(len(left)), replace(faces, vector=vector))
    assert all(len(one) == 1 for one in people(followed))
    if every == 1:
        for number in range(len(followed.tracks)):
            (person,) = people(followed)[number]
            truth = left if person == 1 else 610 - left
            rows = followed.rows(number)
            found = rows.score > 0
            np.testing.assert_allclose(rows.box[found, 0] + 50, truth[rows.frame[found]], atol=3)


def test_a_head_that_turns_away_alone_stays_one_track() -> None:
    """Its vectors end where another person's are, but nothing else happened."""
    faces = straight(0, FRAMES, 200, 200, speed=0.5)
    share = np.clip((np.arange(FRAMES) - 20) / 30, 0, 1)[:, None]
    vector = vectors_of(1, np.arange(FRAMES)) * (1 - share) + vectors_of(2, np.arange(FRAMES)) * share
    followed = follow(film(FRAMES), replace(faces, vector=vector.astype(np.float32)))
    assert len(followed.tracks) == 1


@pytest.mark.parametrize("every", [1, 4])
def test_another_person_at_the_same_place_is_another_track(every: int) -> None:
    """As at a cut that was not seen; shapes and places are the same, only vectors differ."""
    faces = straight(0, FRAMES, 200, 200, speed=0)
    vector = np.concatenate([vectors_of(1, np.arange(40)), vectors_of(2, np.arange(40))])
    vector[faces.frame % every != 0] = np.nan
    followed = follow(film(FRAMES), replace(faces, vector=vector))
    assert people(followed) == [{1}, {2}]
    assert 37 <= followed.tracks.end[0] <= 40
    assert followed.tracks.first[1] == followed.tracks.end[0]


def test_vectors_are_compared_as_their_recogniser_means_it() -> None:
    """Of ArcFace vectors the length does not count: a blurred face of the same person has a shorter one."""
    faces = straight(0, FRAMES, 200, 200, speed=0)
    vector = vectors_of(1, np.arange(FRAMES)) * np.where(np.arange(FRAMES) < 40, 40, 10)[:, None]
    faces = replace(faces, vector=vector.astype(np.float32))
    tracks = follow(film(FRAMES), faces, metric=metric_of("arcface")).tracks
    assert len(tracks) == 1
    length = np.linalg.norm(vector, axis=1).mean()
    assert np.linalg.norm(tracks.vector[0]) == pytest.approx(length, rel=1e-4)


@pytest.mark.parametrize(("returned", "tracks"), [(1, 1), (2, 2), (None, 1)])
def test_a_gap_is_filled_unless_vectors_speak_against_it(returned: int | None, tracks: int) -> None:
    after = straight(30, FRAMES, 230, 200) if returned is None else straight(30, FRAMES, 230, 200, person=returned)
    if returned is None:
        after = replace(after, vector=np.full((len(after), 16), np.nan))
    followed = follow(film(FRAMES), FaceTable.concat([straight(0, 22, 200, 200, person=1), after]))
    assert len(followed.tracks) == tracks
    assert (set(range(22, 30)) <= set(followed.table.frame.tolist())) == (tracks == 1)


def test_a_face_behind_another_is_not_filled_in() -> None:
    behind = straight(0, FRAMES, 300, 200, speed=0, person=1, radius=45)
    before = straight(0, FRAMES, 100, 200, speed=5, person=2, seed=1)
    hidden = np.abs(before.box[:, 0] - behind.box[:, 0]) < 55
    faces = FaceTable.concat([behind.take(~hidden & (np.arange(FRAMES) < 60)), before])
    gap = np.flatnonzero(hidden)
    assert len(gap) > 11
    followed = follow(film(FRAMES, rate=100), faces)
    assert people(followed) == [{2}, {1}, {1}]
    assert not (set(gap.tolist()) & set(followed.table.frame[followed.table.track != 0].tolist()))
    alone = follow(film(FRAMES, rate=100), faces.take(faces.vector.argmax(axis=1) == 1))
    assert set(range(60)) == set(alone.table.frame.tolist())


def test_a_face_that_leaves_and_returns_is_not_filled_in_between() -> None:
    x = np.concatenate([np.arange(500.0, 640, 10), np.arange(640.0, 500, -10)])
    faces = going(1, x)
    followed = follow(film(FRAMES), faces.take((faces.frame < 10) | (faces.frame > 18)))
    assert followed.tracks.end.tolist() == [10, len(x)]
    assert len(followed.table) == len(x) - 9
    # Lost for as long in the middle of the picture it is filled in.
    inside = going(1, x - 300)
    assert len(follow(film(FRAMES), inside.take((inside.frame < 10) | (inside.frame > 18))).tracks) == 1


def test_a_face_that_is_alone_may_jump() -> None:
    x = np.where(np.arange(40) < 20, 200.0, 280.0)
    assert len(follow(film(FRAMES), going(1, x)).tracks) == 1
    assert len(follow(film(FRAMES), going(1, np.where(np.arange(40) < 20, 200.0, 320.0))).tracks) == 2
    # With another one where it was, it may be either: vectors decide.
    other = going(2, np.full(40, 190.0), y=225)
    followed = follow(film(FRAMES), FaceTable.concat([going(1, x), other.take(other.frame >= 20)]))
    assert sorted(map(sorted, people(followed))) == [[1], [2]]


def test_weak_finds_keep_a_track_alive_but_sure_ones_come_first() -> None:
    faces = straight(0, FRAMES, 200, 200)
    weak = replace(faces, score=np.where((faces.frame > 20) & (faces.frame < 60), 0.2, 0.9))
    assert follow(film(FRAMES), weak).tracks.found.tolist() == [FRAMES]
    double = replace(straight(30, 50, 232, 202), score=np.full(20, 0.4))
    followed = follow(film(FRAMES), FaceTable.concat([faces, double]))
    assert (followed.rows(0).score == np.float32(0.9)).all()


def test_in_profile_a_face_is_followed_by_its_points_and_vectors() -> None:
    """Without meshes two that cross have boxes, points and vectors."""
    left = np.arange(100.0, 500, 8)
    faces = FaceTable.concat([going(1, left), going(2, 600 - left, y=215)])
    followed = follow(film(FRAMES), without_mesh(faces, range(FRAMES)))
    assert all(len(one) == 1 for one in people(followed))
    assert {person for one in people(followed) for person in one} == {1, 2}
    assert int((followed.table.track >= 0).sum()) >= len(faces)
