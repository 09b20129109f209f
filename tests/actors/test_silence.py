"""A cluster is silent while it was asked and has not answered; the time in which the driver itself was stopped is not
its silence."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from actors.ray.silence import STEP_S, Silence


def test_silence_is_counted_from_the_question() -> None:
    silence = Silence()
    assert silence.seconds(100.0) == silence.seconds(130.0) == 0.0
    silence.asked()
    assert silence.seconds(130.5) == 0.5
    silence.asked()
    assert silence.seconds(131.0) == 1.0
    silence.answered()
    assert silence.seconds(140.0) == 0.0
    assert silence.seconds(150.0) == 0.0


@given(
    steps=st.lists(st.floats(0.0, STEP_S), max_size=40),
    stops=st.lists(st.floats(25.0, 1e5), min_size=1, max_size=4),
)
def test_a_driver_that_was_stopped_counts_little_of_it(steps: list[float], stops: list[float]) -> None:
    silence, now_s = Silence(), 0.0
    silence.seconds(now_s)
    silence.asked()
    for step_s in (*steps, *stops):
        now_s += step_s
        silence.seconds(now_s)
    assert sum(steps) - 1e-6 <= silence.seconds(now_s) <= sum(steps) + STEP_S * len(stops) + 1e-6
