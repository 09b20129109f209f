"""What is simulated: nodes, what happens to them, and jobs. All random numbers come from one seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from actors.dispatch import Task
from core.errors import InputError


@dataclass(frozen=True)
class NodeType:
    """A kind of machine: slots, faces a second and slot, time to boot, share of the farm, price of an hour.

    `spot`: it can be taken away. `out` are spans of seconds, from and until, in which no more of it can be had.
    """

    name: str
    slots: int = 1
    rate: float = 10.0
    boot_s: float = 120.0
    share: float = 1.0
    price_h: float = 0.0
    spot: bool = True
    out: tuple[tuple[float, float], ...] = ()


# Rates stand to each other as the cards' fp16 rates in farm.bench.gpu (L4 121, A10G 70 TFLOPS); prices are those of
# g6.xlarge and g5.xlarge, spot at two fifths of them. They are only the shape of a farm: what a job costs is measured.
FARM = (
    NodeType("g6-spot", rate=60.0, share=0.6, price_h=0.32),
    NodeType("g5-spot", rate=35.0, share=0.3, price_h=0.40),
    NodeType("g6", rate=60.0, share=0.1, price_h=0.80, spot=False),
)


@dataclass(frozen=True)
class Scene:
    """A farm and its work. Shares and odds are 0 to 1.

    `nodes` is the most that there may be at one time, by type as their shares say; as many come as the keeper asks for
    (actors.dispatch), those of the first type first. A job comes `job_every_s` after the one before it. `fixed` is a
    fixed number of renderers, as many as there may be, instead of as many as there is work for. With nothing queued, a
    renderer without work is released after `idle_s`, and a node without renderers goes after `idle_timeout_s`. The
    jobs end when no renderer was up for `start_s`.

    `loss_per_hour` of a spot node, `notice_share` of them with a notice of `notice_s`. `slow_nodes` of the nodes work
    at `slow_rate` of their type. A slot's first task takes `cold_engines_s` longer. `hang_share` of the attempts stop
    moving. `poisoned` segments, in the first job, kill whoever works on them. `prepare_s` a task opens its film before
    it can render, beside its neighbour.
    `segment_s` is the mean time of a segment on the mean slot, and single ones take `spread` more or less; nobody
    needs longer than `3 * segment_s` then. `noise` is how much one attempt differs from what its cost says.
    """

    nodes: int
    segments: int
    jobs: int = 1
    types: tuple[NodeType, ...] = FARM
    loss_per_hour: float = 0.0
    notice_share: float = 0.5
    notice_s: float = 120.0
    slow_nodes: float = 0.0
    slow_rate: float = 0.25
    cold_engines_s: float = 0.0
    hang_share: float = 0.0
    poisoned: int = 0
    segment_s: float = 20.0
    spread: float = 0.5
    noise: float = 0.05
    prepare_s: float = 1.0
    beat_s: float = 30.0
    hang_s: float = 600.0
    capacity: int = 2
    job_every_s: float = 0.0
    fixed: bool = False
    idle_s: float = 60.0
    idle_timeout_s: float = 720.0
    start_s: float = 1800.0
    seed: int = 0

    def __post_init__(self) -> None:
        whole = self.nodes >= 1 and self.segments >= 0 and self.jobs >= 1 and self.poisoned >= 0 and self.capacity >= 1
        odds = (self.notice_share, self.slow_nodes, self.hang_share, self.spread, self.noise)
        times = (self.loss_per_hour, self.notice_s, self.cold_engines_s, self.prepare_s, self.job_every_s, self.idle_s)
        positive = (
            self.segment_s,
            self.beat_s,
            self.hang_s,
            self.slow_rate,
            self.idle_timeout_s,
            self.start_s,
            sum(kind.share for kind in self.types),
        )
        kinds = all(kind.slots >= 1 and kind.rate > 0 and kind.boot_s >= 0 and kind.share >= 0 for kind in self.types)
        kinds = kinds and all(0 <= since_s < until_s for kind in self.types for since_s, until_s in kind.out)
        fine = all(0 <= share <= 1 for share in odds) and min(times) >= 0 and min(positive) > 0
        if not (whole and fine and kinds and self.noise < 1 and self.poisoned <= self.segments):
            raise InputError("a farm that cannot be", hint="numbers are not negative, shares lie between 0 and 1")
        if self.hang_s <= 2 * self.beat_s:
            raise InputError("a slot hangs by definition between two signs of life", hint="make hang_s longer")

    @property
    def slots(self) -> int:
        return sum(kind.slots * count for kind, count in zip(self.types, self.counts(), strict=True))

    def counts(self) -> list[int]:
        """Nodes by type: the largest remainders get what is over."""
        whole = sum(kind.share for kind in self.types)
        exact = [self.nodes * kind.share / whole for kind in self.types]
        counts = [int(each) for each in exact]
        by_rest = sorted(range(len(exact)), key=lambda i: (counts[i] - exact[i], i))
        for i in by_rest[: self.nodes - sum(counts)]:
            counts[i] += 1
        return counts

    def rate(self) -> float:
        """Faces a second of all slots together, slow ones and losses left aside."""
        return sum(kind.slots * kind.rate * count for kind, count in zip(self.types, self.counts(), strict=True))

    def sizes(self) -> list[int]:
        """Segments by job: equal, what is over to the first ones."""
        each, over = divmod(self.segments, self.jobs)
        return [each + (number < over) for number in range(self.jobs)]

    def tasks(self, job: int) -> Iterator[Task]:
        """The segments of a job; their costs are in faces."""
        dice = random.Random(f"{self.seed}/costs/{job}")
        mean = self.segment_s * self.rate() / self.slots
        for position in range(self.sizes()[job]):
            yield Task(f"{job}/{position}", position, mean * (1 + self.spread * (2 * dice.random() - 1)))
