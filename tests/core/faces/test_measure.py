"""Numbers of tracks: how much a face is turned, and mean vectors."""

from __future__ import annotations

import numpy as np
import pytest

from core.faces.embed import Recogniser
from core.faces.measure import VectorSum, apart, frontal
from core.faces.metric import metric_of
from tests.faces_assets import session_of

# Eyes and mouth corners of a head of width 2, and its nose, which stands before the eyes.
HEAD = np.array([[-0.5, 0, 0], [0.5, 0, 0], [0, 0.5, 0.6], [-0.4, 1, 0.1], [0.4, 1, 0.1]])


@pytest.mark.parametrize("degrees", [-70, -30, 0, 15, 45, 80])
@pytest.mark.parametrize("tilt", [0, 30])
def test_frontal_is_the_cosine_of_the_turn(degrees: int, tilt: int) -> None:
    turn, roll = np.radians([degrees, tilt])
    seen = np.stack([HEAD[:, 0] * np.cos(turn) + HEAD[:, 2] * np.sin(turn), HEAD[:, 1]], axis=1)
    flat = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    assert frontal(100 * seen @ flat.T + 300) == pytest.approx(np.cos(turn), abs=1e-6)


def test_eyes_in_one_place_are_not_frontal() -> None:
    assert frontal(np.zeros((5, 2))) == 0


def test_the_mean_of_vectors_is_the_recognisers() -> None:
    recogniser = Recogniser(session_of("embedder"))
    vectors = np.random.default_rng(0).normal(1, 1, (7, 128)).astype(np.float32)
    total = VectorSum(metric_of("dlib"))
    assert total.mean() is None
    for one in vectors:
        total.add(one)
    mean = total.mean()
    assert mean is not None
    np.testing.assert_allclose(mean, recogniser.mean(vectors), atol=1e-6)
    assert apart(vectors[0], vectors[1], metric_of("dlib")) == pytest.approx(recogniser.distance(*vectors[:2]))


def test_of_directions_the_mean_is_as_long_as_they_are() -> None:
    directions = VectorSum(metric_of("arcface"))
    for one in ([3.0, 0.0], [0.0, 1.0]):
        directions.add(np.array(one, np.float32))
    mean = directions.mean()
    assert mean is not None
    np.testing.assert_allclose(mean, np.full(2, 2 / np.sqrt(2)), atol=1e-6)
    assert apart(np.array([3.0, 0.0]), np.array([0.0, 1.0]), metric_of("arcface")) == pytest.approx(1)
