"""The words between a pool and those who use it, and the loop over a single list of orders."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from actors.dispatch import Assign, Decision, Event, NodeDecision, Task
from actors.work import JobStore, Order, Receipt, Works
from core.errors import FarmError, PlanError
from core.records import AnalysisOrder, WorkOrder

__all__ = [
    "Batch",
    "Halt",
    "Happening",
    "JobStore",
    "Order",
    "Patience",
    "Receipt",
    "Terms",
    "Transport",
    "Watch",
    "Works",
    "drive",
    "sort_of",
    "task_of",
    "unexpected",
]

Happening = Event | Decision
# Hears what happened or was decided, and when, in seconds of the pool's clock. The tasks of events and decisions are
# order ids. It may raise `Halt`; anything else that it raises ends the job and comes out of `run`.
Watch = Callable[[Happening, float], None]

POLL_S = 0.5
# A frame with a face costs some ten times a frame that only passes through; the order of length is all that matters.
FRAMES_A_FACE = 10


class Halt(Exception):
    """Raised by a watch: its job ends with `error`. With `finish`, what runs is finished, and nothing new is begun; of
    what a renderer has beside what it works on, nothing either unless it may go on `waiting` for its turn."""

    def __init__(self, error: FarmError, *, finish: bool = False, waiting: bool = True) -> None:
        super().__init__(error)
        self.error = error
        self.finish = finish
        self.waiting = waiting


@dataclass(frozen=True)
class Terms:
    """One job in a pool. No two open jobs have one name; higher priorities go first, one priority shares by weight.

    Of all jobs of one `group` at most `most` segments are worked on at once, None for any number, and they have
    `weight` together.
    """

    name: str = ""
    priority: int = 0
    weight: float = 1.0
    group: str = ""
    most: int | None = None


@dataclass(frozen=True)
class Patience:
    """How long to wait, in seconds: for movement of a task, and for the first renderer of a cluster to come up."""

    hang_s: float = 600.0
    start_s: float = 1800.0


@dataclass(frozen=True)
class Batch:
    """What became of a list of orders: receipts by order id, the error that ended it, and renderers that the pool lost
    meanwhile."""

    receipts: dict[str, Receipt]
    error: FarmError | None
    deaths: int


class Transport(Protocol):
    """Slots that can be brought up, given work and listened to. No method but `poll` waits."""

    def start(self, slot: str) -> None: ...

    def submit(self, assign: Assign, order: Order, store: JobStore) -> None:
        """Let the slot do an order of the job in `store`. Every attempt that was submitted ends with a `Done` or a
        `Failed`, cancelled ones too, unless its slot ended before."""

    def cancel(self, slot: str, task: str, attempt: int, /) -> None:
        """Stop one attempt, which works or waits."""

    def restart(self, slot: str) -> None: ...

    def kill(self, slot: str) -> None: ...

    def retire(self, slot: str) -> None: ...

    def regard(self, decision: NodeDecision) -> None:
        """What is thought of a node, where that matters for what is brought up."""

    @property
    def report(self) -> str:
        """What whoever brings nodes says of those that are waited for; "" where nobody says anything."""

    def poll(self, timeout_s: float) -> list[tuple[Event, Receipt | None]]:
        """Events since the last call, each `Done` with its receipt; waits at most `timeout_s` for the first."""

    def wake(self) -> None:
        """Let a `poll` that waits return. The one method that any thread may call."""


def task_of(order: Order, name: str = "") -> Task:
    """The order as the dispatcher knows it, by its id or by a `name` that is the pool's own."""
    faces = order.face_count if isinstance(order, WorkOrder) else 0
    return Task(name or order.id, order.segment.index, order.segment.frames + FRAMES_A_FACE * faces)


def sort_of(orders: Sequence[Order]) -> str:
    """What sort of work the orders are: those of one sort take as long as their costs say, against each other."""
    if not orders or isinstance(orders[0], AnalysisOrder):
        return "analyse"
    models = {name for order in orders if isinstance(order, WorkOrder) for name, _ in order.models}
    return "render " + " ".join(sorted(models))


def drive(
    transport: Transport,
    slots: Sequence[str],
    orders: Sequence[Order],
    store: JobStore,
    patience: Patience,
    watch: Watch,
    clock: Callable[[], float] = time.monotonic,
) -> Batch:
    """Run `orders` to their end on `slots`, by the damage rule of actors.dispatch, in this thread.

    Raises what the transport and the watch raise; failed work is in the batch. `clock` gives the seconds that the
    transport's waits are in.
    """
    from actors.loop import Job, Loop  # noqa: PLC0415 - which needs the words above

    ended: list[Batch] = []
    loop = Loop(transport, slots, patience, clock)
    loop.add(Job(orders, store, Terms(), watch, ended.append, stop_on_damage=True))
    while not ended:
        loop.step(POLL_S)
    return ended[0]


def unexpected(error: BaseException) -> FarmError:
    """An exception that nobody translated: a fault of ours, told in one line."""
    detail = str(error).strip().splitlines()
    return PlanError(
        f"{type(error).__name__}: {detail[0] if detail else 'no message'}",
        hint="this is a fault of the farm: run again with --debug and report what it prints",
    )
