"""What happened in a simulation, and what could at best have happened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Sums:
    """Counts; times in `useful_s` and `wasted` are slot-seconds, `served` is cost done by job."""

    useful_s: float = 0.0
    wasted: dict[str, float] = field(default_factory=dict)
    useful_cost: float = 0.0
    longest_cost: float = 0.0
    events: int = 0
    decisions: int = 0
    assigned: int = 0
    dispatcher_s: float = 0.0  # of the processor, with the keeper
    cpu_s: float = 0.0  # of the whole simulation
    done: int = 0
    losses: int = 0
    hangs: int = 0
    nodes: int = 0  # that were brought up, or were to be
    nodes_at_once: int = 0  # the most of them, those that boot among them
    node_s: dict[str, float] = field(default_factory=dict)  # by type, from when a node is asked for until it goes
    money: float = 0.0
    empty_money: float = 0.0  # of it, for nodes while no renderer was on them, and those that never had one
    served: dict[int, float] = field(default_factory=dict)
    served_at_half: dict[int, float] = field(default_factory=dict)
    finished_s: dict[str, float] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    spans: list[tuple[float, float, float]] = field(default_factory=list)  # when a slot was up: from, to, its rate

    def waste(self, why: str, seconds: float) -> None:
        if seconds > 0:
            self.wasted[why] = self.wasted.get(why, 0.0) + seconds


def lower_bound_s(cost: float, longest: float, spans: Sequence[tuple[float, float, float]]) -> float:
    """The time before which no dispatcher can have done work of `cost` on slots that were up in `spans`.

    The later of two: when all slots together, each at its own rate and none ever without work, have done `cost`; and
    when the slot that could first have done the `longest` segment has done it.
    """
    if cost <= 0 or not spans:
        return 0.0
    edges = sorted([(begin, rate) for begin, _, rate in spans] + [(end, -rate) for _, end, rate in spans])
    rate, done, at_s = 0.0, 0.0, 0.0
    for edge_s, change in edges:
        step = rate * (edge_s - at_s)
        if rate > 0 and done + step >= cost * (1 - 1e-12):
            break
        done, rate, at_s = done + step, rate + change, edge_s
    fluid_s = at_s + (cost - done) / rate if rate > 1e-9 else at_s
    single_s = min((begin + longest / rate for begin, end, rate in spans if end - begin >= longest / rate), default=0.0)
    return max(fluid_s, single_s)


def jain(shares: Sequence[float]) -> float:
    """Jain's index of fairness: 1 when all get the same, 1/n when one gets all (Jain, Chiu, Hawe 1984)."""
    squares = sum(share * share for share in shares)
    return sum(shares) ** 2 / (len(shares) * squares) if squares > 0 else 1.0
