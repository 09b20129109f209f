"""How fast a map goes, and how long it will still take: a range, from how evenly it went lately.

The rate is the mean over equal slices of the last minute, or of the last half of the map where that is longer, and is
known to about two of its standard errors. Time left by list scheduling (R. L. Graham, "Bounds on Multiprocessing
Timing Anomalies", 1969): the work that is left over all renderers, and at most the longest segment that is left on one
of them beside that.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import pairwise

WINDOW_S = 60.0
LEAST_S = 5.0  # nothing is said before
SLICES = 8
ERRORS = 2.0  # standard errors to either side
LEAST_SHARE = 0.2  # of the mean rate, below which no error takes it
SAMPLES_A_DOUBLING = 60


@dataclass
class Pace:
    """Samples (seconds, cost done by then) of one map; `began_s` is when its first segment was given out."""

    began_s: float
    _at_s: list[float] = field(default_factory=list)
    _cost: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._at_s.append(self.began_s)
        self._cost.append(0.0)

    def note(self, at_s: float, cost: float) -> None:
        """`cost` of the map was done by `at_s`. Samples thin out as time goes on, so they stay a few hundred."""
        if at_s - self._at_s[-1] >= max(1.0, (at_s - self.began_s) / SAMPLES_A_DOUBLING):
            self._at_s.append(at_s)
            self._cost.append(cost)

    def left_s(self, at_s: float, done: float, left: float, *, busy: int, longest: float) -> tuple[float, float] | None:
        """Seconds until `left` is done, as (low, high); None while nothing can be said.

        `done`, `left` and `longest` (of one segment that is not finished) are costs; `busy` renderers work.
        """
        if left <= 0:
            return 0.0, 0.0
        span_s = max(WINDOW_S, (at_s - self.began_s) / 2)
        start_s = max(self.began_s, at_s - span_s)
        if at_s - start_s < LEAST_S:
            return None
        step_s = (at_s - start_s) / SLICES
        marks = [self._cost_at(start_s + step_s * number, at_s, done) for number in range(SLICES + 1)]
        rates = [(after - before) / step_s for before, after in pairwise(marks)]
        mean = sum(rates) / SLICES
        if mean <= 0:
            return None
        error = math.sqrt(sum((rate - mean) ** 2 for rate in rates) / (SLICES - 1) / SLICES)
        low_rate = max(mean - ERRORS * error, LEAST_SHARE * mean)
        tail_s = (busy - 1) * longest / mean if busy > 1 else 0.0  # (1 - 1/m) of a segment at mean / m
        return left / (mean + ERRORS * error), left / low_rate + tail_s

    def _cost_at(self, when_s: float, now_s: float, now_cost: float) -> float:
        """By straight lines between samples, the last of which is now."""
        after = bisect_right(self._at_s, when_s)
        before_s, before = self._at_s[after - 1], self._cost[after - 1]
        next_s, then = (self._at_s[after], self._cost[after]) if after < len(self._at_s) else (now_s, now_cost)
        return before if next_s <= before_s else before + (then - before) * (when_s - before_s) / (next_s - before_s)
