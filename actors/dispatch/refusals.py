"""What nodes say that they cannot do, and when that is more than one node's word."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from core.errors import FarmError, ModelError, StorageError

# A full disk, a store out of reach, models that are missing or altered: as a rule the next node has none of it.
OF_A_NODE = (StorageError, ModelError)
MEMORY_S = 600.0  # what one node said is not what another one says later than this
ANY_JOB = None  # for what concerns every job


def of_a_node(error: FarmError) -> bool:
    """Whether the error may be that of the node it happened on alone."""
    return isinstance(error, OF_A_NODE)


@dataclass(slots=True, eq=False)
class Refusal:
    """At `at_s` a slot at `where`, which is its node or the slot itself, said that it cannot do a job's work; `task` is
    what it was asked for, "" where that was nothing yet. `refuted`: work of the job was done since."""

    job: str | None
    where: str
    error: FarmError
    at_s: float
    task: str = ""
    refuted: bool = False

    def same(self, other: Refusal) -> bool:
        """Whether both say the same of one job, or one of every job."""
        about = self.job == other.job or None in (self.job, other.job)
        return about and type(self.error) is type(other.error) and self.error.what == other.error.what

    def confirmed_by(self, later: Refusal) -> bool:
        """Whether both say the same, and not of a node each: of one task, or with nothing done between."""
        return self.same(later) and (not self.refuted or self.task == later.task != "")


class Refusals:
    """What was said lately. Few: every one of them took a slot out of service."""

    def __init__(self) -> None:
        self._said: list[Refusal] = []

    def add(self, refusal: Refusal) -> None:
        self._said = [said for said in self._said if refusal.at_s - said.at_s <= MEMORY_S]
        self._said.append(refusal)

    def done(self, job: str) -> None:
        """Work of the job was done: what was said before is of those nodes that said it."""
        for said in self._said:
            if said.job in (job, ANY_JOB):
                said.refuted = True

    def agreed(self, refusal: Refusal) -> bool:
        """Whether another node said the same, not long before, and of the same task or with nothing done since."""
        lately = (said for said in self._said if refusal.at_s - said.at_s <= MEMORY_S)
        return any(said.where != refusal.where and said.confirmed_by(refusal) for said in lately)

    def withdraw(self, refusal: Refusal) -> Iterator[str]:
        """It was no node's fault: who said so, once for each time."""
        said, self._said = self._said, []
        for each in said:
            if each.confirmed_by(refusal):
                yield each.where
            else:
                self._said.append(each)

    def last(self, job: str, since_s: float) -> FarmError | None:
        """The last that was said of the job, or of every one, since then; not what work that was done refuted."""
        for said in reversed(self._said):
            if said.at_s >= since_s and said.job in (job, ANY_JOB) and not said.refuted:
                return said.error
        return None

    def clear(self) -> None:
        self._said.clear()
