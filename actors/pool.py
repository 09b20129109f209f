"""The pool on Ray: renderer actors that obey actors.dispatch. Descriptors and receipts travel, pixels never.

Ray retries nothing for us (`max_task_retries=0`): its own retry stays with the dead actor and keeps order. An actor
is not restarted by Ray either: a slot that lost its actor gets a fresh one, which Ray may place on another node,
and the old one is ended for good, so that one that was only out of reach cannot go on unseen.

Each actor runs two orders at a time on threads of its own (concurrency group "work") and answers "how far are you"
on another (group "control"), so a long render never hides its progress.
"""

from __future__ import annotations

import json
import math
import queue
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from actors.dispatch import Keeper
from actors.drive import Patience
from actors.node import OFF
from actors.pooled import Pooled
from actors.ray.joining import join, not_started, ray, signals_unwrapped, start_own_ray
from actors.ray.nodes import Capacity, Resources, capacity
from actors.ray.renderer import GROUPS, Renderer
from actors.ray.transport import RayTransport
from actors.work import Works
from actors.worker import Worker, WorkerSettings
from core.errors import WorkerLost

START_S = 20.0
LOOK_S = 0.2
MOST = 10_000  # the cluster's own limit decides
QUIET_S = 3.0
NODE_ID = "ray.io/node-id"  # the label by which Ray knows a node


@dataclass(frozen=True)
class ClusterSpec:
    """Which Ray to use: `address` None starts one on this machine for this pool alone.

    `workers` is a fixed number of renderers. None takes as many as the backlog is worth and the cluster holds or
    brings up, at most `max_workers`; on a Ray of this pool's own, one a GPU, or `cpu_workers` where there is none.
    `resources` are what Ray sets aside for a renderer: None is one GPU where a node has one or could, else one core.
    `metadata` is where a cloud's metadata service is (actors.node). Where the number is not fixed, a renderer without
    work for `idle_s` goes.
    """

    address: str | None
    workers: int | None
    cpu_workers: int
    cores: int
    patience: Patience
    max_workers: int | None = None
    resources: Mapping[str, float] | None = None
    metadata: str = OFF
    idle_s: float = 60.0


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
        self._keeper: Keeper | None = None
        self._session: Path | None = None
        self._ours = False
        self._resources: Mapping[str, float] = {}
        self._begun = threading.Lock()
        self._leaving = threading.Lock()

    @property
    def workers(self) -> int:
        """The fixed number of renderers; of a pool that grows, the most that were there at one time."""
        if self._keeper is not None:
            return self._keeper.least or self._keeper.peak
        return self._cluster.workers or self._cluster.cpu_workers

    def start(self) -> None:
        """Connect to Ray, or start it, and bring the renderers up. `WorkerLost` when that cannot be.

        After the loop ended for an error, everything is brought up anew.
        """
        with self._begun:
            if self._check_open():
                return
            with signals_unwrapped():
                self._put_away()
                self._bring_up()

    def _bring_up(self) -> None:
        cluster = self._cluster
        self._connect()
        has = capacity()
        self._resources = self._needs(has)
        least, most = sizes(cluster, has, self._resources)
        self._keeper = Keeper(least, most, json.dumps(dict(self._resources)))
        self._renderers = RayTransport(self._new_actor, self._resources)
        self._renderers.watch()
        ups: queue.SimpleQueue[None] = queue.SimpleQueue()
        idle_s = math.inf if least else cluster.idle_s
        self._begin(
            self._renderers, [], cluster.patience, idle_s=idle_s, keeper=self._keeper, ready=lambda: ups.put(None)
        )
        # Usually they are up within seconds; where a cluster must first grow, `run` begins with those that are.
        until_s = time.monotonic() + START_S
        while self._keeper.peak < least and (left_s := until_s - time.monotonic()) > 0:
            with suppress(queue.Empty):
                ups.get(timeout=min(LOOK_S, left_s))
            if not self._check_open():
                raise self._why
            if self._keeper.unfit is not None and cluster.address is None:
                raise self._keeper.unfit  # elsewhere another node may do

    def _needs(self, has: Capacity) -> Mapping[str, float]:
        """What Ray sets aside for a renderer. `WorkerLost` where the cluster can never hold one."""
        cluster = self._cluster
        workers = cluster.workers or 0
        needs = cluster.resources or ({"GPU": 1.0} if has.knows_gpus else {"CPU": 1.0})
        if cluster.resources is None and 0 < has.gpus < workers:
            needs = {"GPU": has.gpus / workers}  # Ray then shows each renderer its own
        known = bool(has.types) and all(kind.resources for kind in has.types)
        final = known or cluster.address is None  # elsewhere nodes of any type may come
        if final and not has.slots(needs) and not has.slots_to_come(needs):
            types = f"; the types that it can start are {', '.join(kind.name for kind in has.types)}"
            raise WorkerLost(
                f"no node can hold a renderer, which needs {json.dumps(dict(needs))}{types if has.types else ''}",
                where=cluster.address or "",
                hint="say with --worker-resources what a renderer needs, or add a node or type that has it",
            )
        return needs

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

    def _new_actor(self, shunned: frozenset[str]) -> Any:
        """A renderer on a node that is none of those `shunned`, by their ids."""
        named = dict(self._resources)
        renderer = cast(Any, ray).remote(
            num_cpus=named.pop("CPU", 0),
            num_gpus=named.pop("GPU", 0),
            memory=named.pop("memory", None),
            resources=named,
            label_selector={NODE_ID: f"!in({','.join(sorted(shunned))})"} if shunned else None,
            max_restarts=0,
            max_task_retries=0,
            concurrency_groups=GROUPS,
        )(Renderer)
        return renderer.remote(self._settings, self._make, self._cluster.metadata)

    @property
    def session(self) -> Path | None:
        return self._session

    def release(self) -> None:
        """End the actors. Ray stays until `close`, unless its head falls silent."""
        super().release()
        if self._renderers is not None:
            with suppress(Exception):  # as in _put_away
                self._renderers.dismiss(self._disconnect)

    def close(self) -> None:
        """End the actors, and Ray itself when this pool started or joined it."""
        super().close()
        self._put_away()

    def _put_away(self) -> None:
        if self._renderers is not None:
            with suppress(Exception):  # at the end a cluster that is already gone is no failure
                self._renderers.end()
            self._renderers = None
        self._disconnect()
        if self._session is not None:
            shutil.rmtree(self._session, ignore_errors=True)
            self._session = None

    def _disconnect(self) -> None:
        """From the thread that closes, or the one that watches the head."""
        with self._leaving:
            if self._ours:
                ray.shutdown()
                self._ours = False


def sizes(cluster: ClusterSpec, has: Capacity, needs: Resources) -> tuple[int, int]:
    """The least and the most renderers, each of which `needs` so much of a node."""
    if cluster.workers is not None:
        return cluster.workers, cluster.workers
    if cluster.address is not None:
        return 0, cluster.max_workers or has.slots_to_come(needs) or MOST
    plain = cluster.resources is None and "GPU" not in needs
    there = max(1, cluster.cpu_workers if plain else has.slots(needs))
    number = min(there, cluster.max_workers or there)
    return number, number
