"""A node of an autoscaled cluster whose disk is full: the work moves, the node is ended, and another one comes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest
import ray

from actors.dispatch import GiveUp, Quarantine, Shun, SlotReady
from actors.drive import JobStore, Order, Patience, Receipt
from actors.pool import ClusterSpec, RayPool
from actors.worker import WorkerSettings
from core.errors import StorageError
from tests.actors.stand_ins import Clerk
from tests.actors.test_jobs import Ordered
from tests.launch.autoscaling import growing
from tests.launch.test_autoscaling import TYPES, until

IDLE_S = 600.0  # a node that is only idle stays for the whole test


class Picky(Clerk):
    """Refuses to work on the first node that any of its kind was asked to work on, whose id it writes down."""

    def __init__(self, settings: WorkerSettings) -> None:
        super().__init__(settings)
        self._bad = Path(settings.model_cache) / "bad"

    def work(self, order: Order, attempt: int, heartbeat: Callable[[int], None], store: JobStore) -> Receipt:
        here = str(ray.get_runtime_context().get_node_id())
        if not self._bad.exists():
            self._bad.write_text(here)
        if self._bad.read_text() == here:
            raise StorageError("the disk is full", where="/scratch")
        return super().work(order, attempt, heartbeat, store)


def alive() -> set[str]:
    return {str(node["NodeID"]) for node in cast(Any, ray).nodes() if node["Alive"]}


@pytest.mark.heavy
def test_a_bad_node_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with growing(TYPES, idle_s=IDLE_S) as cluster:
        for name, value in cluster.environment.items():
            monkeypatch.setenv(name, value)
        patience = Patience(hang_s=600.0, start_s=600.0)
        spec = ClusterSpec(cluster.address, None, 1, 1, patience, max_workers=1, resources={"GPU": 1.0})
        pool = RayPool(WorkerSettings(str(tmp_path), 1, 1), spec, make=Picky)
        job = Ordered(tmp_path / "store", count=3)
        job.mark("held", 0, 1, 2)
        with ThreadPoolExecutor() as threads, closing(pool):
            batch = threads.submit(job.run, pool)
            until(lambda: any(isinstance(what, GiveUp) for what in job.heard))
            bad = (tmp_path / "bad").read_text()
            until(lambda: bad not in alive())
            until(lambda: len([what for what in job.heard if isinstance(what, SlotReady)]) == 2)
            job.release()
            assert batch.result().error is None
    (shun,) = [what for what in job.heard if isinstance(what, Shun)]
    assert shun.node.endswith(bad[-8:])
    assert shun.reason == f"{shun.node}: /scratch: the disk is full"
    assert len([what for what in job.heard if isinstance(what, Quarantine)]) == 1
    assert len(batch.result().receipts) == 3
