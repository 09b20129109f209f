"""What a job costs: seconds of renderers, and money, by what they were spent on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds of slots (renderers), of GPUs and of processor cores, and money in the currency of the price table."""

    slot_s: float = 0.0
    gpu_s: float = 0.0
    core_s: float = 0.0
    money: float = 0.0

    def __add__(self, other: Spent) -> Spent:
        return Spent(
            self.slot_s + other.slot_s,
            self.gpu_s + other.gpu_s,
            self.core_s + other.core_s,
            self.money + other.money,
        )

    def times(self, factor: float) -> Spent:
        return Spent(self.slot_s * factor, self.gpu_s * factor, self.core_s * factor, self.money * factor)


@dataclass(frozen=True, slots=True)
class AttemptCost:
    """One attempt at one segment: `stage` is the map it belongs to, `outcome` "done", "running", or why it was lost."""

    stage: str
    segment: int
    attempt: int
    kind: str
    node: str
    slot: str
    spent: Spent
    outcome: str


@dataclass(frozen=True)
class KindCost:
    """All time of the slots on one kind of node, each second in one of five: attempts whose result counts, attempts
    that were lost, attempts that run, slots without work, and slots that were being set up.

    `per_hour` is the price of a node, None where the table has none; then `spent.money` is 0.
    """

    kind: str
    market: str
    per_hour: float | None
    done: Spent = Spent()
    lost: Spent = Spent()
    running: Spent = Spent()
    idle: Spent = Spent()
    starting: Spent = Spent()

    @property
    def total(self) -> Spent:
        return self.done + self.lost + self.running + self.idle + self.starting


@dataclass(frozen=True)
class CostReport:
    """The cost of a job so far. `lost` is by cause and `lost_attempts` names what it was; `earlier` are former runs of
    the same job, `earlier_runs` how many. `prices` says where the prices are from; `budget` is what --max-cost said.
    """

    currency: str
    prices: str
    kinds: tuple[KindCost, ...]
    lost: dict[str, Spent]
    attempts: tuple[AttemptCost, ...] = ()
    earlier: Spent = Spent()
    earlier_runs: int = 0
    budget: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def spent(self) -> Spent:
        """Of this run."""
        return sum((kind.total for kind in self.kinds), Spent())

    @property
    def job(self) -> Spent:
        """Of this run and all before it."""
        return self.spent + self.earlier

    def part(self, name: str) -> Spent:
        """The sum over all kinds of "done", "lost", "running", "idle" or "starting"."""
        return sum((getattr(kind, name) for kind in self.kinds), Spent())


@dataclass(frozen=True)
class Range:
    """From `low` to `high`, both included, in the unit of whatever it is a span of."""

    low: float
    high: float


@dataclass(frozen=True)
class KindEstimate:
    """What the open work would cost on nodes of one kind: seconds of slots, GPUs and money as spans; `money` is None
    where no price is known. `seconds` is the time on `slots` renderers."""

    kind: str
    market: str
    per_hour: float | None
    slots: int
    slot_s: Range
    gpu_s: Range
    seconds: Range
    money: Range | None
    rests_on: tuple[str, ...] = ()


@dataclass(frozen=True)
class NodePlan:
    """Nodes, by kind, with which the open work is done in time, their boot included: `nodes` however it goes within the
    spans of the rates, `at_best` if all goes as fast as it may. None where no number of them does, and then `why`.
    `kinds` are those that were thought of. `seconds` is until the work is done and `money` what the nodes cost until
    then, with `nodes`, or where there is none with `at_best`.
    """

    kinds: tuple[str, ...]
    nodes: dict[str, int] | None
    at_best: dict[str, int] | None
    seconds: Range | None = None
    money: Range | None = None
    why: str = ""


@dataclass(frozen=True)
class WithinEstimate:
    """`--within`: how many nodes finish the open work in `seconds`. The plans that do come first, cheapest first."""

    seconds: float
    plans: tuple[NodePlan, ...]


@dataclass(frozen=True)
class WorkEstimate:
    """What is open: segments and frames to look at and to render, and faces to replace as a span."""

    segments: int
    frames: int
    analyse_segments: int
    analyse_frames: int
    render_segments: int
    render_frames: int
    copied_segments: int
    faces: Range
    rests_on: tuple[str, ...] = ()


@dataclass(frozen=True)
class EstimateReport:
    """`farm render --estimate`: the work, what it costs where it would run (`here`), and on other kinds of nodes; and
    `within`, where it was asked, the nodes that finish it in a given time."""

    target: str
    output: str
    currency: str
    prices: str
    work: WorkEstimate
    here: tuple[KindEstimate, ...]
    elsewhere: tuple[KindEstimate, ...] = ()
    earlier: Spent = Spent()
    earlier_runs: int = 0
    notes: tuple[str, ...] = ()
    within: WithinEstimate | None = None

    @property
    def money(self) -> Range | None:
        """From the cheapest of `here` to the dearest; None where one of them has no price."""
        spans = [kind.money for kind in self.here]
        known = [span for span in spans if span is not None]
        if not known or len(known) < len(spans):
            return None
        return Range(min(span.low for span in known), max(span.high for span in known))
