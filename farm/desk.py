"""What a run over one film works with: its store, its pool, and how it tells of its progress."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from actors.drive import Order, Patience, Terms
from actors.worker import WorkerSettings
from farm import stages
from farm.artifacts import Store
from farm.paths import place
from farm.ports import Pool, Progress
from farm.settings import SEGMENTS_IN_FLIGHT, RunOptions, Settings
from farm.shelves import open_shelf


@dataclass
class Clock:
    """Seconds by stage, in the order in which they ran."""

    progress: Progress
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self.progress.stage(name)
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.monotonic() - started, 3)


@dataclass
class Desk:
    """`code` is the hash of the program, part of every key; `stop_on_damage` ends a map at the first damaged frame;
    `terms` are the job's in the pool. `let_go` is called instead of releasing the pool when that has no more to do."""

    store: Store
    pool: Pool
    clock: Clock
    code: str
    stop_on_damage: bool
    terms: Terms = field(default_factory=Terms)
    let_go: Callable[[], None] | None = None
    maps: list[stages.Mapped] = field(default_factory=list)

    def run_map(self, film: stages.Film, name: str, orders: Sequence[Order]) -> stages.Mapped:
        """Do the orders that are open; the pool is started by the first map that has any."""
        todo = stages.open_work(self.store, orders, stop_on_damage=self.stop_on_damage)
        if todo.open:
            with self.clock.stage("start"):
                self.pool.start()
        with self.clock.stage(name):
            mapped = stages.run_map(self.pool, self.clock.progress, film, todo, store=self.store, terms=self.terms)
        self.maps.append(mapped)
        return mapped

    def release(self) -> None:
        """No more orders will come. May be called again."""
        if self.let_go is None:
            self.pool.release()
        else:
            self.let_go()


def worker_settings(run: RunOptions, settings: Settings, models: Sequence[str] = ()) -> WorkerSettings:
    """What every renderer is told; `models` are those that it is known to need."""
    workers = 1 if run.local else run.workers or settings.default_workers
    return WorkerSettings(
        model_cache=str(settings.model_cache),
        threads=settings.segment_threads,
        model_threads=max(1, settings.cores // (SEGMENTS_IN_FLIGHT if run.local else workers)),
        device=run.device,
        shelf=open_shelf(settings.engine_cache),
        gpu_mem_limit_bytes=settings.gpu_mem_limit_bytes,
        place=place,
        models=tuple(models),
    )


def make_pool(run: RunOptions, settings: Settings, models: Sequence[str] = ()) -> Pool:
    """The pool that the options ask for, whose renderers are known to need `models`; nothing is started yet."""
    worker = worker_settings(run, settings, models)
    if run.local:
        from actors.local import LocalPool  # noqa: PLC0415

        return LocalPool(worker, parallel=SEGMENTS_IN_FLIGHT)
    from actors.pool import ClusterSpec, RayPool  # noqa: PLC0415 - importing Ray takes a second that --local saves

    cluster = ClusterSpec(
        address=run.address or settings.ray_address,
        workers=run.workers,
        cpu_workers=settings.default_workers,
        cores=settings.cores,
        patience=Patience(),
        max_workers=run.max_workers,
        resources=run.worker_resources,
        metadata=settings.metadata,
    )
    return RayPool(worker, cluster)
