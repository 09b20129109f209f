"""Who becomes whom in each frame, by plans of every kind, compared with the rules said row by row."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import InputError
from core.faces.metric import metric_of
from core.faces.people import group_people
from core.faces.reference import reference_vector
from core.faces.roles import assign, plan_for_select
from core.records import NOBODY, Ban, CastPlan, FaceTable, MediaIndex, Person, PersonPlan, Span, TrackTable
from tests.faces_assets import astronaut, face_models
from tests.follow_films import film
from tests.people_tables import one_after_another, tracks_of

DLIB = metric_of("dlib")


def faces(rows: list[tuple[int, int]], box: tuple[float, float, float, float] = (10, 10, 40, 40)) -> FaceTable:
    """Rows of (frame, track) in the given order."""
    n = len(rows)
    table = FaceTable.empty()
    return FaceTable(
        frame=np.array([frame for frame, _ in rows], np.int64),
        box=np.tile(np.array(box, np.float32), (n, 1)),
        score=np.ones(n, np.float32),
        points=np.zeros((n, 5, 2), np.float32),
        mesh=np.zeros((n, *table.mesh.shape[1:]), np.float32),
        presence=np.ones(n, np.float32),
        track=np.array([track for _, track in rows], np.int32),
        role=np.full(n, NOBODY, np.int32),
        reach_px=np.ones(n, np.float32),
    )


def sized(*sides: float) -> TrackTable:
    """Tracks with faces of these sides, all in frames 0 to 99."""
    n = len(sides)
    return tracks_of(np.eye(n, 128), [0] * n, [100] * n, side_px=list(sides))


INDEX = replace(film(100), video=replace(film(1).video, width=200, height=100))


def roles(rows: list[tuple[int, int]], tracks: TrackTable, plan: CastPlan, index: MediaIndex = INDEX) -> list[int]:
    return list(assign(faces(rows), tracks, plan, index).role.tolist())


def test_everybody_has_the_role_of_his_person() -> None:
    plan = CastPlan((PersonPlan("p1", (0, 2), 1), PersonPlan("p2", (1,), 0)))
    assert roles([(0, 0), (0, 1), (1, 2), (1, 3), (2, -1)], sized(50, 50, 50, 50), plan) == [1, 0, 1, -1, -1]


def test_spans_are_half_open_and_leave_what_is_outside() -> None:
    plan = CastPlan((PersonPlan("p1", (0,), 0, (Span(2, 4, 1), Span(4, 5, NOBODY))),))
    assert roles([(frame, 0) for frame in range(7)], sized(50), plan) == [0, 0, 1, 1, -1, 0, 0]


def test_the_largest_of_a_frame_is_the_one_that_is_largest_over_its_life() -> None:
    plan = plan_for_select("largest", sized(50, 60, 60), (), DLIB)
    rows = [(0, 0), (0, 1), (0, 2), (1, 0), (2, -1), (2, 0)]
    assert roles(rows, sized(50, 60, 60), plan) == [-1, 0, -1, 0, -1, 0]


def test_all_means_all() -> None:
    plan = plan_for_select("all", sized(50, 60), (), DLIB, least_px=20)
    assert roles([(0, 0), (0, 1), (0, -1)], sized(50, 60), plan) == [0, 0, -1]
    assert roles([(0, 0), (0, 1)], sized(19, 60), plan) == [-1, 0]


def test_one_source_goes_to_one_person_of_a_frame() -> None:
    people = (PersonPlan("p1", (0, 3), 0), PersonPlan("p2", (1,), 1), PersonPlan("p3", (2,), 2))
    rows = [(0, 2), (0, 1), (0, 0), (0, 3), (1, 1), (1, 2), (2, 2)]
    tracks = sized(50, 50, 50, 50)
    assert roles(rows, tracks, CastPlan(people)) == [2, 1, 0, 0, 1, 2, 2]
    assert roles(rows, tracks, CastPlan(people, sources=(7, 7, 8))) == [2, -1, 0, 0, 1, 2, 2]
    assert roles(rows, tracks, CastPlan(people, sources=(7, 7, 7))) == [-1, -1, 0, 0, 1, -1, 2]
    assert roles(rows, tracks, CastPlan(people, sources=(7, 7, 7), share=True)) == [2, 1, 0, 0, 1, 2, 2]


def test_a_place_is_banned_in_the_upright_picture() -> None:
    tracks, people = sized(50), (PersonPlan("p1", (0,), 0),)
    left = CastPlan(people, bans=(Ban(0, 2, (0.0, 0.0, 0.5, 1.0)),))
    assert roles([(0, 0), (1, 0), (2, 0)], tracks, left) == [-1, -1, 0]
    right = CastPlan(people, bans=(Ban(0, 2, (0.5, 0.0, 1.0, 1.0)),))
    assert roles([(0, 0)], tracks, right) == [0]
    everywhere = CastPlan(people, bans=(Ban(1, 2),))
    assert roles([(0, 0), (1, 0), (2, 0)], tracks, everywhere) == [0, -1, 0]
    # Turned by 90 degrees counter-clockwise, the coded picture's left upper corner is the left lower one.
    turned = replace(INDEX, video=replace(INDEX.video, rotation=90))
    top = CastPlan(people, bans=(Ban(0, 2, (0.0, 0.0, 1.0, 0.5)),))
    low = CastPlan(people, bans=(Ban(0, 2, (0.0, 0.5, 1.0, 1.0)),))
    assert roles([(0, 0)], tracks, top, turned) == [0]
    assert roles([(0, 0)], tracks, low, turned) == [-1]
    wide = replace(INDEX, video=replace(INDEX.video, sample_aspect_ratio=Fraction(2)))
    assert roles([(0, 0)], tracks, left, wide) == [-1]


@settings(max_examples=60)
@given(st.data())
def test_cutting_the_film_changes_nobody(data: st.DataObject) -> None:
    random = np.random.default_rng(data.draw(st.integers(0, 10_000)))
    count = int(random.integers(1, 7))
    tracks = sized(*random.uniform(10, 90, count).tolist())
    rows = [(frame, int(t)) for frame in range(30) for t in np.flatnonzero(random.random(count + 1) < 0.6) - 1]
    owner = random.integers(0, 3, count)
    people = tuple(
        PersonPlan(
            f"p{n}",
            tuple(np.flatnonzero(owner == n).tolist()),
            int(random.integers(-1, 3)),
            (Span(5 * n, 5 * n + 4, n),),
        )
        for n in range(3)
    )
    plan = CastPlan(
        people,
        (Ban(3, 9, (0.0, 0.0, 0.2, 1.0)),),
        only="largest" if random.random() < 0.3 else "all",
        share=bool(random.random() < 0.3),
        least_px=float(random.uniform(0, 40)),
        sources=tuple(random.integers(0, 2, 3).tolist()),
    )
    whole = faces(rows)
    once = assign(whole, tracks, plan, INDEX)
    cuts = sorted({0, 30, *random.integers(0, 31, 3).tolist()})
    parts = [assign(whole.take((whole.frame >= a) & (whole.frame < b)), tracks, plan, INDEX) for a, b in pairwise(cuts)]
    assert np.array_equal(np.concatenate([part.role for part in parts]), once.role)
    assert np.array_equal(once.box, whole.box)
    for frame in range(30):
        given_to: dict[int, set[int]] = {}
        for row in np.flatnonzero((once.frame == frame) & (once.role >= 0)).tolist():
            given_to.setdefault(plan.sources[once.role[row]], set()).add(int(owner[once.track[row]]))
            assert tracks.area_px[once.track[row]] >= plan.least_px**2
        assert plan.share or all(len(whom) == 1 for whom in given_to.values())


# ---------------------------------------------------------------- the person of a picture


def known(*vectors: float, first: list[int] | None = None) -> tuple[TrackTable, tuple[Person, ...]]:
    """People with one track each, whose vectors lie on a line at these places."""
    rows = np.zeros((len(vectors), 128))
    rows[:, 0], rows[:, 1] = vectors, 1.0
    begin, end = one_after_another(len(vectors))
    begin = np.array(first) if first is not None else begin
    table = tracks_of(rows, begin, begin + 15 if first is not None else end)
    return table, tuple(Person(f"p{number + 1}", (number,)) for number in range(len(vectors)))


def reference(place: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    vector = np.zeros(128, np.float32)
    vector[:2] = place, 1.0
    return vector


def test_the_reference_takes_who_is_nearest() -> None:
    tracks, people = known(0.0, 0.9, 2.0)
    plan = plan_for_select("reference", tracks, people, DLIB, reference=reference(0.8), least_px=9)
    assert [one.id for one in plan.people] == ["p2"]
    assert (plan.share, plan.least_px, plan.people[0].role) == (False, 9, 0)


def test_the_reference_takes_other_looks_of_the_same_person() -> None:
    tracks, people = known(0.0, 0.4, 0.9, -0.3)
    plan = plan_for_select("reference", tracks, people, DLIB, reference=reference(0.1))
    assert [one.id for one in plan.people] == ["p1", "p2", "p4"]


def test_the_reference_is_not_two_people_of_one_frame() -> None:
    tracks, people = known(0.0, 0.3, first=[0, 10])
    plan = plan_for_select("reference", tracks, people, DLIB, reference=reference(0.1))
    assert [one.id for one in plan.people] == ["p1"]


def test_nobody_alike_is_told_with_the_nearest_distance() -> None:
    tracks, people = known(0.0, 5.0)
    with pytest.raises(InputError) as told:
        plan_for_select("reference", tracks, people, DLIB, reference=reference(0.75), where="who.png")
    assert "who.png" in str(told.value)
    assert "p1" in str(told.value)
    assert "0.75" in str(told.value)
    assert "0.60" in str(told.value)


def test_a_film_without_vectors_has_nobody_to_compare() -> None:
    tracks = tracks_of(np.full((2, 128), np.nan), [0, 5], [9, 9], vectors=0)
    with pytest.raises(InputError, match="can be compared"):
        plan_for_select("reference", tracks, group_people(tracks, DLIB), DLIB, reference=reference(0))


def test_the_reference_picture(tmp_path: Path) -> None:
    models = face_models()
    face = astronaut()[:300, 80:380]
    paths = {name: str(tmp_path / f"{name}.png") for name in ("one", "mirrored", "none", "two")}
    for name, picture in (
        ("one", face),
        ("mirrored", face[:, ::-1]),
        ("none", face[:60]),
        ("two", np.hstack([face, face])),
    ):
        cv2.imwrite(paths[name], cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2BGR))
    vectors = np.stack([reference_vector(paths[name], models) for name in ("one", "mirrored")])
    assert DLIB.distances(vectors, vectors)[0, 1] < DLIB.same_person
    for name, said in (("none", "no face found in the reference image"), ("two", "2 faces in the reference image")):
        with pytest.raises(InputError, match=said) as told:
            reference_vector(paths[name], models)
        assert paths[name] in str(told.value)
