"""The pool on Ray: renderer actors that obey actors.dispatch. Descriptors and receipts travel, pixels never.

Ray retries nothing for us (`max_task_retries=0`): its own retry stays with the dead actor and keeps order. An actor
is not restarted by Ray either: a slot that lost its actor gets a fresh one, which Ray may place on another node,
and the old one is ended for good, so that one that was only out of reach cannot go on unseen.

Each actor runs two orders at a time on threads of its own (concurrency group "work") and answers "how far are you"
on another (group "control"), so a long render never hides its progress.
"""

from __future__ import annotations

import queue
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from actors.drive import Patience
from actors.pooled import Pooled
from actors.ray.joining import join, not_started, ray, signals_unwrapped, start_own_ray
from actors.ray.nodes import Nodes
from actors.ray.renderer import SLOTS_AN_ACTOR, Renderer
from actors.ray.transport import RayTransport
from actors.work import Works
from actors.worker import Worker, WorkerSettings

START_S = 20.0
QUIET_S = 3.0


@dataclass(frozen=True)
class ClusterSpec:
    """Which Ray to use: `address` None starts one on this machine for this pool alone.

    `workers` None takes one renderer a GPU of the cluster, or `cpu_workers` where it has none.
    """

    address: str | None
    workers: int | None
    cpu_workers: int
    cores: int
    patience: Patience


class RayPool(Pooled):
    """Renderers on Ray; `start` brings Ray up, `close` ends everything that `start` began."""

    def __init__(
        self, settings: WorkerSettings, cluster: ClusterSpec, *, make: Callable[[WorkerSettings], Works] = Worker
    ) -> None:
        super().__init__(quiet_s=QUIET_S)
        self._settings = settings
        self._make = make
        self._cluster = cluster
        self._renderers: RayTransport | None = None
        self._session: Path | None = None
        self._ours = False
        self._gpus_an_actor = 0.0
        self._begun = threading.Lock()
        self.workers = cluster.workers or cluster.cpu_workers

    def start(self) -> None:
        """Connect to Ray, or start it, and bring the renderers up. `WorkerLost` when Ray does not start.

        After the loop ended for an error, everything is brought up anew.
        """
        with self._begun:
            if self._check_open():
                return
            with signals_unwrapped():
                self._put_away()
                self._bring_up()

    def _bring_up(self) -> None:
        self._connect()
        cluster = self._cluster
        gpus = int(cast(Any, ray).cluster_resources().get("GPU", 0))
        if gpus:
            self.workers = cluster.workers or gpus
            self._gpus_an_actor = min(1.0, gpus / self.workers)  # Ray then shows each renderer its own
        self._renderers = RayTransport(self._new_actor, Nodes().name_and_kind)
        ups: queue.SimpleQueue[None] = queue.SimpleQueue()
        slots = [f"renderer-{number}" for number in range(self.workers)]
        self._begin(self._renderers, slots, cluster.patience, ready=lambda: ups.put(None))
        # Usually they are up within seconds; where a cluster must first grow, `run` begins with those that are.
        until_s = time.monotonic() + START_S
        with suppress(queue.Empty):
            for _ in slots:
                ups.get(timeout=max(0.0, until_s - time.monotonic()))
                if not self._check_open():
                    raise self._why

    def _connect(self) -> None:
        if ray.is_initialized():
            return
        if self._cluster.address is not None:
            join(self._cluster.address)
        else:
            try:
                self._session = start_own_ray(max(self._cluster.cores, self.workers))
            except SystemError:  # a signal, see signals_unwrapped
                raise
            except Exception as error:
                raise not_started(error, "") from error
        self._ours = True

    def _new_actor(self) -> Any:
        renderer = cast(Any, ray).remote(
            num_cpus=1,
            num_gpus=self._gpus_an_actor,
            max_restarts=0,
            max_task_retries=0,
            concurrency_groups={"work": SLOTS_AN_ACTOR, "control": 1},
        )(Renderer)
        return renderer.remote(self._settings, self._make)

    def close(self) -> None:
        """End the actors, and Ray itself when this pool started or joined it."""
        super().close()
        self._put_away()

    def _put_away(self) -> None:
        if self._renderers is not None:
            with suppress(Exception):  # at the end a cluster that is already gone is no failure
                self._renderers.end()
            self._renderers = None
        if self._ours:
            ray.shutdown()
            self._ours = False
        if self._session is not None:
            shutil.rmtree(self._session, ignore_errors=True)
            self._session = None
