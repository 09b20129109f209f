"""How long somebody who was asked has not answered: time in which this process was itself stopped does not count."""

from __future__ import annotations

import threading

STEP_S = 2.0  # the most that counts between two looks at the clock, which come twice a second


class Silence:
    """Asked and answered on one thread, looked at on another. Times are seconds of one clock that does not go back."""

    def __init__(self) -> None:
        self._gate = threading.Lock()
        self._waits = False
        self._seconds = 0.0
        self._looked_s: float | None = None

    def asked(self) -> None:
        """A question is under way; one that fails, or is followed by another, stays unanswered."""
        with self._gate:
            self._waits = True

    def answered(self) -> None:
        with self._gate:
            self._waits = False
            self._seconds = 0.0

    def seconds(self, now_s: float) -> float:
        """How long the first unanswered question has waited, of the time in which somebody looked here."""
        with self._gate:
            since_s = 0.0 if self._looked_s is None else now_s - self._looked_s
            self._looked_s = now_s
            if self._waits:
                self._seconds += min(max(0.0, since_s), STEP_S)
            return self._seconds
