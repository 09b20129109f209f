"""The states of a job, and which may follow which: the law that every transition's one statement carries.

    queued -> indexing -> analysing -> casting -> rendering -> assembling -> verifying -> succeeded
              └──────────┴────────────┴──────────┴──────────┴────────────┴───────> failed, refused, cancelled, paused

`casting` waits for a person and holds no lease; with a cast it goes back to `queued`, as `paused` does by resume and
the ends but `succeeded` by retry. A coordinator moves a job forward only; a job that is leased again begins at
`indexing` with the next epoch, and finds in its store what was finished.
"""

from __future__ import annotations

from enum import StrEnum


class JobState(StrEnum):
    queued = "queued"
    indexing = "indexing"
    analysing = "analysing"
    casting = "casting"
    rendering = "rendering"
    assembling = "assembling"
    verifying = "verifying"
    succeeded = "succeeded"
    failed = "failed"
    cancelled = "cancelled"
    paused = "paused"
    refused = "refused"


class Wish(StrEnum):
    """What the owner wants of a job that a coordinator holds; the coordinator obeys at its next renewal."""

    run = "run"
    pause = "pause"
    cancel = "cancel"
    erase = "erase"


WORKING = (
    JobState.indexing,
    JobState.analysing,
    JobState.rendering,
    JobState.assembling,
    JobState.verifying,
)
"""In the order in which they are passed; a coordinator's lease is on the job."""

ENDED = frozenset({JobState.succeeded, JobState.failed, JobState.cancelled, JobState.refused})
"""Nothing more happens by itself; all but `succeeded` can be retried."""

WAITING = frozenset({JobState.queued, JobState.casting, JobState.paused})
"""Nobody works on it."""


def _law() -> dict[JobState, frozenset[JobState]]:
    state = JobState
    working = frozenset(WORKING)
    before = {late: frozenset(WORKING[:rank]) for rank, late in enumerate(WORKING)}
    return {
        state.queued: working | {state.paused, state.casting, state.failed, state.cancelled, state.refused},
        state.indexing: working | {state.queued},
        **{late: before[late] for late in WORKING[1:]},
        state.casting: before[state.rendering],
        state.succeeded: working,
        state.failed: working | {state.queued},
        state.refused: working | {state.queued},
        state.cancelled: working | WAITING,
        state.paused: working | {state.queued, state.casting},
    }


FROM = _law()
"""State -> the states from which a job may come there."""
