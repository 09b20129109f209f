"""Laws of following, on films of two known people with the real detector: nobody is taken for somebody else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from core.faces.analyse import FaceModels, analyse_segment
from core.faces.embed import SAME_PERSON
from core.faces.metric import metric_of
from core.faces.people import group_people
from core.faces.shots import find_cuts
from core.media.index import index_film
from core.media.plan import plan_segments
from core.records import FaceTable, MediaIndex
from tests.choice import some
from tests.follow_films import Following, follow
from tests.known_people import (
    ASTRONAUT,
    CARPHONE,
    Cue,
    KnownPeople,
    Shot,
    Truth,
    close_people_clip,
    film_of,
    known_people_clip,
)


@dataclass(frozen=True)
class Film:
    index: MediaIndex
    truth: Truth
    faces: FaceTable

    def follow(self, faces: FaceTable | None = None, *, cuts: bool = True, detect_every: int = 1) -> Following:
        found = self.faces if faces is None else faces
        return follow(self.index, found, cuts=self.truth.cuts.tolist() if cuts else (), detect_every=detect_every)


def analysed(clip: KnownPeople, models: FaceModels) -> Film:
    index = index_film(clip.path)
    (segment,) = plan_segments(index, Fraction(100))
    seen = analyse_segment(clip.path, index, segment, models, heartbeat=lambda _: None)
    return Film(index, clip.truth, seen.faces)


@pytest.fixture(scope="module")
def known(clips: Path, models: FaceModels) -> Film:
    return analysed(known_people_clip(clips), models)


@pytest.fixture(scope="module")
def close(clips: Path, models: FaceModels) -> Film:
    return analysed(close_people_clip(clips), models)


def at_one_place(people: Sequence[tuple[int, int]]) -> tuple[Shot, ...]:
    """Shots of one person each, so many frames long, before the same plate, all at the same place and as large."""
    return tuple(Shot(long, (Cue(who, ((0, 240, 136, 110), (long - 1, 240, 136, 110))),), 2) for who, long in people)


def wrong_frames(film: Film, followed: Following) -> int:
    """How many rows of tracks are of another person than most of their track's."""
    who = film.truth.who(followed.table)
    wrong = 0
    for number in range(len(followed.tracks)):
        people = who[(followed.table.track == number) & (who >= 0)]
        wrong += int((people != np.bincount(people, minlength=1).argmax()).sum())
    return wrong


def covered(film: Film, followed: Following, person: int) -> set[int]:
    """The frames in which a track has the person."""
    tracked = followed.table.take(followed.table.track >= 0)
    return set(tracked.frame[film.truth.who(tracked) == person].tolist())


@pytest.mark.parametrize("cuts", some([True, False], [False]))
def test_nobody_is_taken_for_the_other_and_nobody_is_missed(cuts: bool, known: Film, close: Film) -> None:
    for film in (known, close):
        followed = film.follow(cuts=cuts)
        assert wrong_frames(film, followed) == 0
        assert (film.truth.who(followed.table) >= 0).all()
        for person in (ASTRONAUT, CARPHONE):
            assert set(film.truth.of(person, 0.95).tolist()) <= covered(film, followed, person)


def test_tracks_of_one_person_are_alike_and_of_two_are_not(known: Film) -> None:
    followed = known.follow()
    tracks = followed.tracks
    assert len(tracks) == 7  # the man is hidden once
    who = known.truth.who(followed.table)
    person = np.array([who[followed.table.track == number][0] for number in range(len(tracks))])
    away = np.linalg.norm(tracks.vector[:, None] - tracks.vector[None], axis=-1)
    same = person[:, None] == person[None]
    assert away[same].max() < SAME_PERSON["dlib"] < away[~same].min()


@pytest.mark.parametrize("seed", some(range(4), [0]))
def test_a_detector_that_misses_much_changes_nobody(seed: int, known: Film, close: Film) -> None:
    """Three in ten finds are lost by chance."""
    for film in (known, close):
        left = film.faces.take(np.random.default_rng(seed).random(len(film.faces)) > 0.3)
        assert wrong_frames(film, film.follow(left)) == 0


def without_vectors(faces: FaceTable) -> FaceTable:
    return replace(faces, vector=np.full_like(faces.vector, np.nan))


def every(count: int) -> Callable[[FaceTable], FaceTable]:
    return lambda faces: faces.take(faces.frame % count == 0)


@pytest.mark.parametrize(
    ("change", "detect_every"), [(without_vectors, 1), (every(2), 2), (every(3), 3), (every(5), 5)]
)
def test_fewer_vectors_and_fewer_frames_change_nobody(
    change: Callable[[FaceTable], FaceTable], detect_every: int, known: Film, close: Film
) -> None:
    for film in (known, close):
        assert wrong_frames(film, film.follow(change(film.faces), detect_every=detect_every)) == 0


@pytest.mark.parametrize("lost", [1, 4, 10])
def test_a_frame_where_detection_failed_has_its_face_all_the_same(lost: int, known: Film) -> None:
    """Where it was, to 3 % of its height: a straight line for 0.4 s is that near to how heads sway and nod."""
    missing = np.arange(8, 8 + lost)
    whole = known.follow()
    followed = known.follow(known.faces.take(~np.isin(known.faces.frame, missing)))
    assert wrong_frames(known, followed) == 0
    for number in (0, 1):
        rows, expected = followed.rows(number), whole.rows(number)
        np.testing.assert_array_equal(rows.frame, expected.frame)
        assert (rows.score[missing] == 0).all()
        assert np.isfinite(rows.mesh[missing]).all()
        away = np.linalg.norm((rows.mesh - expected.mesh).mean(axis=1), axis=1)
        assert away.max() < 0.03 * np.ptp(expected.mesh[0, :, 1])


def test_a_face_that_leaves_the_frame_is_cut_cleanly(known: Film) -> None:
    """Its track ends with its last find; nothing is filled in after it, or outside the picture."""
    followed = known.follow()
    rows = followed.table.take((followed.table.frame >= 24) & (followed.table.frame < 72))
    of_her = rows.take((known.truth.who(rows) == ASTRONAUT) & (rows.track >= 0))
    assert len(set(of_her.track.tolist())) == 1
    last = int(of_her.frame.max())
    gone = int(known.truth.frame[(known.truth.person == ASTRONAUT) & (known.truth.seen < 0.2)].min())
    assert gone - 6 <= last < gone
    assert (rows.frame[rows.track == of_her.track[0]] <= last).all()
    assert of_her.score[-1] > 0
    middle = followed.table.box.reshape(-1, 2, 2).mean(axis=1)
    assert ((middle >= 0) & (middle <= (known.index.video.width, known.index.video.height))).all()


@pytest.mark.parametrize("detect_every", [1, 3])
def test_a_stranger_for_some_frames_at_the_same_place_is_nobody_else(
    detect_every: int, clips: Path, models: FaceModels
) -> None:
    """Where no cut is found, for the picture is next to the same; the shortest stranger has no vector."""
    shots = at_one_place([(CARPHONE, 20), (ASTRONAUT, 5), (CARPHONE, 20), (ASTRONAUT, 3), (CARPHONE, 20)])
    clip = film_of(clips / "one-place.mp4", shots)
    index = index_film(clip.path)
    (segment,) = plan_segments(index, Fraction(100))
    seen = analyse_segment(clip.path, index, segment, models, heartbeat=lambda _: None, detect_every=detect_every)
    film = Film(index, clip.truth, seen.faces)
    cuts = find_cuts(index, [seen.shots])
    assert cuts.tolist() == []
    followed = follow(index, seen.faces, cuts=cuts.tolist(), detect_every=detect_every)
    assert wrong_frames(film, followed) == 0
    looked_at = set(range(0, index.frames, detect_every))
    for person in (ASTRONAUT, CARPHONE):
        assert looked_at & set(clip.truth.of(person, 0.95).tolist()) <= covered(film, followed, person)
    who = clip.truth.who(followed.table)
    for one in group_people(followed.tracks, metric_of("dlib")):
        assert len(set(who[np.isin(followed.table.track, one.tracks)].tolist())) == 1
