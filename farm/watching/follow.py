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
BEGIN = "a run to begin here"


@dataclass(frozen=True)
class Verdict:
    """The end of watching: the job's exit code, and a line."""

    code: int
    line: str


class Follower:
    """Follows one job. `is_made` says whether a status's output is there; it is asked once the state is gone.

    A run's word counts while no other run holds the job's place: a driver that has just begun there has yet to tell of
    itself, and what is told until then is of the run before it. `waits_for` says what is waited for, "" for nothing.
    """

    def __init__(self, is_made: Callable[[JobStatus], bool], *, wait: bool = False) -> None:
        self._is_made = is_made
        self._wait = wait
        self._heard_s = 0.0
        self._news = False  # the run that is followed held its place, or told something, while somebody looked
        self._dead: tuple[str, int] | None = None  # the last word of a run that said nothing more
        self._mute = ""  # a run that holds the place and has said nothing yet
        self._mute_since_s = 0.0
        self.last: JobStatus | None = None
        self.waits_for = ""

    def hear(self, status: JobStatus | None, at_s: float, age_s: float = 0.0, holder: str = "") -> Verdict | None:
        """`status` is told at `at_s` (seconds of any clock), None where nothing is; `age_s` ago it was written.
        `holder` is the run that holds the place, "" where none is known to; it is asked for until a run is followed.

        The verdict when the job has ended, or nothing more can be expected.
        """
        if self.last is None:
            verdict = self._first(status, at_s, age_s, holder)
        elif status is None:
            verdict = self._gone(self.last)
        else:
            if word_of(status) != word_of(self.last):
                self._heard_s, self._news = at_s, True
            self.last = status
            verdict = ended(status) if status.state != "running" else None
        if verdict is None and self.last is not None and at_s - self._heard_s >= quiet_s(self.last):
            verdict = self._silent(self.last)
        if verdict is not None or self.last is not None:
            self.waits_for = ""
        return verdict

    def _first(self, status: JobStatus | None, at_s: float, age_s: float, holder: str) -> Verdict | None:
        """Nobody is followed yet."""
        if holder and (status is None or status.run != holder):
            return self._mute_driver(status, at_s, holder)
        if status is None:
            if not self._wait:
                return Verdict(2, "no job tells of itself here; start it, or add --wait to wait for it")
            self.waits_for = BEGIN
            return None
        if self._wait and (status.state != "running" or word_of(status) == self._dead):
            self.waits_for = f"{BEGIN}; {before(status)}"
            return None
        self.last, self._news = status, status.run == holder
        self._heard_s = at_s - max(0.0, min(age_s, quiet_s(status) - CONFIRM_S))
        return ended(status) if status.state != "running" else None

    def _mute_driver(self, status: JobStatus | None, at_s: float, holder: str) -> Verdict | None:
        """A run works here and has not told anything: what is told, if anything, is older."""
        if holder != self._mute:
            self._mute, self._mute_since_s = holder, at_s
        if at_s - self._mute_since_s >= QUIET_S and not self._wait:
            told = "a run holds this place and has told nothing of itself"
            return Verdict(FarmError.exit_code, f"{told} for {QUIET_S:.0f} s; it is cut off, or of another version")
        self.waits_for = "the first word of a run that has begun here" + (f"; {before(status)}" if status else "")
        return None

    def _gone(self, last: JobStatus) -> Verdict:
        if self._is_made(last):
            self.last = finished(last)
            return Verdict(0, f"{last.output}: finished")
        return Verdict(FarmError.exit_code, f"{last.output}: the run ended and kept nothing; it says itself why")

    def _silent(self, last: JobStatus) -> Verdict | None:
        if self._wait and not self._news:  # it was over before anybody looked
            self._dead, self.last = word_of(last), None
            self.waits_for = f"{BEGIN}; {before(last)}"
            return None
        return Verdict(
            FarmError.exit_code,
            f"{last.output}: nothing was heard of its driver since {last.updated}; "
            "it has ended or is cut off: run the same command again to resume",
        )

    def quiet_for_s(self, at_s: float) -> float:
        """Seconds without a word."""
        return at_s - self._heard_s


def word_of(status: JobStatus) -> tuple[str, int]:
    """Which word of which run."""
    return status.run, status.sequence


def before(status: JobStatus) -> str:
    """What became of the run before."""
    if status.state == "running":
        return f"the last one said nothing after {status.updated}"
    return f"the last one ended with: {status.state}{': ' if status.error else ''}{status.error}"


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
