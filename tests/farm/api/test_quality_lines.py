"""The lines of quality over time: every measurement is in one, and a gap is where nothing was measured."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farm.api.quality import BINS, binned


@settings(max_examples=30)
@given(count=st.integers(2, 1000), step_ms=st.integers(1, 2000), every=st.integers(1, 7), shaken=st.floats(0, 0.9))
def test_what_is_measured_evenly_has_no_gap(count: int, step_ms: int, every: int, shaken: float) -> None:
    """Frames of changing length, measured in one of `every`."""
    at = (np.arange(count) + shaken * np.random.default_rng(count).uniform(0, 0.5, count)) * step_ms / 1000
    values = np.where(np.arange(count) % every == 0, 2.0, np.nan).astype(np.float32)
    made = binned(at, values, count * step_ms / 1000)
    known = [value for _, value in made]
    last = max(number for number, value in enumerate(known) if value is not None)
    assert len(made) <= BINS
    if np.isfinite(values).sum() > 1:
        assert set(known[: last + 1]) == {2.0}


@settings(max_examples=30)
@given(st.lists(st.floats(0, 10, exclude_max=True), max_size=50, unique=True))
def test_every_measurement_is_in_the_stretch_of_its_time(times: list[float]) -> None:
    at = np.sort(np.array(times, np.float64))
    made = binned(at, np.ones(len(at), np.float32), 10.0)
    width = 10.0 / len(made)
    middles = np.array([where for where, value in made if value is not None])
    for time in at:
        assert np.abs(middles - time).min() <= width / 2 + 0.001
    assert len(middles) <= len(at)


def test_a_hole_is_a_gap() -> None:
    at, values = np.arange(200) * 0.04, np.full(200, np.nan, np.float32)
    values[:40:4], values[120:128:4] = 1.0, 3.0
    made = [value for _, value in binned(at, values, 8.0)]
    assert made == [1.0] * 5 + [None] * 10 + [3.0] + [None] * 9


def test_nothing_measured_is_no_point() -> None:
    made = binned(np.arange(3.0), np.full(3, np.nan, np.float32), 3.0)
    assert {value for _, value in made} == {None}
    assert made[0][0] == pytest.approx(0.005)
