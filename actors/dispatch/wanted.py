"""Backlog -> wanted nodes by type: a pure function, asked as often as one likes; the cloud's ways are elsewhere."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.errors import PlanError


@dataclass(frozen=True)
class Backlog:
    """What is open: queued and running tasks, and the cost of the queued ones."""

    queued: int
    running: int
    cost: float


@dataclass(frozen=True)
class NodeOffer:
    """A kind of node that can be had: slots a node, cost a second and slot, price of a node and hour, how many."""

    kind: str
    slots: int
    rate: float
    price_h: float
    at_most: int
    at_least: int = 0
    boot_s: float = 0.0

    def __post_init__(self) -> None:
        if self.slots < 1 or not self.rate > 0 or self.price_h < 0 or not 0 <= self.at_least <= self.at_most:
            raise PlanError(f"a node type that cannot be: {self}")


def wanted_nodes(
    backlog: Backlog, offers: Sequence[NodeOffer], present: Mapping[str, int], *, finish_s: float
) -> dict[str, int]:
    """How many nodes of each kind there should be, so that the backlog is done in about `finish_s`.

    - Kinds with the most work for the money first; where those run out, the next: on-demand nodes, which cost more,
      so become the fallback of spot nodes by themselves. Without prices, the fastest first.
    - Never more slots than there are open tasks, and never less nodes than `at_least`.
    - A kind counts with the time that is left after its boot; one that boots longer than `finish_s`, or than the
      nodes that are there need for all of it, is not asked for. Nodes that are there already have booted.
    - With nothing queued, only what works: one slot for each running task.
    """
    counts = {offer.kind: offer.at_least for offer in offers}
    open_tasks = backlog.queued + backlog.running
    slots = sum(offer.slots * offer.at_least for offer in offers)
    cost = backlog.cost - sum(offer.at_least * offer.slots * offer.rate * finish_s for offer in offers)
    now_rate = sum(present.get(offer.kind, 0) * offer.slots * offer.rate for offer in offers)
    alone_s = backlog.cost / now_rate if now_rate > 0 else math.inf
    # Those that run keep their slot; only the queue asks for more.
    floor = backlog.running
    for offer in sorted(offers, key=lambda offer: (offer.price_h / (offer.slots * offer.rate), -offer.rate)):
        there = present.get(offer.kind, 0)
        count = counts[offer.kind]
        while count < offer.at_most and slots < open_tasks and (cost > 0 or slots < floor):
            new = count >= there
            left_s = finish_s - offer.boot_s if new else finish_s
            if new and (left_s <= 0 or offer.boot_s >= alone_s):
                break
            # All nodes of one sort at once, so that the loop runs twice a kind and not once a node.
            each = offer.slots * offer.rate * left_s
            room = (offer.at_most if new else min(there, offer.at_most)) - count
            by_cost = max(math.ceil(cost / each), math.ceil((floor - slots) / offer.slots), 1)
            by_tasks = math.ceil((open_tasks - slots) / offer.slots)
            step = min(room, by_cost, by_tasks)
            count += step
            slots += step * offer.slots
            cost -= step * each
        counts[offer.kind] = count
    return counts
