"""Watches the nodes of the cluster from a thread of its own: which go, which are gone, and whether the head answers.

When a renderer is lost, the node table says whose fault that is: a node that went takes nobody's blame with it.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

from actors.dispatch import Event, GiveUp, NodeDecision, NodeGone, NodeLeaves, NoPlace, Shun, SlotDied, Trust
from actors.ray.demand import launches_here, nowhere, report
from actors.ray.joining import ray
from actors.ray.nodes import Resources, fits, node_name
from actors.ray.room import Room
from actors.ray.silence import Silence

LOOK_S = 2.0
COUNT_S = 0.5
DEMAND_S = 4.0  # how often what comes is asked after, while something is waited for
DRAIN_TRIES = 10  # a node that is given up is drained when nobody works there any more
HEAD = "node:__internal_head__"  # the resource that Ray gives the head alone
DRAIN_S = 30.0  # where Ray drains a node without saying until when


def _deaf() -> None:
    pass


def _dumb(_: Event) -> None:
    """Nobody listens."""


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

    def __init__(self, tell: Callable[[Event], None], needs: Resources) -> None:
        """`needs` are what a renderer takes of a node."""
        self._tell = tell
        self._needs = needs
        self._silence = Silence()
        self._there: dict[str, Resources] = {}  # by node's id
        self._shunned: set[str] = set()  # ids
        self._given_up: dict[str, int] = {}  # id -> tries to drain it
        self._demand_s = self._room_s = 0.0
        self.room = Room()  # on nodes that stay, while renderers are waited for
        self.waiting = False  # whether renderers are waited for
        self.report = ""  # what the cluster says of that
        self._names: dict[str, str] = {}
        self._losses: list[Loss] = []
        self._gate = threading.Lock()
        self._wake = threading.Event()
        self._over = False
        self._most_s, self._silent = math.inf, _deaf
        self._gone: frozenset[str] = frozenset()
        self._leaving: set[str] = set()

    def start(self) -> None:
        self._gone = self._look()
        threading.Thread(target=self._main, name="farm nodes", daemon=True).start()
        threading.Thread(target=self._count, name="farm silence", daemon=True).start()

    def linger(self, most_s: float, silent: Callable[[], None]) -> None:
        """Nobody listens or looks at `silent_s` any more, nor waits for renderers: call `silent`, once, when the
        cluster has not answered for `most_s`."""
        self._tell, self.waiting = _dumb, False
        self._most_s, self._silent = most_s, silent

    def stop(self) -> None:
        self._over = True
        self._wake.set()

    @property
    def silent_s(self) -> float:
        """How long the cluster has not answered, as far as this process was awake."""
        return self._silence.seconds(time.monotonic())

    def regard(self, decision: NodeDecision) -> frozenset[str]:
        """Take note of what is thought of a node; the ids of the nodes that are there and on which, by this decision,
        renderers may be brought up again."""
        ids = [node_id for node_id, name in self._names.copy().items() if name == decision.node]
        trusted = frozenset[str]()
        with self._gate:
            match decision:
                case Shun():
                    self._shunned.update(ids)
                case Trust():
                    trusted = frozenset(self._shunned & self._there.keys() & set(ids))
                    self._shunned.difference_update(ids)
                    for node_id in ids:
                        self._given_up.pop(node_id, None)
                case GiveUp():
                    self._given_up.update(dict.fromkeys(ids, DRAIN_TRIES))
        self._demand_s = 0.0
        self._wake.set()
        return trusted

    @property
    def shunned(self) -> frozenset[str]:
        """The ids of the nodes on which no renderer is to be brought up."""
        with self._gate:
            return frozenset(self._shunned & self._there.keys())

    def at(self, address: str) -> str:
        """The name of the one node at an address, or the address where several share it. Those that are gone count only
        where none is there: a machine whose Ray was started again is one node."""
        found = {node_id: name for node_id, name in self._names.copy().items() if name.startswith(f"{address}/")}
        names = [found[node_id] for node_id in found.keys() & self._there.keys()] or list(found.values())
        return names[0] if len(names) == 1 else address

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
        self._there = {str(node["NodeID"]): dict(node["Resources"]) for node in table if node["Alive"]}
        return frozenset(str(node["NodeID"]) for node in table if not node["Alive"])

    def _count(self) -> None:
        """Count the silence while all else may wait for the cluster. A process that is stopped does not come here."""
        while not self._over:
            if self.silent_s >= self._most_s:
                self.stop()
                self._silent()
            time.sleep(COUNT_S)

    def _main(self) -> None:
        while not self._over:
            self._silence.asked()
            with suppress(Exception):  # whatever keeps the cluster from answering: `silent_s` says it
                self._look_and_tell()
                if not self._over:
                    self._see_room()
                    self._ask_after()
            self._wake.wait(LOOK_S)
            self._wake.clear()

    def _look_and_tell(self) -> None:
        """Of losses, only those are told of that were known before the node table was read: what an older table says
        of a node that went since would put the blame on its renderers."""
        with self._gate:
            known = len(self._losses)
        dead = self._look()
        draining = self._draining()
        self._silence.answered()
        if not self._over:
            self._report(dead, draining, known)

    def _draining(self) -> dict[str, int]:
        """The nodes that Ray drains, with the time by which they go, in ms of the epoch, or 0."""
        return cast("dict[str, int]", cast(Any, ray)._private.state.state.get_draining_nodes())

    def _report(self, dead: frozenset[str], draining: dict[str, int], known: int) -> None:
        """Tell what the tables say, and what became of the nodes of the first `known` losses."""
        for node_id in sorted(dead - self._gone):
            self._tell(NodeGone(self.name(node_id), "its node is gone"))
        self._gone = dead
        for node_id, deadline_ms in draining.items():
            if node_id not in self._leaving and node_id not in dead:
                self._leaving.add(node_id)
                left_s = max(0.0, deadline_ms / 1000 - time.time()) if deadline_ms else DRAIN_S
                self._tell(NodeLeaves(self.name(node_id), time.monotonic() + left_s))
        with self._gate:
            losses, self._losses = self._losses[:known], self._losses[known:]
        for loss in losses:
            if loss.node_id in dead:
                # Again, where it was told above: whoever came up on it since has not heard.
                self._tell(NodeGone(self.name(loss.node_id), "its node is gone"))
            else:
                self._tell(SlotDied(loss.slot, loss.reason, blame=not loss.doubt))

    def _see_room(self) -> None:
        """Note where there is room, while renderers are waited for. What Ray has given a renderer counts as taken from
        the moment on that its process is started."""
        if not self.waiting:
            self.room.forget()
        elif time.monotonic() - self._room_s >= DEMAND_S:
            self._room_s = time.monotonic()
            self._silence.asked()
            free = cast(Any, ray)._private.state.state.available_resources_per_node()
            self._silence.answered()
            stay = [node_id for node_id in self._there if node_id not in self._leaving]
            self.room.see({node_id: fits(free.get(node_id, {}), self._needs) for node_id in stay})

    def _ask_after(self) -> None:
        """What comes, while renderers are waited for; and let go of nodes that were given up."""
        if not self.waiting:
            self.report = ""
        given_up, shunned = self._given_up.copy(), self.shunned
        if not (self.waiting or given_up or shunned) or time.monotonic() - self._demand_s < DEMAND_S:
            return
        self._demand_s = time.monotonic()
        launches = launches_here(self._needs)
        for node_id, tries in given_up.items():
            self._let_go(node_id, tries, replaced=launches is not None)
        usable = [has for node_id, has in self._there.items() if node_id not in shunned]
        told = report(self._needs, usable, launches, len(shunned))
        self.report = told if self.waiting else ""
        if shunned and nowhere(self._needs, usable, launches):
            self._tell(NoPlace(told))

    def _let_go(self, node_id: str, tries: int, *, replaced: bool) -> None:
        """Tell Ray that a node is not needed, once nobody works there: its autoscaler then ends it. Where none is,
        nothing would come in its place, and the head takes the cluster with it: those stay."""
        has = self._there.get(node_id)
        if has is None or HEAD in has or not replaced or tries <= 0 or drain_idle(node_id):
            self._given_up.pop(node_id, None)
        else:
            self._given_up[node_id] = tries - 1


def drain_idle(node_id: str) -> bool:
    """Let Ray end a node, if nobody works there; whether it does."""
    with suppress(Exception):
        from ray.core.generated import autoscaler_pb2  # noqa: PLC0415

        reason = cast(Any, autoscaler_pb2).DrainNodeReason.Value("DRAIN_NODE_REASON_IDLE_TERMINATION")
        client = cast(Any, ray)._raylet.GcsClient(address=ray.get_runtime_context().gcs_address)
        accepted, _ = client.drain_node(node_id, reason, "the farm cannot work there", 0)
        return bool(accepted)
    return False


def drain(node_id: str, left_s: float, what: str) -> None:
    """Tell Ray that the node goes. It is a help only: where Ray refuses, the farm drains the node by itself."""
    with suppress(Exception):
        from ray.core.generated import autoscaler_pb2  # noqa: PLC0415

        reason = cast(Any, autoscaler_pb2).DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
        client = cast(Any, ray)._raylet.GcsClient(address=ray.get_runtime_context().gcs_address)
        client.drain_node(node_id, reason, what, int((time.time() + left_s) * 1000))
