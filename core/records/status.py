"""How far a job is, for a person who watches it and for a program."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from core.records.work import FileStamp

JobState = Literal["running", "finished", "failed", "stopped"]
SegmentState = Literal["waiting", "running", "done", "reused", "lost", "failed"]

# One letter a segment, in the order of the film; readable as they are.
LETTERS: dict[SegmentState, str] = {
    "waiting": ".",
    "running": ">",
    "done": "#",
    "reused": "=",
    "lost": "!",
    "failed": "X",
}
STATES: dict[str, SegmentState] = {letter: state for state, letter in LETTERS.items()}


@dataclass(frozen=True)
class SegmentStatus:
    """One attempt at a segment that runs now: where, since when, and how many of its frames are through.

    `attempt` counts from 1 over all slots; 0 where nothing works on the segment. `since_s` is in seconds of the job,
    as JobStatus.seconds. `faces` are those to replace in it, 0 while they are not known.
    """

    segment: int
    state: SegmentState
    frames: int
    of_frames: int
    attempt: int = 0
    slot: str = ""
    node: str = ""
    kind: str = ""
    since_s: float = 0.0
    faces: int = 0


@dataclass(frozen=True)
class JobStatus:
    """How far one run of a job is; a later one of the same run has a larger `sequence`.

    run: names the run, 16 hex digits; the lock of the store that it works in has the same name. job: its name in a pool
    that serves several, else "". state: "running" until the run ends; "stopped" was asked for (a signal, a budget, a
    cancel) and resumes like "failed". stage: what is done now, in the words of JobReport.seconds_by_stage. started,
    updated: UTC, ISO 8601. seconds: since the run began.
    every_s: how often it is written, so that a reader knows from when on silence means something. before: what was at
    `output` when the run began, None where nothing was; what is there later is the run's where it is another file.

    What follows is of the map that runs, or of the last one, named `map` ("analyse", "render"): grid: a letter of
    LETTERS a segment. working: the attempts that run, longest first, at most as many as the writer lists
    (`working_total` counts all). frames: all frames; frames_done: with what was reused and what is under way.
    frames_per_second: over this run's map so far. eta_low_s, eta_high_s: seconds until the map is worked off, None
    while nothing can be said. retries: attempts that were lost, by cause.

    slots: renderers that are up; busy: those of them that work. words: what a renderer says that takes minutes, as an
    engine that is built. cost in `currency`, of this run, None where no price is known. notes: the last of what the
    user should know. error and exit_code: of a run that ended.
    """

    run: str
    job: str
    target: str
    output: str
    state: JobState
    stage: str
    sequence: int
    started: str
    updated: str
    seconds: float
    every_s: float
    before: FileStamp | None = None
    map: str = ""
    grid: str = ""
    working: tuple[SegmentStatus, ...] = ()
    working_total: int = 0
    frames: int = 0
    frames_done: int = 0
    frames_per_second: float = 0.0
    faces: int = 0
    eta_low_s: float | None = None
    eta_high_s: float | None = None
    retries: dict[str, int] = field(default_factory=dict)
    slots: int = 0
    busy: int = 0
    cost: float | None = None
    currency: str = ""
    words: str = ""
    notes: tuple[str, ...] = ()
    error: str = ""
    exit_code: int | None = None

    @property
    def segments(self) -> int:
        return len(self.grid)

    def count(self, state: SegmentState) -> int:
        """How many segments are in `state`."""
        return self.grid.count(LETTERS[state])

    def states(self) -> Iterator[SegmentState]:
        """The state of every segment, in the order of the film."""
        return (STATES[letter] for letter in self.grid)
