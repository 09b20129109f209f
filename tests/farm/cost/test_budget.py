"""A budget, told by a meter that hears a story: when it stops a job, when it does not, and when a job is not begun."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from actors.dispatch import Assign, Beat, Cancel, Done, SlotJoined, SlotReady, Task, Tick
from actors.drive import Halt, Happening, Watch
from core.errors import BudgetSpent, InputError
from core.media.encode import resolve_encoder
from core.media.index import index_film
from core.records import EncodeSpec, WorkOrder
from core.records.cost import Spent
from farm.bench.sleeping import film_orders
from farm.cost.kept import Kept, RunCost
from farm.cost.listener import CostMeter
from farm.cost.meter import LATER
from farm.cost.prices import Price, Prices
from farm.cost.spending import machine_of
from tests.media_clips import make_clip

SECONDLY = Price("gpu", "spot", 3600.0, 3600.0, 3600.0, gpus=1)  # one a second
PRICES = Prices("EUR", {"gpu spot": SECONDLY}, {}, "the test's prices")
FOREIGN = Kept((RunCost(Spent(1.0, 0.0, 0.0, 1.0), "USD"),))


def orders(count: int) -> list[WorkOrder]:
    """Segments of 100 frames: equal work."""
    made = film_orders(Task(str(position), position, 100) for position in range(count))
    return [replace(order, id=f"o{order.segment.index}") for order in made]


@dataclass
class Story:
    """A job on slots of one a second, told to a meter with `budget`."""

    budget: float | None
    before: float = 0.0
    now_s: float = 0.0
    meter: CostMeter = field(init=False)
    watch: Watch = field(init=False)

    def begin(self, count: int, slots: str = "st") -> None:
        kept = Kept((RunCost(Spent(money=self.before), "EUR"),)) if self.before else Kept()
        self.meter = CostMeter(PRICES, machine_of(2), kept=kept, budget=self.budget, clock=lambda: self.now_s)
        self.meter.stage("start")
        self.watch = self.meter.watch(orders(count), orders(count))
        for slot in slots:
            self.tell(SlotJoined(slot, f"n{slot}", "gpu"), SlotReady(slot, 2))

    def tell(self, *happenings: Happening) -> None:
        for happening in happenings:
            self.watch(happening, self.now_s)

    def at(self, now_s: float, *happenings: Happening) -> None:
        self.now_s = now_s
        self.tell(*happenings, Tick())


def test_nothing_new_is_begun_when_what_runs_will_use_up_the_budget() -> None:
    story = Story(60.0)
    story.begin(20)
    story.at(0, Assign("s", "o0", 1), Assign("t", "o1", 1))
    story.at(10, Done("s", "o0", 1), Done("t", "o1", 1), Assign("s", "o2", 1), Assign("t", "o3", 1))
    story.at(19)
    with pytest.raises(Halt) as halt:  # 40 are spent, and each of the two that begin costs 10
        story.at(20, Done("s", "o2", 1), Done("t", "o3", 1), Assign("s", "o4", 1), Assign("t", "o5", 1))
    assert halt.value.finish
    assert isinstance(halt.value.error, BudgetSpent)
    assert halt.value.error.exit_code == 4
    assert str(halt.value.error).startswith(
        "the budget of 60.00 EUR is used up: 40.00 EUR is spent, and what runs takes about 20.00 EUR; "
    )
    assert "higher --max-cost" in str(halt.value.error)
    story.at(30, Done("s", "o4", 1), Done("t", "o5", 1))  # it is told once
    assert story.meter.spent() == (60.0, "EUR")


def test_what_waits_behind_another_is_not_begun_any_more() -> None:
    """Four segments on two renderers of two: all are handed out at once, and nobody knows what one costs."""
    story = Story(15.0)
    story.begin(4)
    story.at(0, *(Assign(slot, task, 1) for slot, task in zip("stst", ("o0", "o1", "o2", "o3"), strict=True)))
    story.at(7)
    with pytest.raises(Halt, match=r"used up: 15\.00 EUR is spent") as halt:
        story.at(7.5)
    assert (halt.value.finish, halt.value.waiting) == (True, False)


@pytest.mark.parametrize(("budget", "halts"), [(19.0, True), (20.0, False), (2.0, True)])
def test_a_quarter_of_a_segment_says_what_it_costs(budget: float, halts: bool) -> None:
    """10 a segment: one is under way, and a second one would follow it."""
    story = Story(budget)
    story.begin(2, slots="s")
    story.at(0, Assign("s", "o0", 1), Assign("s", "o1", 1))
    story.at(1.9, Beat("s", "o0", 1, 24))
    if not halts:
        story.at(2.5, Beat("s", "o0", 1, 25))
        story.at(10, Done("s", "o0", 1))
        return
    with pytest.raises(Halt) as halt:
        story.at(2.5, Beat("s", "o0", 1, 25))
    told = str(halt.value.error)
    assert "2.50 EUR is spent, and what runs takes about 7.50 EUR" in told
    assert ("and a segment more about 10.00 EUR" in told) == (budget > 10)


def test_what_only_has_to_be_finished_is_finished() -> None:
    story = Story(5.0)
    story.begin(2)
    story.at(0, Assign("s", "o0", 1), Assign("t", "o1", 1))
    story.at(100, Done("s", "o0", 1))
    story.at(200, Assign("s", "o1", 2))
    story.at(210, Done("s", "o1", 2), Cancel("t", "o1", 1, LATER))
    story.at(220)
    assert story.meter.spent_of_job() == 440.0


def test_former_runs_count() -> None:
    story = Story(60.0, before=55.0)
    story.begin(20, slots="s")
    story.at(0, Assign("s", "o0", 1))
    story.at(4)
    with pytest.raises(Halt, match=r"60\.00 EUR is used up: 60\.00 EUR"):
        story.at(5)
    assert story.meter.report().earlier_runs == 1
    assert story.meter.report().job.money == 60.0


def test_a_budget_that_is_used_up_begins_nothing() -> None:
    with pytest.raises(BudgetSpent, match=r"used up: 60\.00 EUR"):
        Story(50.0, before=60.0).begin(3)


def test_work_that_costs_more_at_least_is_not_begun(clips: Path) -> None:
    index = index_film(make_clip("cfr_mp4", clips))
    encoder = resolve_encoder(index, EncodeSpec(), "mp4")
    meter = CostMeter(PRICES, machine_of(2), budget=10.0, least=lambda load: load.render_frames / 5)
    with pytest.raises(InputError, match=r"the budget of 10\.00 EUR cannot do"):
        meter.film(index, encoder, looks=False, renders=True)
    meter.film(index, encoder, looks=True, renders=False)
    film = orders(2)
    meter.watch(film, [])
    with pytest.raises(InputError, match=r"cannot do: what is open costs 40\.00 EUR at least") as error:
        meter.watch(film, film)
    assert "--max-cost 40.00" in error.value.hint


def test_money_of_another_currency_holds_no_budget() -> None:
    with pytest.raises(InputError, match="counted in USD"):
        CostMeter(PRICES, machine_of(2), kept=FOREIGN, budget=10.0)
    told = CostMeter(PRICES, machine_of(2), kept=FOREIGN).report()
    assert told.earlier.slot_s == 1.0
    assert told.earlier.money == 0.0
    assert "another currency" in told.notes[0]


def test_a_gpu_without_a_price_holds_no_budget() -> None:
    story = Story(60.0)
    story.begin(5, slots="")
    story.tell(SlotJoined("s", "n", "NVIDIA H200"), SlotReady("s", 2))
    story.at(0, Assign("s", "o0", 1))
    with pytest.raises(Halt, match="no price of NVIDIA H200 is known"):
        story.at(1)
    free = Story(None)
    free.begin(5, slots="")
    free.tell(SlotJoined("s", "n", "NVIDIA H200"), SlotReady("s", 2))
    free.at(0, Assign("s", "o0", 1))
    free.at(9)
    assert free.meter.spent() is None
    assert "no price of NVIDIA H200" in free.meter.report().notes[0]


def test_the_report_names_segments() -> None:
    story = Story(None)
    story.begin(2, slots="s")
    story.at(0, Assign("s", "o1", 1))
    story.at(3, Done("s", "o1", 1), Assign("s", "o0", 1))
    story.now_s = 5
    report = story.meter.report()
    listed = [(one.stage, one.segment, one.attempt, one.kind, one.spent.money, one.outcome) for one in report.attempts]
    assert listed == [("render", 1, 1, "gpu", 3.0, "done"), ("render", 0, 1, "gpu", 2.0, "running")]
    assert report.spent.gpu_s == 5
    story.now_s = 6
    story.meter.close()
    story.now_s = 100
    assert story.meter.report().spent.money == 6.0
    assert story.meter.report(attempts=False).attempts == ()
