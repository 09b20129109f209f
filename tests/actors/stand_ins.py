"""A renderer that renders nothing, and writes down in the job's store what it was asked for."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from actors.dispatch import Task
from actors.drive import JobStore, Order, Receipt
from actors.worker import WorkerSettings
from core.errors import InputError, PlanError
from core.records import Damage, WorkOrder
from farm.bench.sleeping import film_orders, receipt_of

STEP_S = 0.01


class Clerk:
    """Does an order by writing `seen/<id>-<attempt>`; a file in the store's folder `held/`, `bad/` or `damaged/` with
    the order's id as its name makes it wait while the file is there, fail, or find a damaged frame."""

    def __init__(self, _: WorkerSettings) -> None:
        self.words = ""

    def setup(self) -> None:
        """Nothing to load."""

    def work(self, order: Order, attempt: int, heartbeat: Callable[[int], None], store: JobStore) -> Receipt:
        if not isinstance(order, WorkOrder):
            raise PlanError("a clerk was asked to look for faces")
        heartbeat(0)
        store.write(f"begun/{order.id}-{attempt}", b"")
        part = store.scratch(".part")
        part.write_bytes(b"half")
        try:
            while store.exists(f"held/{order.id}"):
                time.sleep(STEP_S)
                heartbeat(0)
            if store.exists(f"bad/{order.id}"):
                raise InputError("a bad order", where=order.id)
            store.write(f"seen/{order.id}-{attempt}", b"")
        finally:
            part.unlink()
        heartbeat(order.segment.frames)
        damaged = store.exists(f"damaged/{order.id}")
        damage = (Damage(order.segment.first, order.segment.pts_first, "torn"),) if damaged else ()
        return replace(receipt_of(order, attempt), damage=damage)


def clerk_orders(count: int) -> list[WorkOrder]:
    """Orders of 24 frames each, always the same."""
    return film_orders(Task(str(number), number, 24.0) for number in range(count))


def seen(root: Path) -> set[str]:
    """The ids of the orders that were done in the store at `root`."""
    return {path.name.rpartition("-")[0] for path in (root / "seen").glob("*")}


def begun(root: Path) -> set[str]:
    return {path.name.rpartition("-")[0] for path in (root / "begun").glob("*")}
