"""The meter beside a job: a `farm.ports.Progress` that counts what it costs and ends it when its budget is used up.

With a budget, nothing new is begun as soon as what is spent, in this run and all before it, what the segments that
have their turn are still expected to cost, and one segment more would go beyond it. What has its turn is finished; what
waits behind it on the same renderer is given back. So whatever comes out dearer than expected, or than anybody can know
at the start, the budget is passed by no more than what was under way at that moment: a segment a renderer.

What is expected is taken from the segments of the same map that are done, and from those of which a quarter is through,
by the dispatcher's unit of work.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from actors.dispatch import Beat, Cancel, Done, SlotDied, Tick
from actors.drive import Halt, Happening, Order, Watch, task_of
from core.errors import BudgetSpent, InputError
from core.records import AnalysisOrder, EncoderSettings, MediaIndex
from core.records.cost import AttemptCost, CostReport, Spent
from farm.cost.kept import Kept, RunCost
from farm.cost.meter import DONE, Meter
from farm.cost.prices import Prices
from farm.cost.rates import Load
from farm.cost.spending import Attempt, Home
from farm.cost.texts import amount, at_least
from farm.cost.work import load_of

START = "start"
MOST_ATTEMPTS = 20_000
TOLD = 0.25  # the part of a segment from which on its cost so far says what it will cost
MORE = "what is finished is kept: run the same command again with a higher --max-cost"


@dataclass
class _Map:
    """One map over segments: the work and the frames of its open orders, which of them are not done, and how much work
    is.

    `before` is what attempts of former maps had cost when it began; `through` are the frames of attempts under way.
    """

    work: dict[str, float]
    frames: dict[str, int]
    before: float
    left: set[str]
    smallest: list[str]  # those that were left when it was last asked for, the smallest last
    done_work: float = 0.0
    through: dict[tuple[str, int], int] = field(default_factory=dict)

    @staticmethod
    def of(orders: Sequence[Order], before: float) -> _Map:
        work = {order.id: task_of(order, order.id).cost for order in orders}
        frames = {order.id: order.segment.frames for order in orders}
        return _Map(work, frames, before, set(work), sorted(work, key=work.__getitem__, reverse=True))

    def hear(self, happening: Happening) -> None:
        if isinstance(happening, Beat) and happening.task in self.left:
            self.through[happening.task, happening.attempt] = happening.frames
        elif isinstance(happening, Done):
            self.through.pop((happening.task, happening.attempt), None)
            if happening.task in self.left:
                self.left.discard(happening.task)
                self.done_work += self.work[happening.task]

    def part(self, attempt: Attempt) -> float:
        """How much of its segment the attempt has behind it, 0 to 1; 0 where that says little yet."""
        frames = max(1, self.frames.get(attempt.task, 1))
        part = min(1.0, self.through.get((attempt.task, attempt.number), 0) / frames)
        return part if part >= TOLD else 0.0

    def least(self, begun: set[str]) -> float:
        """The work of the smallest segment that is left and not in `begun`; 0 where none is."""
        while self.smallest and self.smallest[-1] not in self.left:
            self.smallest.pop()
        open_ones = (task for task in reversed(self.smallest) if task in self.left and task not in begun)
        return next((self.work[task] for task in open_ones), 0.0)


class CostMeter:
    """What a job costs, from any thread: `report` all of it, `spent` the money of this run.

    `shared`: the pool is not the job's own, see farm.cost.meter. `least` gives the least that work can cost.
    """

    def __init__(
        self,
        prices: Prices,
        home: Home,
        *,
        kept: Kept | None = None,
        budget: float | None = None,
        shared: bool = False,
        least: Callable[[Load], float] = lambda _: 0.0,
        notes: Sequence[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`InputError` where former runs were counted in another currency than a budget's. `notes` go into reports."""
        self._notes = tuple(notes)
        self._prices = prices
        self._meter = Meter(prices.of, home, shared=shared)
        self._kept = kept or Kept()
        self._budget = budget
        self._least = least
        self._film: tuple[MediaIndex, EncoderSettings] | None = None
        self._clock = clock
        self._lock = threading.Lock()
        self._orders: list[Sequence[Order]] = []  # of every map
        self._map: _Map | None = None
        self._halted = False
        self._closed_s: float | None = None
        if budget is not None:
            self._kept.check_currency(prices.currency)

    # ------------------------------------------------------------ what is heard

    def stage(self, name: str) -> None:
        """`BudgetSpent` where work is open and the budget is spent, before anybody is asked for a renderer."""
        if name == START:
            self._check(None)
            with self._lock:
                self._meter.begins(self._clock())

    def watch(self, orders: Sequence[Order], open_orders: Sequence[Order]) -> Watch:
        """`BudgetSpent`, or `InputError` where nothing was begun, when the budget cannot do for `open_orders`."""
        del orders
        with self._lock:
            self._orders.append(open_orders)
            if self._budget is not None:
                before = sum(cost.done.money for cost in self._meter.kinds(self._clock()))
                self._map = _Map.of(open_orders, before)
        self.check(open_orders)
        return self._hear

    def film(self, index: MediaIndex, encoder: EncoderSettings, *, looks: bool, renders: bool) -> None:
        """The film is known: of a job that nobody has begun, all of it is looked at, and
        rendered, or that is not known yet. `InputError` where the budget cannot do for what is known."""
        self._film = (index, encoder)
        if self._kept.runs:
            return  # then it is not known how much is open
        nothing = load_of([], index, encoder)
        self._check(replace(nothing, analyse_frames=index.frames * looks, render_frames=index.frames * renders))

    def check(self, orders: Sequence[Order]) -> None:
        """Whether the budget can do for `orders`, as far as that can be told before they are begun."""
        if orders:
            self._check(load_of(orders, *self._film) if self._film is not None else None)

    def _check(self, load: Load | None) -> None:
        if self._budget is None:
            return
        spent, low = self.spent_of_job(), self._least(load) if load is not None else 0.0
        if spent > 0 and spent >= self._budget:
            raise self._used_up(spent)
        if spent + low > self._budget:
            error = InputError if self.this_run() is None else BudgetSpent
            before = f"{amount(spent, self._prices.currency)} is spent and " if spent > 0 else ""
            raise error(
                f"the budget of {amount(self._budget, self._prices.currency)} cannot do: {before}what is open costs "
                f"{amount(low, self._prices.currency)} at least",
                hint=f"give --max-cost {at_least(spent + low)} or more, see --estimate for the span",
            )

    def note(self, text: str) -> None:
        """Nothing of it costs anything."""

    def close(self) -> None:
        """The run is over: no slot costs anything from now on."""
        with self._lock:
            if self._closed_s is None:
                self._closed_s = self._clock()
                self._meter.close(self._closed_s)

    def _hear(self, happening: Happening, at_s: float) -> None:
        with self._lock:
            self._meter.hear(happening, at_s)
            if self._map is not None:
                self._map.hear(happening)
            if self._budget is None or self._halted or not isinstance(happening, Tick | Cancel | SlotDied):
                return
            error = self._over(at_s)
            self._halted = error is not None
        if error is not None:
            raise Halt(error, finish=True, waiting=False)

    # ------------------------------------------------------------ the budget

    def _over(self, at_s: float) -> BudgetSpent | InputError | None:
        """Why nothing new is to be begun. With the lock held."""
        work, kinds = self._map, self._meter.kinds(at_s)
        if work is None or not work.left:
            return None
        unknown = next((cost.kind for cost in kinds if cost.per_hour is None and cost.total.gpu_s > 0), None)
        if unknown is not None:
            return InputError(
                f"no price of {unknown} is known, so that no budget can be held",
                hint="name it in a price table (--prices FILE, see docs/cost.md), with per_hour = 0 where it is free",
            )
        begun = self._meter.begun(at_s)
        if work.left <= {attempt.task for attempt in begun}:
            return None  # all that is left runs, and is to be finished anyway
        spent = self._kept.in_currency(self._prices.currency) + sum((cost.total for cost in kinds), Spent())
        rest, more = expected(work, sum(cost.done.money for cost in kinds) - work.before, begun)
        budget = self._budget or 0.0
        if spent.money + rest < budget and spent.money + rest + more <= budget:
            return None
        return self._used_up(spent.money, rest, more)

    def _used_up(self, spent: float, rest: float = 0.0, more: float = 0.0) -> BudgetSpent:
        """`rest` of what runs, and a segment `more`, if they matter."""
        budget, currency = self._budget or 0.0, self._prices.currency
        told = f"the budget of {amount(budget, currency)} is used up: {amount(spent, currency)} is spent"
        if rest:
            told += f", and what runs takes about {amount(rest, currency)}"
        if spent + rest < budget:
            told += f", and a segment more about {amount(more, currency)}"
        return BudgetSpent(told, hint=MORE)

    # ------------------------------------------------------------ what it came to

    def spent_of_job(self) -> float:
        """Money of this run until now, and of all before it."""
        with self._lock:
            return self._kept.in_currency(self._prices.currency).money + self._meter.spent(self._now_s()).money

    def this_run(self) -> RunCost | None:
        """What this run cost until now; None where no renderer was there."""
        with self._lock:
            spent = self._meter.spent(self._now_s())
        return RunCost(spent, self._prices.currency) if spent.slot_s > 0 else None

    def spent(self) -> tuple[float, str] | None:
        """Money of this run until now and its currency; None where no kind of node has a price."""
        with self._lock:
            kinds = self._meter.kinds(self._now_s())
        if not any(cost.per_hour is not None for cost in kinds):
            return None
        return sum(cost.total.money for cost in kinds), self._prices.currency

    def report(self, *, attempts: bool = True) -> CostReport:
        """All of it until now; with `attempts` every attempt at every segment, or where there are more than
        `MOST_ATTEMPTS`, every one that was lost."""
        currency = self._prices.currency
        with self._lock:
            now_s = self._now_s()
            kinds = self._meter.kinds(now_s)
            lost = {why: purse.spent() for why, purse in self._meter.lost.items() if purse.slot_s > 0}
            closed, whole = self._meter.attempts, len(self._meter.attempts) <= MOST_ATTEMPTS
            listed = [*(one for one in closed if whole or one.outcome != DONE), *self._meter.running(now_s)]
        unknown = [cost.kind for cost in kinds if cost.per_hour is None and cost.total.gpu_s > 0]
        notes = [f"no price of {kind} is known: what it cost is not in the sum" for kind in unknown]
        if any(run.currency != currency for run in self._kept.runs):
            notes.append("earlier runs of this job were counted in another currency: their money is not in the sum")
        if attempts and not whole:
            notes.append(f"of {len(closed)} attempts those that were lost are listed, and not those that are done")
        return CostReport(
            currency=currency,
            prices=self._prices.told,
            kinds=kinds,
            lost=lost,
            attempts=named(listed, self._orders) if attempts else (),
            earlier=self._kept.in_currency(currency),
            earlier_runs=len(self._kept.runs),
            budget=self._budget,
            notes=(*self._notes, *notes),
        )

    def _now_s(self) -> float:
        return self._clock() if self._closed_s is None else self._closed_s


def expected(work: _Map, done_money: float, begun: Sequence[Attempt]) -> tuple[float, float]:
    """What the attempts that have begun will still cost, and what the smallest segment costs that has not; 0 of what
    nothing is known yet."""
    parts = [(one, work.part(one)) for one in begun]
    known_work = work.done_work + sum(part * work.work.get(one.task, 0.0) for one, part in parts)
    if not known_work:
        return 0.0, 0.0
    rate = max(0.0, done_money + sum(one.spent.money for one, part in parts if part)) / known_work
    rest = 0.0
    for one, part in parts:
        whole = one.spent.money / part if part else rate * work.work.get(one.task, 0.0)
        rest += max(0.0, whole - one.spent.money)
    return rest, rate * work.least({one.task for one in begun})


def named(attempts: Sequence[Attempt], maps: Sequence[Sequence[Order]]) -> tuple[AttemptCost, ...]:
    """Attempts with the map and the segment that they were of."""
    wanted = {attempt.task for attempt in attempts}
    known = {order.id: order for orders in maps for order in orders if order.id in wanted}
    found = []
    for one in attempts:
        order = known[one.task]
        stage = "analyse" if isinstance(order, AnalysisOrder) else "render"
        place = (one.kind, one.node, one.slot)
        found.append(AttemptCost(stage, order.segment.index, one.number, *place, one.spent, one.outcome))
    return tuple(found)
