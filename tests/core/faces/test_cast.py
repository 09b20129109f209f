"""Who is replaced where nobody wrote a cast."""

from __future__ import annotations

import numpy as np

from core.records import FaceTable
from tests.faces_assets import cast_film
from tests.follow_films import film, straight


def test_largest_is_the_larger_track_wherever_it_is_seen() -> None:
    """The large one is small for a moment; the choice stays. Where it is absent the other one is replaced."""
    large = straight(10, 50, 100, 200, speed=0)
    small = straight(0, 80, 400, 200, speed=0, radius=30)
    cast = cast_film(film(80), FaceTable.concat([large, small]), "largest")
    chosen = cast.take(cast.role == 0)
    np.testing.assert_array_equal(chosen.frame, np.arange(80))
    large_track = int(cast.track[np.argmax(cast.box[:, 2] - cast.box[:, 0])])
    assert set(chosen.frame[chosen.track == large_track].tolist()) == set(range(10, 50))


def test_all_are_all_tracks() -> None:
    chance = straight(30, 32, 300, 300, score=0.3)
    cast = cast_film(film(80), FaceTable.concat([straight(0, 80, 100, 200), chance]), "all")
    np.testing.assert_array_equal(cast.role, np.where(cast.track >= 0, 0, -1))
    assert int((cast.role == 0).sum()) == 80
