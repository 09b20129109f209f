"""Several roles in one film: each face gets its own source, swapper and settings, and batches are shared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from core.media.decode import DecodedFrame
from core.media.planes import plane_views
from core.records import FaceTable, Float32Array, SourceIdentity
from core.swap.chain import Chain, Clock
from core.swap.replace import Replacer
from core.swap.stages import OpenRole, Stage
from core.trust.label import label_for
from tests.core.swap.test_chain import INDEX, Brighter, frames
from tests.faces_assets import made_up_faces
from tests.frames import NOBODY, Negative, disc

PLACES = ((40.0, 45.0), (95.0, 60.0), (130.0, 90.0))  # of a frame's faces; neighbours overlap


class Tinted(Negative):
    """Halfway between the crop and the identity's grey inside a disc; remembers whose faces went in together."""

    id = "tinted"

    def __init__(self, side: int = 64) -> None:
        super().__init__(side)
        self.people: list[list[str]] = []

    def swap(
        self, crops: Float32Array, landmarks: Float32Array, identities: Sequence[SourceIdentity]
    ) -> tuple[Float32Array, Float32Array]:
        del landmarks
        self.batches.append(len(crops))
        self.people.append([identity.id for identity in identities])
        grey = np.array([identity.embedding[0] for identity in identities], np.float32)[:, None, None, None]
        masks = np.broadcast_to(disc(crops.shape[-1]), (len(crops), 1, *crops.shape[2:]))
        return np.asarray((crops + grey) / 2, np.float32), np.asarray(masks, np.float32)


def person(name: str, grey: float) -> SourceIdentity:
    return replace(NOBODY, id=name, embedding=np.array([grey], np.float32))


def faces_of(wishes: Sequence[tuple[int, int, int]]) -> FaceTable:
    """A face for each (frame, place, role); the one at place 0 is the largest of its frame."""
    tables = []
    for frame, place, role in sorted(wishes):
        table = made_up_faces(range(frame, frame + 1), np.array([PLACES[place]]), 26.0 - 6 * place)
        tables.append(replace(table, role=np.full(1, role, np.int32)))
    return FaceTable.concat(tables)


def through(count: int, table: FaceTable, roles: Sequence[OpenRole], ring: int = 8) -> tuple[list[NDArray], Replacer]:
    replacer = Replacer(INDEX, "gray", table, roles)
    chain = Chain(replacer, Clock(), lambda: ring)
    taken = given_back = 0

    def counted() -> Iterator[DecodedFrame]:
        nonlocal taken
        for item in frames(count):
            taken += 1
            assert taken - given_back <= ring
            yield item

    made = []
    for item in chain.through(counted()):
        assert item.ordinal == given_back
        given_back += 1
        made.append(plane_views(item.frame)[0].copy())
    assert given_back == count
    return made, replacer


def face_by_face(count: int, table: FaceTable, roles: Sequence[OpenRole]) -> list[NDArray]:
    """The same without ring and batches: all faces of a frame through their first stage one by one, then the next."""
    made = []
    for item in frames(count):
        planes = plane_views(item.frame)
        replacer = Replacer(INDEX, "gray", table, roles)
        wanted = replacer.wanted(item.ordinal)
        for number in range(max(len(role.stages) for role in roles)):
            works = replacer.cut(planes, replacer.going_on(wanted, number), number)
            for work in works:
                role = roles[table.role[work.row]]
                fresh, masks = role.stages[number].model.swap(work.crop[None], work.landmarks[None], [role.identity])
                work.fresh, work.mask = fresh[0], masks[0, 0]
            replacer.paste(planes, works)
        if wanted:
            label_for(INDEX, "gray").draw(planes)
        made.append(planes[0].copy())
    return made


def four_roles() -> list[OpenRole]:
    """Two people by one swapper, one by another with an enhancer, one with other colours and that enhancer too."""
    tinted, negative, brighter = Tinted(), Negative(32), Brighter()
    enhance = Stage("enhance", brighter, batch=2)
    return [
        OpenRole(person("a", 0.1), (Stage("swap", tinted),)),
        OpenRole(person("b", 0.9), (Stage("swap", tinted),)),
        OpenRole(person("a", 0.1), (Stage("swap", negative), enhance)),
        OpenRole(person("c", 0.5), (Stage("swap", tinted, "poisson", "mean"), enhance)),
    ]


wishes = st.lists(
    st.tuples(st.integers(0, 15), st.integers(0, 2), st.integers(-1, 3)),
    max_size=30,
    unique_by=lambda wish: wish[:2],
)


@settings(max_examples=25)
@given(wishes=wishes, ring=st.integers(1, 9))
def test_as_if_each_face_went_alone(wishes: list[tuple[int, int, int]], ring: int) -> None:
    """Any faces of any roles: the same frames, in order, never more of them held than the ring's size."""
    table = faces_of(wishes)
    made, replacer = through(16, table, four_roles(), ring)
    assert all(np.array_equal(a, b) for a, b in zip(made, face_by_face(16, table, four_roles()), strict=True))
    assert replacer.faces_by_role == [sum(role == number for _, _, role in wishes) for number in range(4)]
    assert replacer.frames_replaced == len({frame for frame, _, role in wishes if role >= 0})
    assert replacer.skipped == ({"not selected": left} if (left := sum(role < 0 for *_, role in wishes)) else {})


def test_batches_are_filled_across_people() -> None:
    """Two people a frame by one swapper: four faces of both at a time. A third by another model waits for its own."""
    roles = four_roles()
    tinted, negative = roles[0].stages[0].model, roles[2].stages[0].model
    assert isinstance(tinted, Tinted)
    assert isinstance(negative, Negative)
    through(8, faces_of([(frame, place, place) for frame in range(8) for place in range(3)]), roles)
    assert tinted.batches == [4, 4, 4, 4]
    assert tinted.people == [["a", "b", "a", "b"]] * 4
    assert negative.batches == [4, 4]


def test_a_rare_person_does_not_break_the_others_batches() -> None:
    """The frame with one face of another model leaves when the ring is full; the common model's batches stay full."""
    roles = four_roles()
    tinted = roles[0].stages[0].model
    assert isinstance(tinted, Tinted)
    through(16, faces_of([*((frame, 0, 0) for frame in range(16)), (5, 1, 2)]), roles)
    assert tinted.batches == [4, 4, 4, 4]


def test_a_crowd_with_one_person_by_another_model_is_not_held() -> None:
    """Faces are held up to a bound: the rare model runs with what it has before a third such frame is taken in."""
    count, crowd = 9, 40
    roles = four_roles()
    tinted, negative = roles[0].stages[0].model, roles[2].stages[0].model
    assert isinstance(tinted, Tinted)
    assert isinstance(negative, Negative)
    random = np.random.default_rng(5)
    tables = []
    for frame in range(count):
        centres = np.stack([random.uniform(20, 170, crowd + 1), random.uniform(20, 120, crowd + 1)], axis=1)
        table = made_up_faces(np.full(crowd + 1, frame), centres, 9.0)
        tables.append(replace(table, role=np.where(np.arange(crowd + 1) == 7, 2, 0).astype(np.int32)))
    table = FaceTable.concat(tables)
    made, _ = through(count, table, roles)
    assert set(tinted.batches) == {4}
    assert negative.batches == [2] * (count // 2) + [1] * (count % 2)
    assert all(np.array_equal(a, b) for a, b in zip(made, face_by_face(count, table, four_roles()), strict=True))


@pytest.mark.parametrize("roles", [(0, 1), (1, 0), (0, 2), (2, 0)])
def test_larger_faces_lie_on_top_whatever_their_roles(roles: tuple[int, int]) -> None:
    """Where two crops meet, both were cut from the original, and the larger is pasted last."""
    opened = [OpenRole(role.identity, role.stages[:1]) for role in four_roles()]
    both, _ = through(1, faces_of([(0, 0, roles[0]), (0, 1, roles[1])]), opened)
    alone, _ = through(1, faces_of([(0, 0, roles[0])]), opened)
    solid = disc_of_place_0(opened[roles[0]])
    assert solid.sum() > 500
    assert np.array_equal(both[0][solid], alone[0][solid])
    assert (both[0] != alone[0]).any()


def disc_of_place_0(role: OpenRole) -> NDArray[np.bool_]:
    """Where the mask of the face at place 0 is 1: pixels in which nothing of what lies below is left."""
    table = faces_of([(0, 0, 0)])
    black, white = (
        through_planes(np.full((INDEX.video.height, INDEX.video.width), grey, np.uint8), table, role)
        for grey in (0, 255)
    )
    return np.asarray(black == white)


def through_planes(plane: NDArray[np.uint8], table: FaceTable, role: OpenRole) -> NDArray[np.uint8]:
    """The plane with a grey face laid into it, without the label."""
    replacer = Replacer(INDEX, "gray", table, [role])
    (work,) = works = replacer.cut((plane,), [0])
    work.fresh = np.full_like(work.crop, 0.5)
    work.mask = role.stages[0].model.swap(work.crop[None], work.landmarks[None], [role.identity])[1][0, 0]
    replacer.paste((plane,), works)
    return plane
