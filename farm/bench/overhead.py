"""What the farm adds to work that could be done without it.

A film is rendered by one renderer on Ray (dispatcher, orders, store, receipts, heartbeats, two segments in flight) and
by a loop in this process that calls the same renderer for one order after the other. The film, the orders and the
encoder are the same; both have done a small job before, so that nothing is loaded for the first time.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from actors.dispatch import Done
from actors.drive import Batch, JobStore, Order, Receipt, Terms, Watch
from actors.worker import Worker, WorkerSettings
from core.errors import FarmError
from core.records import EncodeSpec, JobSpec
from farm.bench.clips import make_clip
from farm.bench.measure import Spread
from farm.desk import worker_settings
from farm.driver import run_job
from farm.ports import Pool
from farm.progress import StderrProgress
from farm.settings import RunOptions, Settings

# x264 at these takes seconds of work for a second of film
WORK = EncodeSpec(codec="h264", crf=18, preset="slow")
SEGMENT_S = Fraction(2)


class PlainLoop:
    """The pool that is none: one order after the other in the thread that asks."""

    workers = 1

    def __init__(self, settings: WorkerSettings) -> None:
        self._worker = Worker(settings)

    def start(self) -> None:
        self._worker.setup()

    def run(
        self,
        orders: Sequence[Order],
        watch: Watch,
        *,
        store: JobStore,
        stop_on_damage: bool,
        terms: Terms = Terms(),  # noqa: B008 - frozen
    ) -> Batch:
        del stop_on_damage, terms
        receipts: dict[str, Receipt] = {}
        for order in orders:
            receipts[order.id] = self._worker.work(order, 1, lambda _: None, store)
            watch(Done("loop", order.id, 1), time.monotonic())
        return Batch(receipts, None, 0)

    def stop(self, name: str, error: FarmError, *, finish: bool = False) -> None:
        """It is at work in the thread that asked: nobody else can end it."""

    def weigh(self, group: str, weight: float) -> None:
        """There is never a second job to share with."""

    def release(self) -> None:
        """Nothing is held."""

    def close(self) -> None:
        """Nothing is held."""


class Timed:
    """A pool that notes the seconds of its last `run`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.seconds = 0.0
        self.orders = 0

    @property
    def workers(self) -> int:
        return self._pool.workers

    def start(self) -> None:
        self._pool.start()

    def run(self, orders: Sequence[Order], watch: Watch, **how: Any) -> Batch:
        began = time.monotonic()
        batch = self._pool.run(orders, watch, **how)
        self.seconds, self.orders = time.monotonic() - began, len(orders)
        return batch

    def stop(self, name: str, error: FarmError, *, finish: bool = False) -> None:
        self._pool.stop(name, error, finish=finish)

    def weigh(self, group: str, weight: float) -> None:
        self._pool.weigh(group, weight)

    def release(self) -> None:
        self._pool.release()

    def close(self) -> None:
        self._pool.close()


@dataclass(frozen=True)
class Overhead:
    """Seconds of the render map for the same orders: by the loop, and by one renderer on Ray."""

    segments: int
    loop: Spread
    ray: Spread
    ratio: Spread  # of neighbouring runs, farm / loop

    @property
    def segment_s(self) -> float:
        return self.loop.median / self.segments


def measure_overhead(folder: Path, settings: Settings, *, seconds: int, rounds: int) -> Overhead:
    """Render `seconds` of 1080p film by both in turn, `rounds` times."""
    from actors.drive import Patience  # noqa: PLC0415
    from actors.pool import ClusterSpec, RayPool  # noqa: PLC0415 - Ray takes a second to load

    film = make_clip(folder / "work.mp4", width=1920, height=1080, seconds=seconds, crf=18)
    warm = make_clip(folder / "warm.mp4", width=320, height=180, seconds=2, crf=30)
    run = RunOptions(workers=1)
    told = worker_settings(run, settings)
    cluster = ClusterSpec(address=None, workers=1, cpu_workers=1, cores=settings.cores, patience=Patience())
    pools = {"loop": Timed(PlainLoop(told)), "ray": Timed(RayPool(told, cluster))}
    taken: dict[str, list[float]] = {name: [] for name in pools}
    try:
        for pool in pools.values():
            _render(warm, folder, pool, settings)
        for _ in range(rounds):
            for name, pool in pools.items():
                _render(film, folder, pool, settings)
                taken[name].append(pool.seconds)
    finally:
        for pool in pools.values():
            pool.close()
    ratios = [ray / loop for ray, loop in zip(taken["ray"], taken["loop"], strict=True)]
    return Overhead(pools["ray"].orders, Spread.of(taken["loop"]), Spread.of(taken["ray"]), Spread.of(ratios))


def _render(film: Path, folder: Path, pool: Pool, settings: Settings) -> None:
    output = folder / "out.mp4"
    spec = JobSpec(str(film), str(output), swapper="none", smart=False, segment_s=SEGMENT_S, encode=WORK)
    progress = StderrProgress(sys.stderr)
    try:
        run_job(spec, RunOptions(workers=1), settings, progress, pool=pool)
    finally:
        progress.close()
        output.unlink(missing_ok=True)
