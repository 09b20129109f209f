"""Nodes of a real Ray that go: without a word, drained by Ray, and with the notice of a cloud's metadata service."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest
import ray

from actors.dispatch import NodeGone, NodeLeaves, Release, SlotDied, SlotReady
from actors.drive import Patience
from actors.node import OFF
from actors.pool import ClusterSpec, RayPool
from actors.ray.fleet import drain
from core.errors import WorkerLost
from tests.actors.metadata import metadata_service
from tests.actors.raylets import another_node
from tests.actors.stand_ins import Clerk, begun, seen
from tests.actors.test_jobs import DEADLINE_S, SETTINGS, Ordered, until

SPARE = {"spare": 1.0}


def draining() -> dict[str, int]:
    """Until when, by node, Ray drains."""
    return dict(cast(Any, ray)._private.state.state.get_draining_nodes())


def pool_of(workers: int, metadata: str = OFF) -> RayPool:
    patience = Patience(hang_s=10 * DEADLINE_S, start_s=DEADLINE_S)
    spec = ClusterSpec(None, workers, workers, 2, patience, resources=SPARE, metadata=metadata)
    return RayPool(SETTINGS, spec, make=Clerk)


@pytest.mark.heavy
def test_a_node_that_goes_and_one_that_gives_notice(cluster: None, tmp_path: Path) -> None:
    """A node's end is no renderer's fault; with notice, what cannot be finished in time is queued again at once."""
    with metadata_service() as service, another_node(SPARE) as first, another_node(SPARE) as second:
        pool, job = pool_of(2, service.address), Ordered(tmp_path, count=6)
        job.mark("held", *range(6))
        with ThreadPoolExecutor() as threads, closing(pool):
            pool.start()
            batch = threads.submit(job.run, pool)
            until(lambda: len(begun(job.root)) == 4)
            first.kill()
            until(lambda: any(isinstance(what, NodeGone) for what in job.heard))
            for order in job.orders[:4]:
                job.store.discard(f"held/{order.id}")
            until(lambda: len(job.done_s) == 4 and len(begun(job.root)) == 6)
            service.take_away(in_s=45)
            until(lambda: any(isinstance(what, NodeLeaves) for what in job.heard))
            until(lambda: second.node_id in draining())
            pool.stop("", WorkerLost("enough"))
            assert str(batch.result().error) == "enough"
    assert [what.node[-8:] for what in job.heard if isinstance(what, NodeGone)] == [first.node_id[-8:]]
    assert [what.node[-8:] for what in job.heard if isinstance(what, NodeLeaves)] == [second.node_id[-8:]]
    assert not [what for what in job.heard if isinstance(what, SlotDied) and what.blame]
    assert {what.node[-8:] for what in job.heard if isinstance(what, SlotReady)} == {
        first.node_id[-8:],
        second.node_id[-8:],
    }
    assert set(batch.result().receipts) == {order.id for order in job.orders[:4]}


@pytest.mark.heavy
def test_a_node_that_ray_drains_gets_nothing_new(cluster: None, tmp_path: Path) -> None:
    with another_node(SPARE) as node:
        pool, job = pool_of(1), Ordered(tmp_path, count=4)
        job.mark("held", 0, 1)
        with ThreadPoolExecutor() as threads, closing(pool):
            pool.start()
            batch = threads.submit(job.run, pool)
            until(lambda: len(begun(job.root)) == 2)
            drain(node.node_id, DEADLINE_S, "the test takes it away")
            until(lambda: any(isinstance(what, NodeLeaves) for what in job.heard))
            job.release()
            until(lambda: any(isinstance(what, Release) for what in job.heard))
            pool.stop("", WorkerLost("enough"))
            assert seen(job.root) == set(batch.result().receipts) == {order.id for order in job.orders[:2]}


def test_what_no_node_can_hold_is_told_before_anything_starts(cluster: None) -> None:
    spec = ClusterSpec(None, 1, 1, 2, Patience(), resources={"GPU": 1.0})
    pool = RayPool(SETTINGS, spec, make=Clerk)
    with pytest.raises(WorkerLost, match="no node can hold a renderer") as caught:
        pool.start()
    assert 'which needs {"GPU": 1.0}; say with --worker-resources' in str(caught.value)
    pool.close()
    assert ray.is_initialized()


class Ghost(Clerk):
    """A renderer whose module only the driver has."""


def test_a_renderer_whose_code_is_not_there(cluster: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import sys  # noqa: PLC0415
    import types  # noqa: PLC0415

    module = types.ModuleType("a_library_of_the_driver")
    module.Ghost = Ghost  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(Ghost, "__module__", module.__name__)
    spec = ClusterSpec(None, 2, 2, 2, Patience(DEADLINE_S, DEADLINE_S))
    pool = RayPool(SETTINGS, spec, make=Ghost)
    try:
        with pytest.raises(WorkerLost, match="the library a_library_of_the_driver is not installed on a node"):
            pool.start()
        batch = Ordered(tmp_path).run(pool)
        assert "is not installed on a node" in str(batch.error)
    finally:
        pool.close()
