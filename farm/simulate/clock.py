"""Time in a simulation: what comes next, and when. No other clock is looked at, so that a seed gives one result."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any


class Clock:
    """`now_s` are seconds since the beginning. What comes at one time comes in the order in which it was asked for."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._entries = 0

    def later(self, seconds: float, happens: Callable[..., None], *about: Any) -> None:
        """In so many seconds, `happens` is called with `about`."""
        self._entries += 1
        heappush(self._heap, (self.now_s + seconds, self._entries, happens, about))

    def step(self) -> None:
        """Go to what comes next, and let it happen. There is something."""
        self.now_s, _, happens, about = heappop(self._heap)
        happens(*about)
