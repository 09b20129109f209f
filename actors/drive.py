"""The loop between the dispatcher, which decides, and a transport, which obeys: one for Ray and for one process."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from actors.dispatch import (
    Assign,
    Cancel,
    Decision,
    Dispatcher,
    Event,
    Finish,
    Kill,
    Quarantine,
    Release,
    Restart,
    Task,
    Tick,
)
from core.errors import FarmError, PlanError
from core.records import AnalysisOrder, AnalysisReceipt, SegmentReceipt, WorkOrder

Order = AnalysisOrder | WorkOrder
Receipt = AnalysisReceipt | SegmentReceipt
Watch = Callable[[Event], None]

POLL_S = 0.5
# A frame with a face costs some ten times a frame that only passes through; the order of length is all that matters.
FRAMES_A_FACE = 10


@dataclass(frozen=True)
class Patience:
    """How long to wait, in seconds: for movement of a task, and for the first renderer of a cluster to come up."""

    hang_s: float = 600.0
    start_s: float = 1800.0


@dataclass(frozen=True)
class Batch:
    """What became of a list of orders: receipts by order id, the error that ended it, and renderers lost."""

    receipts: dict[str, Receipt]
    error: FarmError | None
    deaths: int


class Works(Protocol):
    """What does the work of one slot: actors.worker.Worker, or a stand-in that only takes its time."""

    words: str  # the last that it said of something that takes minutes

    def setup(self) -> object: ...

    def work(self, order: Order, attempt: int, heartbeat: Callable[[int], None]) -> Receipt:
        """Do one order; two may run at once, each on a thread of its own. Raises what `heartbeat` raises."""


class Transport(Protocol):
    """Slots that can be brought up, given work and listened to. No method but `poll` waits."""

    def start(self, slot: str) -> None: ...

    def submit(self, assign: Assign, order: Order) -> None: ...

    def cancel(self, slot: str, task: str, attempt: int, /) -> None:
        """Stop one attempt, which works or waits; what it still says is not waited for."""

    def restart(self, slot: str) -> None: ...

    def kill(self, slot: str) -> None: ...

    def retire(self, slot: str) -> None: ...

    def poll(self, timeout_s: float) -> list[tuple[Event, Receipt | None]]:
        """Events since the last call, each `Done` with its receipt; waits at most `timeout_s` for the first."""


def task_of(order: Order) -> Task:
    faces = order.face_count if isinstance(order, WorkOrder) else 0
    return Task(order.id, order.segment.index, order.segment.frames + FRAMES_A_FACE * faces)


def drive(
    transport: Transport,
    slots: Sequence[str],
    orders: Sequence[Order],
    patience: Patience,
    watch: Watch,
    clock: Callable[[], float] = time.monotonic,
) -> Batch:
    """Run `orders` to their end on `slots`; raises only what the transport raises, failed work is in the batch.

    `clock` gives the seconds that the transport's waits are in.
    """
    by_id = {order.id: order for order in orders}
    if len(by_id) != len(orders):
        raise PlanError("two segments have one work order id")
    dispatcher = Dispatcher(map(task_of, orders), slots, at_s=clock(), hang_s=patience.hang_s, start_s=patience.start_s)
    receipts: dict[str, Receipt] = {}
    for slot in slots:
        transport.start(slot)
    while not dispatcher.finished:
        events = transport.poll(POLL_S)
        events.append((Tick(), None))
        for event, receipt in events:
            if receipt is not None:
                receipts.setdefault(receipt.order_id, receipt)
            watch(event)
            for decision in dispatcher.handle(event, clock()):
                error = obey(transport, decision, by_id)
                if error is not None or isinstance(decision, Finish):
                    return Batch(receipts, error, dispatcher.deaths)
    raise PlanError("the dispatcher ended without a verdict")


def obey(transport: Transport, decision: Decision, orders: dict[str, Order]) -> FarmError | None:
    """Carry out one decision; the error of a `Finish` is handed back."""
    match decision:
        case Assign():
            transport.submit(decision, orders[decision.task])
        case Restart():
            transport.restart(decision.slot)
        case Kill():
            transport.kill(decision.slot)
        case Cancel():
            transport.cancel(decision.slot, decision.task, decision.attempt)
        case Quarantine() | Release():
            transport.retire(decision.slot)
        case Finish():
            return decision.error
    return None


def unexpected(error: BaseException) -> FarmError:
    """An exception that nobody translated: a fault of ours, told in one line."""
    detail = str(error).strip().splitlines()
    return PlanError(
        f"{type(error).__name__}: {detail[0] if detail else 'no message'}",
        hint="this is a fault of the farm: run again with --debug and report what it prints",
    )
