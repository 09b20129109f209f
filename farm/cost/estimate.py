"""What a job would cost: its open work, the rates of renderers, and prices. Pure; nothing is run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from core.records.cost import KindEstimate, Range
from farm.cost.prices import Price, Prices
from farm.cost.rates import NOTHING, Load, Machine, Measured, measured_of, slot_seconds, span, times
from farm.cost.spending import HOUR_S
from farm.cost.work import OpenWork

ASSUMED_SLOTS = 8  # of a cluster that grows, where nobody says how many; only the time rests on it, not the money


@dataclass(frozen=True)
class Place:
    """Where renderers would run: nodes of a kind with their price, `slots` renderers in all and `per_node` on a node.

    `boots`: the nodes come up first. `machine` is what one renderer has.
    """

    kind: str
    price: Price | None
    slots: int
    per_node: float
    machine: Machine
    boots: bool = False
    slots_assumed: bool = False


def own_machine(kind: str, price: Price | None, slots: int, cores: int) -> Place:
    """This machine, called `kind`, with `slots` renderers."""
    accelerator = "" if kind in {"", "cpu"} else kind
    return Place(kind, price, slots, float(slots), Machine(cores / slots, accelerator))


def cloud_node(kind: str, price: Price, slots: int | None, segments: int) -> Place:
    """Nodes of a cluster, with a renderer a GPU; one on a node without any."""
    per_node = max(1.0, price.gpus)
    machine = Machine(price.cores / per_node, price.accelerator or ("gpu" if price.gpus else ""))
    count = slots or max(1, min(ASSUMED_SLOTS, segments))
    return Place(kind, price, count, per_node, machine, boots=True, slots_assumed=slots is None)


def places_of(prices: Prices, slots: int | None, segments: int) -> list[Place]:
    """The kinds of nodes that the price table knows by a cluster's own names, else all of its entries."""
    if not prices.kinds:
        return all_places(prices, slots, segments)
    named = [(kind, prices.of(kind)) for kind in prices.kinds]
    return [cloud_node(kind, price, slots, segments) for kind, price in named if price is not None]


def all_places(prices: Prices, slots: int | None, segments: int) -> list[Place]:
    """Every entry of the price table: whatever the nodes of a cluster are called, those with a price are among them."""
    return [cloud_node(price.name, price, slots, segments) for price in prices.entries.values()]


def places_on(types: Iterable[str], prices: Prices, slots: int | None, segments: int) -> list[Place]:
    """Nodes of a cluster's own `types`. One without a price is taken to have one GPU; its cores nobody knows."""
    return [
        replace(cloud_node(kind, prices.of(kind) or Price(kind, gpus=1.0), slots, segments), price=prices.of(kind))
        for kind in types
    ]


def estimate_on(place: Place, work: OpenWork) -> KindEstimate:
    """Seconds and money of the open work on one kind of nodes.

    The most counts the start of each renderer, the nodes' boot before it, and the dearest price of the span.
    """
    measured = measured_of(work.analysed, work.rendered, place.machine.accelerator)
    taken = slot_seconds(work.load, place.machine, measured)
    idle = NOTHING
    if taken.slot_s.high > 0:
        idle = span("start", "renderer")
        idle = Range(idle.low, idle.high + (span("start", "node").high if place.boots else 0.0))
    slot_s = Range(taken.slot_s.low, taken.slot_s.high + idle.high * place.slots)
    seconds = Range(taken.slot_s.low / place.slots, taken.slot_s.high / place.slots + idle.high)
    rests = list(taken.rests_on)
    if place.slots_assumed and taken.slot_s.high > 0:
        rests.append(f"{place.slots} renderers at a time, as nobody says how many")
    price = place.price
    money = None
    if price is not None:
        hourly = times(Range(price.low, price.high), 1 / place.per_node / HOUR_S)
        money = Range(slot_s.low * hourly.low, slot_s.high * hourly.high)
        if price.low < price.high:
            rests.append(f"{price.low:g} to {price.high:g} an hour")
    return KindEstimate(
        kind=place.kind,
        market=price.market if price is not None else "",
        per_hour=price.per_hour if price is not None else None,
        slots=place.slots,
        slot_s=slot_s,
        gpu_s=slot_s if place.machine.accelerator else NOTHING,
        seconds=seconds,
        money=money,
        rests_on=tuple(rests),
    )


def least_money(places: Sequence[Place], load: Load) -> float:
    """The least that `load` can cost: on the cheapest of `places`, by the rates of the package. 0 where a place has no
    price, because nobody knows better, and where there are none."""
    least = math.inf
    for place in places:
        price = place.price
        if price is None:
            return 0.0
        taken = slot_seconds(load, place.machine, Measured())
        least = min(least, taken.slot_s.low * price.low / place.per_node / HOUR_S)
    return 0.0 if math.isinf(least) else least
