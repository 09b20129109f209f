"""What to make of what a job tells, or does not tell any more: pure, so that no test has to wait."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from core.errors import FarmError
from core.records import LETTERS, JobStatus, SegmentState

QUIET_S = 30.0  # without a word from the driver, at least
QUIET_WRITES = 10  # of its own pace
OPEN: tuple[SegmentState, ...] = ("waiting", "running", "lost")
CONFIRM_S = 5.0  # how long an old word is watched before it is taken for the last one


@dataclass(frozen=True)
class Verdict:
    """The end of watching: the job's exit code, and a line."""

    code: int
    line: str


class Follower:
    """Follows one job. `is_made` says whether a status's output is there; it is asked once the state is gone."""

    def __init__(self, is_made: Callable[[JobStatus], bool], *, wait: bool = False) -> None:
        self._is_made = is_made
        self._wait = wait
        self._heard_s = 0.0
        self.last: JobStatus | None = None

    def hear(self, status: JobStatus | None, at_s: float, age_s: float = 0.0) -> Verdict | None:
        """`status` is told at `at_s` (seconds of any clock), None where nothing is; `age_s` ago it was written.

        The verdict when the job has ended, or nothing more can be expected.
        """
        if status is None:
            return self._gone()
        if self.last is None:
            if status.state != "running" and self._wait:
                return None
            self._heard_s = at_s - max(0.0, min(age_s, quiet_s(status) - CONFIRM_S))
        elif (status.run, status.sequence) != (self.last.run, self.last.sequence):
            self._heard_s = at_s
        self.last = status
        if status.state != "running":
            return ended(status)
        if at_s - self._heard_s >= quiet_s(status):
            return Verdict(
                FarmError.exit_code,
                f"{status.output}: nothing was heard of its driver since {status.updated}; "
                "it has ended or is cut off: run the same command again to resume",
            )
        return None

    def _gone(self) -> Verdict | None:
        if self.last is not None:
            if self._is_made(self.last):
                self.last = finished(self.last)
                return Verdict(0, f"{self.last.output}: finished")
            return Verdict(
                FarmError.exit_code, f"{self.last.output}: the run ended and kept nothing; it says itself why"
            )
        if self._wait:
            return None
        return Verdict(2, "no job tells of itself here; start it, or add --wait to wait for it")

    def quiet_for_s(self, at_s: float) -> float:
        """Seconds without a word."""
        return at_s - self._heard_s


def finished(status: JobStatus) -> JobStatus:
    """The last word of a run that took its state away: its film is published, so all of it was done."""
    grid = status.grid
    for state in OPEN:
        grid = grid.replace(LETTERS[state], LETTERS["done"])
    return replace(
        status,
        sequence=status.sequence + 1,
        state="finished",
        exit_code=0,
        grid=grid,
        working=(),
        working_total=0,
        busy=0,
        frames_done=status.frames,
        eta_low_s=None,
        eta_high_s=None,
        words="",
    )


def quiet_s(status: JobStatus) -> float:
    """How long a job may say nothing before it counts as gone."""
    return max(QUIET_S, QUIET_WRITES * status.every_s)


def ended(status: JobStatus) -> Verdict:
    """The verdict on a run that told its end."""
    code = FarmError.exit_code if status.exit_code is None else status.exit_code
    return Verdict(code, f"{status.output}: {status.state}{': ' if status.error else ''}{status.error}")
