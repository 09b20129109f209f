"""The error tree: every failure a person can meet is one of these, and prints as one line.

    FarmError                    exit code
    ├── InputError               2     the film, face, option or path is unusable as given
    ├── ModelError               2     weights are missing, altered, or refuse to load
    ├── PolicyError              3     refused by policy
    ├── PlanError                4     our own plan and the film disagree: a fault of ours
    ├── StorageError             4     the disk or store cannot take or give a file
    │   └── Busy                 4     the machine did not come to it in time: nothing is known of the file
    ├── WorkerLost               4     renderers died more often than the farm tolerates
    ├── VerifyFailed             4     the finished film is not what was promised; not published
    ├── BudgetSpent              4     what the user wants to spend at most is used up; resumable with more
    ├── CopyFailed               4     a segment cannot be copied after all, or not joined: it is encoded instead
    └── Interrupted              130   the user stopped it; run again to resume

Foreign exceptions are translated at the adapter that meets them (PyAV in core.media, ONNX Runtime in
core.inference, Ray in actors). Every error carries what happened, where, and what to do about it, and
survives pickling between processes.
"""

from __future__ import annotations

import errno
from typing import ClassVar

DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})  # what a disk without room says


class FarmError(Exception):
    """What happened, where, and what to do: one line each, without a final full stop."""

    exit_code: ClassVar[int] = 4

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        self.what = " ".join(what.split())
        self.where = " ".join(where.split())
        self.hint = " ".join(hint.split())
        super().__init__(self.what, self.where, self.hint)

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.what, self.where, self.hint)

    def __str__(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        return f"{head}; {self.hint}" if self.hint else head


def _rebuild(kind: type[FarmError], what: str, where: str, hint: str) -> FarmError:
    return kind(what, where=where, hint=hint)


class InputError(FarmError):
    exit_code = 2


class ModelError(FarmError):
    exit_code = 2


class PolicyError(FarmError):
    exit_code = 3


class PlanError(FarmError):
    exit_code = 4


class StorageError(FarmError):
    exit_code = 4


class Busy(StorageError):
    pass


class WorkerLost(FarmError):
    exit_code = 4


class VerifyFailed(FarmError):
    exit_code = 4


class BudgetSpent(FarmError):
    exit_code = 4


class CopyFailed(FarmError):
    exit_code = 4


class Interrupted(FarmError):
    exit_code = 130
