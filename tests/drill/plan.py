"""Which part of the service dies when: drawn by a seed."""

from __future__ import annotations

import random
from dataclasses import dataclass

# What is killed -> the titles of its processes.
TITLES = {
    "calls": "ray::ServeReplica:farm:Calls",
    "coordinator": "ray::ServeReplica:farm:Keeper",
    "replicas": "ray::ServeReplica",  # both of the above at once
    "controller": "ray::ServeController",
    "proxy": "ray::HAProxyManager",
}
VICTIMS = (*TITLES, "postgres")


@dataclass(frozen=True)
class Kill:
    """`victim` dies `wait_s` seconds after `ended` jobs have ended and the kill before it was done."""

    victim: str
    ended: int
    wait_s: float


def plan_of(seed: int, count: int, more: int) -> list[Kill]:
    """Every part once and `more` parts again, in an order that the seed draws; the same list for ever.

    The kills are spread over the first three fifths of the jobs; some of them follow the one before within seconds,
    while what it killed is not there again.
    """
    draw = random.Random(f"drill {seed}")
    names = [*VICTIMS, *draw.choices(VICTIMS, k=more)]
    draw.shuffle(names)
    plan: list[Kill] = []
    for place, name in enumerate(names):
        together = bool(plan) and draw.random() < 1 / 3
        ended = plan[-1].ended if together else place * count * 3 // (5 * len(names))
        plan.append(Kill(name, ended, round(draw.uniform(0.0, 4.0), 2)))
    return plan
