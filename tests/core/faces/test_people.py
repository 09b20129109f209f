"""Who is who: real faces in many states, made-up crowds of known people, and what must stay apart."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from core.faces.embed import Recogniser
from core.faces.metric import metric_of
from core.faces.people import group_people
from core.faces.portrait import find_faces
from core.geometry import box_area
from core.media.decode import decode_segment
from core.media.index import index_film
from core.media.picture import rgb_picture
from tests.faces_assets import astronaut, carphone, face_models, pieces_of_film, session_of
from tests.people_tables import crowd, one_after_another, tracks_of, wrong_tracks

DLIB, ARCFACE = metric_of("dlib"), metric_of("arcface")


def states(rgb: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """The picture plain, mirrored, blurred, dark, bright, lit from a side, noisy, warm, turned and squeezed."""
    high, wide = rgb.shape[:2]
    noise = np.random.default_rng(0).normal(0, 20, rgb.shape)
    turned = cv2.warpAffine(rgb, cv2.getRotationMatrix2D((wide / 2, high / 2), 20, 1), (wide, high))
    made = [
        rgb,
        rgb[:, ::-1],
        cv2.GaussianBlur(rgb, (0, 0), 2),
        rgb * 0.4,
        rgb * 1.4,
        rgb * np.linspace(0.3, 1.3, wide)[None, :, None],
        rgb + noise,
        rgb * np.array([1.2, 1.0, 0.7]),
        turned,
        cv2.resize(rgb, (int(wide * 0.85), high)),
    ]
    return [np.ascontiguousarray(np.clip(one, 0, 255).astype(np.uint8)) for one in made]


def test_two_real_people_in_many_states_are_two() -> None:
    models = face_models()
    index = index_film(carphone())
    frames = [
        cv2.resize(rgb_picture(item.frame), None, fx=2.5, fy=2.5, interpolation=cv2.INTER_CUBIC)
        for item in decode_segment(carphone(), index, pieces_of_film(index, [])[0])
        if item.ordinal in {10, 60, 110}
    ]
    vectors, who, side = [], [], []
    for whose, pictures in enumerate(([astronaut()[:300, 80:380]], frames)):
        for picture in [state for one in pictures for state in states(one)]:
            for scale in (1.0, 0.5):
                small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
                found, _ = find_faces(small, models.detector, models.mesher)
                assert len(found) == 1
                vectors.append(models.embedder.embed([models.embedder.chip(small, found.points[0])])[0])
                who.append(whose)
                side.append(float(np.sqrt(box_area(found.box)[0])))
    assert min(side) > 24
    frames_of = one_after_another(len(who))
    for taken in (8, 1):
        people = group_people(tracks_of(np.stack(vectors), *frames_of, side_px=side, vectors=taken), DLIB)
        assert wrong_tracks(people, np.array(who)) == 0
        if taken > 1:
            assert len(people) == 2


@pytest.mark.parametrize(
    ("people", "tracks", "within"), [(2, 30, 0.25), (30, 900, 0.25), (200, 2000, 0.22), (1, 500, 0.25)]
)
def test_made_up_crowds_are_told_apart(people: int, tracks: int, within: float) -> None:
    vectors, who = crowd(people, tracks, 5, within=within)
    made = group_people(tracks_of(vectors, *one_after_another(tracks)), DLIB)
    assert wrong_tracks(made, who) == 0
    assert len(made) == len(set(who))


@pytest.mark.parametrize("apart", [0.3, 0.4, 0.5])
def test_children_who_are_seen_together_stay_apart(apart: float) -> None:
    vectors, who = crowd(12, 240, 7, apart=apart, within=0.06)
    # The n-th tracks of all share their frames.
    turn = np.array([int((who[:number] == one).sum()) for number, one in enumerate(who)])
    made = group_people(tracks_of(vectors, turn * 50, turn * 50 + 40), DLIB)
    assert wrong_tracks(made, who) == 0


def test_arcface_vectors_count_by_their_direction() -> None:
    random = np.random.default_rng(2)
    means = random.normal(size=(40, 512))
    who = random.integers(0, 40, 800)
    noise = random.normal(size=(800, 512)) * 0.65
    vectors = (means[who] + noise) * random.uniform(0.5, 2, 800)[:, None]
    made = group_people(tracks_of(vectors, *one_after_another(800)), ARCFACE)
    assert wrong_tracks(made, who) == 0
    assert len(made) == 40


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(1, 8), st.integers(1, 60))
def test_laws(seed: int, count: int, tracks: int) -> None:
    """Each track is one person's, nobody is twice in a frame, ids go by screen time, order of reading is nothing."""
    random = np.random.default_rng(seed)
    vectors, _ = crowd(count, tracks, seed, apart=float(random.uniform(0.2, 0.9)))
    first = np.sort(random.integers(0, 300, tracks))
    end = first + random.integers(1, 60, tracks)
    side, taken = random.uniform(15, 90, tracks).tolist(), random.integers(0, 5, tracks).tolist()
    table = tracks_of(vectors, first, end, side_px=side, vectors=taken)
    people = group_people(table, DLIB)
    assert sorted(track for one in people for track in one.tracks) == list(range(tracks))
    for one in people:
        rows = sorted(one.tracks, key=lambda track: int(first[track]))
        assert all(end[a] <= first[b] for a, b in pairwise(rows))
    shown = [sum(int(end[track] - first[track]) for track in one.tracks) for one in people]
    assert shown == sorted(shown, reverse=True)
    assert [one.id for one in people] == [f"p{number}" for number in range(1, len(people) + 1)]
    assert group_people(table, DLIB) == people


def test_the_unsure_join_who_is_clearly_nearest_or_nobody() -> None:
    random = np.random.default_rng(1)
    a, b, other = (np.eye(128)[number] * 0.6 for number in range(3))
    near = random.normal(size=(2, 128)) * 0.01
    known = np.stack([a, a + near[0], b, b + near[1]])
    between, like_a, like_nobody = (a + b) / 2, a * 0.8, other
    vectors = np.concatenate([known, [between, like_a, like_nobody, a]])
    sides = [80.0] * 4 + [30.0] * 3 + [15.0]  # three small ones, and one that is too small to say anything
    people = group_people(tracks_of(vectors, *one_after_another(8), side_px=sides), DLIB)
    assert {one.tracks for one in people} == {(0, 1, 5), (2, 3), (4,), (6,), (7,)}


@pytest.mark.parametrize(
    "doubt", [{"vectors": 1}, {"frontal": 0.3}, {"spread": 0.5}, {"score": 0.4}, {"side_px": 30.0}]
)
def test_what_makes_a_track_unsure(doubt: dict[str, float]) -> None:
    """At 0.44 sure tracks are one person, unsure ones are not."""
    vectors = np.zeros((2, 128))
    vectors[1, 0] = 0.44
    vectors[:, 1] = 1.4
    assert len(group_people(tracks_of(vectors, *one_after_another(2)), DLIB)) == 1
    assert len(group_people(tracks_of(vectors, *one_after_another(2), **doubt), DLIB)) == 2  # type: ignore[arg-type]


def test_tracks_without_vectors_are_people_of_their_own() -> None:
    nothing = np.full((3, 128), np.nan)
    assert [one.tracks for one in group_people(tracks_of(nothing, [0, 50, 70], [10, 80, 75], vectors=0), DLIB)] == [
        (1,),
        (0,),
        (2,),
    ]
    assert group_people(tracks_of(np.zeros((0, 128)), [], []), DLIB) == ()
    assert len(group_people(tracks_of(np.zeros((2, 0)), [0, 20], [10, 30]), DLIB)) == 2


def test_the_metric_is_the_recognisers() -> None:
    recogniser = Recogniser(session_of("embedder"))
    random = np.random.default_rng(0)
    vectors = random.normal(size=(5, 128)).astype(np.float32)
    metric = metric_of("dlib")
    want = [[recogniser.distance(one, other) for other in vectors] for one in vectors]
    assert np.allclose(metric.distances(vectors, vectors), want, atol=1e-6)
    assert metric.same_person == recogniser.same_person
    cosines = [[1 - float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)) for b in vectors] for a in vectors]
    assert np.allclose(ARCFACE.distances(vectors, vectors), cosines, atol=1e-6)


@pytest.mark.heavy
def test_twenty_thousand_tracks() -> None:
    vectors, who = crowd(200, 20_000, 1)
    made = group_people(tracks_of(vectors, *one_after_another(20_000)), DLIB)
    assert wrong_tracks(made, who) == 0
    assert len(made) <= 210
