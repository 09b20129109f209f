"""The cloud that is simulated: brings nodes for the renderers that are asked for, and takes them away.

It does what Ray's autoscaler does with a cluster file: a renderer that finds no room is the demand. The first type of
the scene that can be had brings a node, each type up to its count; a renderer that waits gets the first room that
there is, and not always on the node that came because of it. What has nothing to do for the idle timeout goes. It
tells nothing by itself: whoever it works for hears where a renderer begins, of notices, and of nodes that are gone.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Protocol

from actors.dispatch import GiveUp, NodeDecision, Shun, Trust
from farm.simulate.clock import Clock
from farm.simulate.scene import NodeType, Scene
from farm.simulate.sums import Sums

RENDERER_S = 15.0  # until a renderer is set up on a node that is up: process, runtime, models
DRAIN_S = 4.0  # how often a node that was given up is looked at, until nobody works there (actors.ray.fleet)
DRAIN_TRIES = 10
HOUR_S = 3600.0


@dataclass(slots=True, eq=False)
class Node:
    """A machine from when it is asked for. `start_s` is what a renderer takes to be set up there. Its boot is the first
    renderers' where there are some when it is up; else it counts as empty, as all time without one does."""

    name: str
    type: int  # its place in the scene's types
    kind: NodeType
    rate: float
    since_s: float
    start_s: float
    there: bool = True
    leaves: bool = False
    given_up: bool = False
    slots: dict[str, None] = field(default_factory=dict)
    empties: int = 0  # how often its last renderer went
    empty_s: float = 0.0
    empty_since_s: float | None = None


class Heard(Protocol):
    """Who hears of nodes."""

    def begins(self, slot: str, node: Node) -> None:
        """The slot's renderer has room on the node, and begins there."""

    def notice(self, node: Node, by_s: float) -> None: ...

    def gone(self, node: Node, why: str) -> None:
        """With all that is on it."""


class Cloud:
    """`ask` and `leave` are the renderers' ways in and out."""

    def __init__(self, scene: Scene, clock: Clock, sums: Sums, heard: Heard) -> None:
        self._scene = scene
        self._clock = clock
        self._sums = sums
        self._heard = heard
        self._dice = random.Random(f"{scene.seed}/world")
        self._at_most = scene.counts()
        self._nodes: dict[str, Node] = {}
        self._there = [0] * len(scene.types)  # by type, those that boot among them
        self._booting = [0] * len(scene.types)
        self._refused: dict[int, None] = {}  # types that could not be had when they were last asked for
        self._coming = 0  # room on nodes that boot
        self._room: dict[str, Node] = {}  # nodes that are up and have some
        self._waiting: dict[str, frozenset[str]] = {}  # slot -> nodes that it does not begin on
        self._homes: dict[str, Node] = {}
        self._shunned: frozenset[str] = frozenset()
        for kind in scene.types:
            for _, until_s in kind.out:
                clock.later(until_s, self._bring)

    @property
    def report(self) -> str:
        """What there is to say of those that wait."""
        if not self._waiting:
            return ""
        types = self._scene.types
        told = [f"{count} of type {types[i].name} on the way" for i, count in enumerate(self._booting) if count]
        told += [f"type {types[i].name} could not be had: none is left" for i in self._refused]
        return ", ".join(told) or "no node type may have more nodes"

    # ------------------------------------------------------------ renderers

    def ask(self, slot: str) -> None:
        """A renderer is to begin somewhere, on a node that is not shunned now."""
        self._waiting[slot] = self._shunned
        self._fill()
        self._bring()

    def leave(self, slot: str) -> None:
        """The renderer ends, or does not wait any more. What was brought because of it comes all the same."""
        if self._waiting.pop(slot, None) is not None:
            return
        node = self._homes.pop(slot, None)
        if node is None:
            return
        del node.slots[slot]
        if not node.slots:
            node.empty_since_s = self._clock.now_s
        if not node.leaves:
            self._room[node.name] = node
            self._fill()
        self._may_go(node)

    def _fill(self) -> None:
        """Those that wait get the room that there is, in their order."""
        found = []
        for slot, shunned in self._waiting.items():
            if not self._room:
                break
            node = next((node for node in self._room.values() if node.name not in shunned), None)
            if node is not None:
                found.append((slot, node))
                self._move_in(slot, node)
        for slot, node in found:
            del self._waiting[slot]
            self._heard.begins(slot, node)

    def _move_in(self, slot: str, node: Node) -> None:
        if node.empty_since_s is not None:
            node.empty_s += self._clock.now_s - node.empty_since_s
            node.empty_since_s = None
        node.slots[slot] = None
        self._homes[slot] = node
        if len(node.slots) == node.kind.slots:
            del self._room[node.name]

    # ------------------------------------------------------------ nodes that come

    def _bring(self) -> None:
        """Nodes for those that wait and have none coming."""
        missing = len(self._waiting) - self._coming
        for i, kind in enumerate(self._scene.types):
            self._refused.pop(i, None)
            if missing > 0 and self._there[i] < self._at_most[i]:
                if any(from_s <= self._clock.now_s < until_s for from_s, until_s in kind.out):
                    self._refused[i] = None
                    continue
                while missing > 0 and self._there[i] < self._at_most[i]:
                    self._start(i, kind)
                    missing -= kind.slots

    def _start(self, i: int, kind: NodeType) -> None:
        """A node is asked for. Its life, if it is a spot node, is counted from when it is up."""
        scene, dice = self._scene, self._dice
        slow = dice.random() < scene.slow_nodes
        boot_s = kind.boot_s * (0.75 + 0.5 * dice.random())
        rate = kind.rate * (scene.slow_rate if slow else 1.0)
        now_s = self._clock.now_s
        node = Node(f"n{self._sums.nodes}", i, kind, rate, now_s, min(RENDERER_S, boot_s), empty_since_s=now_s)
        self._nodes[node.name] = node
        self._sums.nodes += 1
        self._there[i] += 1
        self._booting[i] += 1
        self._coming += kind.slots
        self._sums.nodes_at_once = max(self._sums.nodes_at_once, len(self._nodes))
        self._clock.later(boot_s - node.start_s, self._up, node)
        if kind.spot and scene.loss_per_hour > 0:
            life_s = dice.expovariate(scene.loss_per_hour / HOUR_S)
            if dice.random() < scene.notice_share:
                self._clock.later(boot_s + max(0.0, life_s - scene.notice_s), self._notice, node)
            else:
                self._clock.later(boot_s + life_s, self._lost, node)

    def _up(self, node: Node) -> None:
        self._booting[node.type] -= 1
        self._coming -= node.kind.slots
        self._room[node.name] = node
        node.empty_since_s = None
        self._fill()
        if not node.slots:
            node.empty_since_s = node.since_s
            self._may_go(node)

    # ------------------------------------------------------------ nodes that go

    def _notice(self, node: Node) -> None:
        if node.there:
            node.leaves = True
            self._room.pop(node.name, None)
            self._clock.later(self._scene.notice_s, self._lost, node)
            self._heard.notice(node, self._clock.now_s + self._scene.notice_s)

    def _lost(self, node: Node) -> None:
        if node.there:
            self._sums.losses += 1
            self._end(node, "spot")

    def _may_go(self, node: Node) -> None:
        """Where nothing is on the node, it goes after the idle timeout, unless something comes meanwhile."""
        if not node.slots:
            node.empties += 1
            self._clock.later(self._scene.idle_timeout_s, self._idle, node, node.empties)

    def _idle(self, node: Node, empties: int) -> None:
        if node.there and not node.slots and node.empties == empties:
            self._end(node, "idle")

    def regard(self, decision: NodeDecision) -> None:
        """What is thought of a node: whether anything begins there, and whether it is to go."""
        node = self._nodes.get(decision.node)
        match decision:
            case Shun():
                self._shunned |= {decision.node}
            case Trust():
                self._shunned -= {decision.node}
                self._waiting = {slot: shunned - {decision.node} for slot, shunned in self._waiting.items()}
                if node is not None:
                    node.given_up = False
                self._fill()
            case GiveUp():
                if node is not None:
                    node.given_up = True
                    self._clock.later(DRAIN_S, self._drain, node, DRAIN_TRIES)

    def _drain(self, node: Node, tries: int) -> None:
        if node.there and node.given_up:
            if not node.slots:
                self._end(node, "given up")
            elif tries > 1:
                self._clock.later(DRAIN_S, self._drain, node, tries - 1)

    def _end(self, node: Node, why: str) -> None:
        """The node is gone, and one more of its type may come."""
        self._pay(node)
        node.there = False
        del self._nodes[node.name]
        self._there[node.type] -= 1
        self._room.pop(node.name, None)
        self._shunned -= {node.name}
        for slot in node.slots:
            del self._homes[slot]
        self._heard.gone(node, why)
        self._bring()

    def _pay(self, node: Node) -> None:
        now_s, sums = self._clock.now_s, self._sums
        seconds = now_s - node.since_s
        empty_s = node.empty_s + (now_s - node.empty_since_s if node.empty_since_s is not None else 0.0)
        sums.node_s[node.kind.name] = sums.node_s.get(node.kind.name, 0.0) + seconds
        sums.money += seconds / HOUR_S * node.kind.price_h
        sums.empty_money += empty_s / HOUR_S * node.kind.price_h

    def settle(self) -> None:
        """Pay for what is there, at the end."""
        for node in self._nodes.values():
            self._pay(node)
