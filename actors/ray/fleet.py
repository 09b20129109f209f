"""Watches the nodes of the cluster from a thread of its own: which go, which are gone, and whether the head answers.

When a renderer is lost, the node table says whose fault that is: a node that went takes nobody's blame with it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

from actors.dispatch import Event, NodeGone, NodeLeaves, SlotDied
from actors.ray.joining import ray
from actors.ray.nodes import node_name

LOOK_S = 2.0
DRAIN_S = 30.0  # where Ray drains a node without saying until when


@dataclass(frozen=True)
class Loss:
    """A renderer that was lost. In `doubt`, it may be its node that went: Ray's health checks find that out only after
    some tens of seconds."""

    slot: str
    node_id: str
    reason: str
    doubt: bool


class FleetWatch:
    """`tell` is called in the watching thread."""

    def __init__(self, tell: Callable[[Event], None]) -> None:
        self._tell = tell
        self._names: dict[str, str] = {}
        self._losses: list[Loss] = []
        self._gate = threading.Lock()
        self._wake = threading.Event()
        self._over = False
        self._answered_s = time.monotonic()
        self._gone: frozenset[str] = frozenset()
        self._leaving: set[str] = set()

    def start(self) -> None:
        self._gone = self._look()
        self._answered_s = time.monotonic()
        threading.Thread(target=self._main, name="farm nodes", daemon=True).start()

    def stop(self) -> None:
        self._over = True
        self._wake.set()

    @property
    def silent_s(self) -> float:
        """How long the cluster has not answered."""
        return time.monotonic() - self._answered_s

    def lost(self, slot: str, node_id: str, reason: str, *, doubt: bool) -> None:
        """Find out what became of a renderer's node, and tell of the one or the other."""
        with self._gate:
            self._losses.append(Loss(slot, node_id, reason, doubt))
        self._wake.set()

    def leaves(self, node_id: str, left_s: float, what: str) -> None:
        """The node has notice: it goes in `left_s`. Ray is told too, so that it places nothing there."""
        if node_id not in self._leaving:
            self._leaving.add(node_id)
            self._tell(NodeLeaves(self.name(node_id), time.monotonic() + left_s))
            threading.Thread(target=drain, args=(node_id, left_s, what), daemon=True).start()

    def name(self, node_id: str) -> str:
        return self._names.get(node_id, node_name("", node_id))

    def _look(self) -> frozenset[str]:
        """Read the node table; the ids of the nodes that are dead. Waits as long as the cluster takes to answer."""
        table = cast(Any, ray).nodes()
        for node in table:
            self._names[str(node["NodeID"])] = node_name(str(node["NodeManagerAddress"]), str(node["NodeID"]))
        return frozenset(str(node["NodeID"]) for node in table if not node["Alive"])

    def _main(self) -> None:
        while not self._over:
            with suppress(Exception):  # whatever keeps the cluster from answering: `silent_s` says it
                dead = self._look()
                draining = cast(Any, ray)._private.state.state.get_draining_nodes()
                self._answered_s = time.monotonic()
                if not self._over:
                    self._report(dead, draining)
            self._wake.wait(LOOK_S)
            self._wake.clear()

    def _report(self, dead: frozenset[str], draining: dict[str, int]) -> None:
        for node_id in sorted(dead - self._gone):
            self._tell(NodeGone(self.name(node_id), "its node is gone"))
        self._gone = dead
        for node_id, deadline_ms in draining.items():
            if node_id not in self._leaving and node_id not in dead:
                self._leaving.add(node_id)
                left_s = max(0.0, deadline_ms / 1000 - time.time()) if deadline_ms else DRAIN_S
                self._tell(NodeLeaves(self.name(node_id), time.monotonic() + left_s))
        with self._gate:
            losses, self._losses = self._losses, []
        for loss in losses:
            if loss.node_id in dead:
                # Again, where it was told above: whoever came up on it since has not heard.
                self._tell(NodeGone(self.name(loss.node_id), "its node is gone"))
            else:
                self._tell(SlotDied(loss.slot, loss.reason, blame=not loss.doubt))


def drain(node_id: str, left_s: float, what: str) -> None:
    """Tell Ray that the node goes. It is a help only: where Ray refuses, the farm drains the node by itself."""
    with suppress(Exception):
        from ray.core.generated import autoscaler_pb2  # noqa: PLC0415

        reason = cast(Any, autoscaler_pb2).DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
        client = cast(Any, ray)._raylet.GcsClient(address=ray.get_runtime_context().gcs_address)
        client.drain_node(node_id, reason, what, int((time.time() + left_s) * 1000))
