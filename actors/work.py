"""What a renderer is asked for and answers, and what it needs of a job's store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

from core.records import AnalysisOrder, AnalysisReceipt, SegmentReceipt, WorkOrder

Order = AnalysisOrder | WorkOrder
Receipt = AnalysisReceipt | SegmentReceipt
Heartbeat = Callable[[int], None]
T = TypeVar("T")


class JobStore(Protocol):
    """What a renderer needs of the store of a job; see farm.store.base for the meaning of each. It can be pickled."""

    def path(self, name: str) -> Path: ...

    def exists(self, name: str) -> bool: ...

    def size(self, name: str) -> int | None: ...

    def read(self, name: str) -> bytes: ...

    def scratch(self, suffix: str) -> Path: ...

    def load(self, name: str, kind: type[T]) -> T | None: ...

    def discard(self, name: str) -> None: ...

    def write(self, name: str, data: bytes) -> bool: ...

    def adopt(self, temporary: Path, name: str) -> bool: ...


class Works(Protocol):
    """What does the work of one slot: actors.worker.Worker, or a stand-in that only takes its time."""

    words: str  # the last that it said of something that takes minutes

    def setup(self) -> object: ...

    def work(self, order: Order, attempt: int, heartbeat: Heartbeat, store: JobStore) -> Receipt:
        """Do one order of the job in `store`; two may run at once, each on a thread of its own, of any jobs.

        Raises what `heartbeat` raises.
        """
