"""Where faces are after a Reshape, against arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from core.errors import ModelError
from core.inference.surgery.places import Place, common, through_reshape

FACES = 3


def spread(shape: tuple[int, ...], place: Place) -> NDArray[np.int64]:
    """FACES arrays of `shape` laid out as the place says, each element saying its face and its position."""
    size = shape[place.axis]
    parted = (*shape[: place.axis], place.major, size // place.major, *shape[place.axis + 1 :])
    positions = np.arange(int(np.prod(shape))).reshape(parted)
    stacked = np.stack([positions + 1000 * face for face in range(FACES)], place.axis + 1)
    return stacked.reshape(*shape[: place.axis], size * FACES, *shape[place.axis + 1 :])


@given(st.data())
def test_the_place_found_is_where_the_numbers_are(data: Any) -> None:
    factors: list[int] = data.draw(st.lists(st.sampled_from([1, 1, 2, 3, 4]), min_size=1, max_size=5))

    def shaped() -> tuple[int, ...]:
        made: list[int] = []
        for factor in factors:
            if made and data.draw(st.booleans()):
                made[-1] *= factor
            else:
                made.append(factor)
        return tuple(made)

    before, after = shaped(), shaped()
    place = Place(data.draw(st.integers(0, len(before) - 1)))
    found = through_reshape(before, place, after, data.draw(st.none() | st.integers(0, len(after) - 1)))
    if found is None:
        return
    sizes = [size * FACES if at == found.axis else size for at, size in enumerate(after)]
    assert np.array_equal(spread(before, place).reshape(sizes), spread(after, found))


@pytest.mark.parametrize(
    ("before", "axis", "after", "free", "expected"),
    [
        ((1, 8, 4, 4), 0, (1, 8, 16), None, Place(0)),
        ((256, 1, 64), 1, (256, 8, 8), None, Place(1)),  # heads of attention: faces first, [256, N x 8, 8]
        ((256, 8, 8), 1, (256, 1, 64), None, Place(1)),
        ((256, 1, 64), 1, (256, 64), 0, Place(0, 256)),  # rows of a linear layer: [256 x N, 64]
        ((1, 4, 8), 0, (32,), None, Place(0)),
        (("h", "w", 1, 4), 2, ("h", "w", 1, 4), None, Place(2)),
    ],
)
def test_reshapes_that_exporters_write(
    before: tuple[int | str, ...], axis: int, after: tuple[int | str, ...], free: int | None, expected: Place
) -> None:
    assert through_reshape(before, Place(axis), after, free) == expected


def test_faces_in_the_middle_of_a_factor_have_no_place() -> None:
    assert through_reshape((6, 1, 5), Place(1), (5, 6), None) is None


def test_operands_must_count_faces_along_one_axis() -> None:
    assert common([(4, Place(0)), (3, Place(0)), (4, Place(0))][:1], "Add") == (4, 1)
    with pytest.raises(ModelError, match="Add joins tensors that count faces along different axes"):
        common([(4, Place(0)), (4, Place(1))], "Add")
