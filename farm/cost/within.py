"""How many nodes finish a job in a given time, and what they cost. Pure; how many of which kind, says
actors.dispatch.wanted: the most work for the money first.

Counted on top of the work, so that the answer holds for a real farm: the boot of a node with its renderer's start, and
one segment, because the last ones do not end at one moment. Every node is paid for until the work is done.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, combinations

from actors.dispatch import Backlog, NodeOffer, wanted_nodes
from core.records.cost import NodePlan, Range, WithinEstimate
from farm.cost.estimate import Place
from farm.cost.rates import NOTHING, measured_of, plus, slot_seconds, span
from farm.cost.spending import HOUR_S
from farm.cost.texts import duration
from farm.cost.work import OpenWork

MOST = 10_000  # nodes of a kind, where nobody says how many there may be
FEW = 3  # kinds that are tried without the others


@dataclass(frozen=True)
class Supply:
    """Nodes of a kind that can be had: `at_most` so many. `boot` is until a renderer works on a new one, in seconds."""

    place: Place
    at_most: int = MOST
    boot: Range | None = None

    @property
    def slots(self) -> int:
        return max(1, int(self.place.per_node))


@dataclass(frozen=True)
class _Kind:
    """A supply with seconds for this work, at the best or at the worst: of all of it on one slot, of its boot, and of a
    segment."""

    supply: Supply
    slot_s: float
    boot_s: float
    segment_s: float

    @property
    def name(self) -> str:
        return self.supply.place.kind

    @property
    def rate(self) -> float:
        """Parts of the whole work a second and slot."""
        return 1.0 / self.slot_s


@dataclass(frozen=True)
class _Most:
    """What a cluster may have at one time."""

    nodes: int
    slots: float

    def allows(self, kinds: Sequence[_Kind], counts: Mapping[str, int]) -> bool:
        nodes = sum(counts.values())
        slots = sum(counts.get(kind.name, 0) * kind.supply.slots for kind in kinds)
        return nodes <= self.nodes and (nodes == 1 or slots <= self.slots)


def within(
    groups: Sequence[Sequence[Supply]],
    work: OpenWork,
    seconds: float,
    most_nodes: int = MOST,
    most_slots: int | None = None,
) -> WithinEstimate:
    """A plan for each of the `groups`, of supplies that one cluster has together, with `most_nodes` at one time, and
    `most_slots` on all of them, where there is more than one."""
    if not tasks_of(work):
        return WithinEstimate(seconds, ())
    if not any(groups):
        return WithinEstimate(seconds, (NodePlan((), None, None, why="no type of nodes with a price is known"),))
    most = _Most(most_nodes, math.inf if most_slots is None else most_slots)
    plans = [_plan(group, work, seconds, most) for group in groups if group]
    return WithinEstimate(seconds, tuple(sorted(plans, key=_rank)))


def tasks_of(work: OpenWork) -> int:
    """Segments that can be worked on at one time. Looking for faces is over before rendering begins, so the two do not
    add up."""
    return max(work.load.analyse_segments, work.load.render_segments)


def _rank(plan: NodePlan) -> tuple[bool, bool, float]:
    return plan.nodes is None, plan.at_best is None, plan.money.high if plan.money is not None else math.inf


def _plan(group: Sequence[Supply], work: OpenWork, seconds: float, most: _Most) -> NodePlan:
    tasks = tasks_of(work)
    low, high = _kinds(group, work, tasks)
    best, sure = (_nodes(kinds, tasks, seconds, most) for kinds in (low, high))
    best = sure if best is None else best  # what does it for sure does it at best
    counts = best if sure is None else sure
    names = tuple(kind.name for kind in high)
    if counts is None:
        return NodePlan(names, None, None, why=_why(low, seconds, "at least"))
    time_s = Range(_time_s(low, counts, tasks), _time_s(high, counts, tasks))
    return NodePlan(
        kinds=names,
        nodes=sure,
        at_best=best,
        seconds=time_s,
        money=_money(group, counts, time_s),
        why="" if sure is not None else _why(high, seconds, "up to"),
    )


def _kinds(group: Sequence[Supply], work: OpenWork, tasks: int) -> tuple[list[_Kind], list[_Kind]]:
    """Every supply at its best, and at its worst."""
    low, high = [], []
    for supply in group:
        machine = supply.place.machine
        taken = slot_seconds(work.load, machine, measured_of(work.analysed, work.rendered, machine.accelerator)).slot_s
        boot = supply.boot or plus(span("start", "node"), span("start", "renderer"))
        low.append(_Kind(supply, max(taken.low, 1e-9), boot.low, taken.low / tasks))
        high.append(_Kind(supply, max(taken.high, 1e-9), boot.high, taken.high / tasks))
    return low, high


def _nodes(kinds: Sequence[_Kind], tasks: int, seconds: float, most: _Most) -> dict[str, int] | None:
    """None where no number of nodes is in time. All kinds have a part in it; where that takes more nodes than there may
    be, or is late because of a slow kind, the cheapest way with fewer kinds."""
    together = _nodes_of(kinds, tasks, seconds, most)
    if together is not None:
        return together
    fewer = chain.from_iterable(combinations(kinds, size) for size in range(1, min(len(kinds), FEW + 1)))
    found = [counts for some in fewer if (counts := _nodes_of(some, tasks, seconds, most)) is not None]
    return min(found, key=lambda counts: _per_hour(kinds, counts) * _time_s(kinds, counts, tasks), default=None)


def _per_hour(kinds: Sequence[_Kind], counts: Mapping[str, int]) -> float:
    prices = ((counts.get(kind.name, 0), kind.supply.place.price) for kind in kinds)
    return sum(count * price.per_hour for count, price in prices if price is not None)


def _nodes_of(kinds: Sequence[_Kind], tasks: int, seconds: float, most: _Most) -> dict[str, int] | None:
    """How many of each of these `kinds` are in time; None where that was not found."""
    longest_s = max(kind.segment_s for kind in kinds)
    # A segment of the slowest kind may be the last one, but not of one that is not used.
    for ends in ({kind.name: kind.segment_s for kind in kinds}, {kind.name: longest_s for kind in kinds}):
        offers = [
            NodeOffer(
                kind.name,
                kind.supply.slots,
                kind.rate,
                kind.supply.place.price.per_hour if kind.supply.place.price is not None else 0.0,
                kind.supply.at_most,
                boot_s=kind.boot_s + ends[kind.name],
            )
            for kind in kinds
        ]
        wanted = wanted_nodes(Backlog(int(min(tasks, most.slots)), 0, 1.0), offers, {}, finish_s=seconds)
        counts = {name: count for name, count in wanted.items() if count}
        if counts and _time_s(kinds, counts, tasks) <= seconds * (1 + 1e-9) and most.allows(kinds, counts):
            return counts
    return None


def _time_s(kinds: Sequence[_Kind], counts: Mapping[str, int], tasks: int) -> float:
    """Until the work is done by so many nodes, at the latest: every slot that is up works until the last segment is
    begun, and that one takes as long as it takes the slowest (Graham's bound for list scheduling, 1969)."""
    used = [(kind, counts[kind.name] * kind.supply.slots) for kind in kinds if counts.get(kind.name)]
    last_s = max(kind.segment_s for kind, _ in used)
    if sum(slots for _, slots in used) >= tasks:
        return max(kind.boot_s for kind, _ in used) + last_s
    rate = sum(slots * kind.rate for kind, slots in used)
    return (1.0 + sum(slots * kind.rate * kind.boot_s for kind, slots in used)) / rate + last_s


def _why(kinds: Sequence[_Kind], seconds: float, bound: str) -> str:
    if any(kind.boot_s + kind.segment_s <= seconds for kind in kinds):
        return "more nodes than may be had would be needed"
    first = min(kinds, key=lambda kind: kind.boot_s + kind.segment_s)
    return f"a node takes {bound} {duration(first.boot_s)} to boot, and a segment {bound} {duration(first.segment_s)}"


def _money(group: Sequence[Supply], counts: Mapping[str, int], time_s: Range) -> Range | None:
    total = NOTHING
    for supply in group:
        count, price = counts.get(supply.place.kind, 0), supply.place.price
        if count and price is None:
            return None
        if count and price is not None:
            hours = Range(count * time_s.low / HOUR_S, count * time_s.high / HOUR_S)
            total = plus(total, Range(hours.low * price.low, hours.high * price.high))
    return total
