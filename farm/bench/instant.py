"""A driver with renderers that answer at once: what the driver itself needs. Run as a program, prints nothing."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Sequence

from actors.dispatch import Assign, Beat, Done, Event, NodeDecision, SlotReady, Task
from actors.drive import Batch, JobStore, Order, Patience, Receipt, drive
from core.errors import PlanError
from core.records import WorkOrder
from farm.artifacts import DiskStore
from farm.bench.sleeping import film_orders, receipt_of

SLOTS = 200
FRAMES = 240
PATIENCE = Patience(600.0, 600.0)


class InstantTransport:
    """Every order is done when it is asked about, first in, first out; each tells of itself once."""

    def __init__(self) -> None:
        self._events: deque[tuple[Event, Receipt | None]] = deque()

    def start(self, slot: str) -> None:
        self._events.append((SlotReady(slot, 2), None))

    def submit(self, assign: Assign, order: Order, store: JobStore) -> None:
        del store  # nothing is made
        if not isinstance(order, WorkOrder):
            raise PlanError("only segments to render are timed here")
        self._events.append((Beat(assign.slot, assign.task, assign.attempt, order.segment.frames // 2), None))
        self._events.append((Done(assign.slot, assign.task, assign.attempt), receipt_of(order, assign.attempt)))

    def poll(self, timeout_s: float) -> list[tuple[Event, Receipt | None]]:  # noqa: ARG002 - nothing is waited for
        events = list(self._events)
        self._events.clear()
        return events

    def wake(self) -> None:
        """No call of `poll` waits."""

    def cancel(self, slot: str, task: str, attempt: int) -> None:
        """What was begun is done by now."""

    def restart(self, slot: str) -> None:
        raise PlanError(f"{slot} does not die")

    kill = retire = restart

    def regard(self, decision: NodeDecision) -> None:
        raise PlanError(f"no node is bad: {decision}")

    @property
    def report(self) -> str:
        return ""


def drive_instantly(orders: Sequence[Order]) -> Batch:
    """Work off the orders on `SLOTS` renderers."""
    slots = [f"renderer-{number}" for number in range(SLOTS)]
    return drive(InstantTransport(), slots, orders, DiskStore(""), PATIENCE, lambda _, __: None)


def main(segments: int) -> int:
    batch = drive_instantly(film_orders(Task(str(number), number, FRAMES) for number in range(segments)))
    return 0 if batch.error is None and len(batch.receipts) == segments else 4


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
