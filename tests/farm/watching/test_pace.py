"""Time left, against work whose end is known."""

from __future__ import annotations

import random

import hypothesis.strategies as st
import pytest
from hypothesis import given

from farm.watching.pace import Pace


def run(rates: list[float], busy: int = 1, longest: float = 0.0, left: float | None = None) -> tuple[float, float]:
    """The range after seconds of work at `rates`, a second each."""
    pace, done = Pace(100.0), 0.0
    for second, rate in enumerate(rates):
        done += rate
        pace.note(101.0 + second, done)
    found = pace.left_s(100.0 + len(rates), done, done if left is None else left, busy=busy, longest=longest)
    assert found is not None
    return found


@given(st.floats(0.01, 1e6), st.integers(6, 2000))
def test_even_work_is_foretold_exactly(rate: float, seconds: int) -> None:
    low, high = run([rate] * seconds)
    assert low == pytest.approx(seconds, rel=1e-6)
    assert high == pytest.approx(seconds, rel=1e-6)


def test_the_end_adds_at_most_the_longest_segment_on_one_renderer() -> None:
    low, high = run([4.0] * 100, busy=4, longest=20.0)  # 20 of cost at 1 a second
    assert low == pytest.approx(100.0)
    assert high == pytest.approx(100.0 + 0.75 * 20.0)


def test_uneven_work_holds_the_truth_most_times() -> None:
    draw = random.Random(5)
    held = 0
    for _ in range(200):
        low, high = run([draw.expovariate(1.0) for _ in range(80)], left=80.0)
        held += low <= 80.0 <= high  # at the true rate of one a second
        assert low <= high
    assert held >= 180


def test_a_farm_that_grew_is_measured_by_its_last_half() -> None:
    low, high = run([1.0] * 300 + [10.0] * 300, left=1000.0)
    assert low == pytest.approx(100.0, rel=0.02)
    assert high == pytest.approx(100.0, rel=0.02)


def test_nothing_is_said_before_there_is_something_to_say() -> None:
    pace = Pace(0.0)
    assert pace.left_s(2.0, 5.0, 5.0, busy=1, longest=1.0) is None
    assert pace.left_s(20.0, 0.0, 5.0, busy=1, longest=1.0) is None
    assert pace.left_s(20.0, 5.0, 0.0, busy=1, longest=1.0) == (0.0, 0.0)


def test_a_night_is_a_few_hundred_samples() -> None:
    pace = Pace(0.0)
    for second in range(12 * 3600):
        pace.note(float(second), float(second))
    assert len(pace._at_s) < 1000
