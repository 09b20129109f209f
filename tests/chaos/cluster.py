"""A Ray cluster of this machine whose processes can be killed one by one: a head without work, and nodes."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import psutil

from tests.system.runs import DEADLINE_S

TRIES = 4
OBJECT_STORE_BYTES = 80 * 2**20
SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}


class RayCluster:
    """A head and `nodes` nodes of one core each; the first of them with `special` in its environment."""

    def __init__(self, nodes: int, special: Mapping[str, str] | None = None) -> None:
        os.environ.update(SETTINGS)
        self._nodes = nodes
        self._special = dict(special or {})
        self._made: Any = None
        self.start()

    def start(self) -> None:
        """Bring up what is not there: the head with all nodes, or nodes. A busy machine may need more than one try."""
        for _ in range(TRIES - 1):
            try:
                return self._bring_up()
            except Exception:  # Ray's own class for "not in time"
                if not self.alive:
                    self.end()
        return self._bring_up()

    def _bring_up(self) -> None:
        from ray.cluster_utils import Cluster  # noqa: PLC0415 - importing Ray takes a second

        if self._made is None:
            self._made = Cluster(shutdown_at_exit=True)
        if self._made.head_node is None:
            self._made.add_node(num_cpus=0, **self._arguments())
        while len(self._made.worker_nodes) < self._nodes:
            special = {} if self._made.worker_nodes else self._special
            self._made.add_node(num_cpus=1, env_vars=special, **self._arguments())

    @staticmethod
    def _arguments() -> dict[str, Any]:
        return {"object_store_memory": OBJECT_STORE_BYTES, "include_dashboard": False}

    @property
    def address(self) -> str:
        return str(self._made.address)

    @property
    def alive(self) -> bool:
        """Whether the head is there."""
        return (
            self._made is not None
            and self._made.head_node is not None
            and bool(self._processes(self._made.head_node, "gcs_server"))
        )

    def renderers(self) -> list[psutil.Process]:
        """The renderers at work on all nodes, oldest first."""
        found = []
        for node in self._made.list_all_nodes():
            for raylet in self._processes(node, "raylet"):
                with suppress(psutil.Error):
                    family = psutil.Process(raylet).children(recursive=True)
                    found += [child for child in family if child.name().startswith("ray::Renderer")]
        return sorted(found, key=lambda process: process.create_time())

    def kill_node(self, number: int) -> bool:
        """SIGKILL the raylet of a node; whether there was one."""
        nodes = sorted(self._made.worker_nodes, key=lambda node: str(node.unique_id))
        if not nodes:
            return False
        node = nodes[number % len(nodes)]
        raylets = self._processes(node, "raylet")
        for raylet in raylets:
            psutil.Process(raylet).kill()
        with suppress(Exception):  # what else belonged to it goes too; its end is not the point here
            self._made.remove_node(node, allow_graceful=False)
        return bool(raylets)

    def kill_head(self) -> bool:
        """SIGKILL the head's GCS; what is left of the cluster then ends too. Whether there was one."""
        servers = self._processes(self._made.head_node, "gcs_server") if self.alive else []
        for server in servers:
            psutil.Process(server).kill()
        return bool(servers)

    def end(self) -> None:
        if self._made is not None:
            with suppress(Exception):
                self._made.shutdown()
            self._made = None

    def wait_without_renderers(self) -> None:
        """Until no renderer is left of a driver that has ended."""
        end_s = time.monotonic() + DEADLINE_S
        while left := self.renderers():
            assert time.monotonic() < end_s, f"renderers outlive their driver: {left}"
            time.sleep(0.2)

    @staticmethod
    def _processes(node: Any, kind: str) -> list[int]:
        return [info.process.pid for info in node.all_processes.get(kind, ()) if info.process.poll() is None]
