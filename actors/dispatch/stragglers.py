"""What is left of the work on a slot, and whose last tasks another slot would finish sooner.

Near the end, when nothing is queued, slots without work first take over tasks that wait for their turn elsewhere (a
move: the waiting attempt is cancelled), and then run copies of tasks that are late. A copy is worth it where the time
it takes is clearly less than what the original seems to need; results are the same whoever publishes them first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from actors.dispatch.slots import Attempt, Rates, Slot

# A task is late when it has taken this many times what its cost and its slot's rate say.
LATE = 1.25
# What a copy must gain: it opens the film anew, and costs a slot that could go away.
LEAST_GAIN_S = 5.0
LEAST_GAIN = 0.25  # of the copy's own time
LOOK_AT = 16  # slots looked at for a task to move; all of them would be a scan an event


def left_s(slot: Slot, rates: Rates, at_s: float) -> Iterator[tuple[str, Attempt, float | None]]:
    """The slot's tasks in their turn, each with the seconds until it is expected to be done; None: unknown.

    A task that is late is expected to take as long again as it has taken.
    """
    rate = rates.of(slot)
    wait_s = 0.0
    for number, (task, attempt) in enumerate(slot.running.items()):
        size = attempt.ledger.size(attempt.rank)
        if rate <= 0 or size <= 0:
            yield task, attempt, None
            continue
        whole_s = size / rate
        if number == 0:
            taken_s = at_s - max(attempt.since_s, slot.last_done_s)
            if taken_s >= LATE * whole_s:
                whole_s = taken_s
            else:
                whole_s = max(whole_s - taken_s, (LATE - 1) * whole_s if taken_s > whole_s else 0.0)
        wait_s += whole_s
        yield task, attempt, wait_s


def to_move(doubled: Iterable[Slot], idle: Slot, rates: Rates, at_s: float) -> tuple[Slot, str, Attempt] | None:
    """A task that waits behind another and that `idle` would finish sooner."""
    idle_rate = rates.of(idle)
    for slot in islice(doubled, LOOK_AT):
        *_, (task, attempt, there_s) = left_s(slot, rates, at_s)
        if attempt.frames > 0 or attempt.ledger.current[attempt.rank] > 1:
            continue
        size = attempt.ledger.size(attempt.rank)
        here_s = size / idle_rate if idle_rate > 0 and size > 0 else None
        if here_s is None or there_s is None or here_s < there_s:
            return slot, task, attempt
    return None


@dataclass(frozen=True)
class Late:
    """A task that another slot may finish sooner."""

    slot: Slot
    task: str
    attempt: Attempt
    left_s: float

    def gains(self, rate: float) -> bool:
        """Whether a slot of this rate would finish a copy clearly sooner."""
        size = self.attempt.ledger.size(self.attempt.rank)
        if rate <= 0 or size <= 0:
            return False
        copy_s = size / rate
        return self.left_s - copy_s >= max(LEAST_GAIN_S, LEAST_GAIN * copy_s)


def late(slots: Iterable[Slot], rate: float, rates: Rates, at_s: float) -> list[Late]:
    """The tasks that gain by a copy on a slot of this rate, latest first. Looks at every slot.

    Not copied: what has a copy, what a slot died of, and what belongs to a job that has failed.
    """
    found = []
    for slot in slots:
        for task, attempt, there_s in left_s(slot, rates, at_s):
            ledger, rank = attempt.ledger, attempt.rank
            if there_s is None or ledger.current[rank] > 1 or ledger.suspect(rank) or ledger.error is not None:
                continue
            candidate = Late(slot, task, attempt, there_s)
            if candidate.gains(rate):
                found.append(candidate)
    return sorted(found, key=lambda late: (-late.left_s, late.task))
