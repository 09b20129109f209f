"""The laws of the meter, on farms in which everything goes wrong: each second of each slot is counted once."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis.stateful import invariant

from actors.dispatch import Decision, Event
from core.records.cost import Spent
from farm.cost.meter import DONE, Meter
from farm.cost.prices import Price
from farm.simulate.scene import NodeType, Scene
from farm.simulate.world import World
from tests.actors.test_dispatch_random import Farm
from tests.farm.cost.books import HOURLY, SlowBooks, price_of, sums


class Overheard:
    """A dispatcher of which the meter and the slow books hear."""

    def __init__(self, machine: Any, farm: MeteredFarm) -> None:
        self._machine = machine
        self._farm = farm

    def __getattr__(self, name: str) -> Any:
        return getattr(self._machine, name)

    def handle(self, event: Event, at_s: float) -> list[Decision]:
        self._farm.overhear(event, at_s)
        decisions: list[Decision] = self._machine.handle(event, at_s)
        for decision in decisions:
            self._farm.overhear(decision, at_s)
        return decisions


class MeteredFarm(Farm):
    """The random farm of tests/actors with a meter beside it."""

    def obey(self, event: Event) -> None:
        if not isinstance(self.machine, Overheard):
            self.machine = Overheard(self.machine, self)  # type: ignore[assignment]
            self.meter = Meter(price_of)
            self.slow = SlowBooks()
        super().obey(event)

    def overhear(self, happening: Event | Decision, at_s: float) -> None:
        self.meter.hear(happening, at_s)
        self.slow.hear(happening, at_s)

    @invariant()
    def every_second_is_counted_once_and_for_what_it_was(self) -> None:
        self.slow.pass_time(self.now_s)
        books, slow = sums(self.meter, self.now_s), self.slow
        for kind in HOURLY:
            found = books.get(kind, dict.fromkeys(("done", "lost", "running", "idle", "starting"), 0.0))
            for part in ("done", "lost", "running"):
                assert found[part] == pytest.approx(slow.of(kind, part)), (kind, part)
            for part in ("idle", "starting"):
                assert found[part] == pytest.approx(slow.seconds[kind, part]), (kind, part)

    @invariant()
    def money_of_attempts_and_lost_work_is_that_of_the_slots(self) -> None:
        for cost in self.meter.kinds(self.now_s):
            busy = cost.done + cost.lost + cost.running
            assert busy.money == pytest.approx(self.slow.money[cost.kind, "busy"])
            assert cost.idle.money == pytest.approx(self.slow.money[cost.kind, "idle"])
            assert cost.starting.money == pytest.approx(self.slow.money[cost.kind, "starting"])

    @invariant()
    def attempts_add_up(self) -> None:
        over, under_way = list(self.meter.attempts), self.meter.running(self.now_s)
        names = [(attempt.task, attempt.number) for attempt in (*over, *under_way)]
        assert len(set(names)) == len(names), "an attempt is in the books twice"
        assert set(names) == set(self.slow.how)
        for attempt in (*over, *under_way):
            assert attempt.spent.slot_s == pytest.approx(self.slow.attempts[attempt.task, attempt.number])
        done = sum((attempt.spent for attempt in over if attempt.outcome == DONE), Spent())
        lost = sum((attempt.spent for attempt in over if attempt.outcome != DONE), Spent())
        kinds = self.meter.kinds(self.now_s)
        assert done.money == pytest.approx(sum(cost.done.money for cost in kinds))
        assert lost.money == pytest.approx(sum(cost.lost.money for cost in kinds))
        assert lost.money == pytest.approx(sum(purse.money for purse in self.meter.lost.values()))

    @invariant()
    def a_task_is_done_by_one_attempt(self) -> None:
        done = [attempt.task for attempt in self.meter.attempts if attempt.outcome == DONE]
        assert len(done) == len(set(done))


TestMeteredFarm = MeteredFarm.TestCase
TestMeteredFarm.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


class MeteredWorld(World):
    """The simulated farm with a meter beside it."""

    def __init__(self, scene: Scene, meter: Meter) -> None:
        self.meter = meter
        super().__init__(scene)
        tell = self.dispatcher.handle

        def handle(event: Event, at_s: float) -> list[Decision]:
            meter.hear(event, at_s)
            decisions = tell(event, at_s)
            for decision in decisions:
                meter.hear(decision, at_s)
            return decisions

        self.dispatcher.handle = handle  # type: ignore[method-assign]


@pytest.mark.parametrize("slots", [1, 4])
def test_the_simulator_comes_to_the_same_sum_of_money(slots: int) -> None:
    """The simulator adds up what its nodes cost from their first boot to their end, without looking at slots; what they
    cost while none is there, nobody else sees. No renderer is being set up on a new node at the end of this night: the
    meter counts that when it is done."""
    types = (
        NodeType("spot", slots=slots, rate=40.0, share=0.7, price_h=0.4),
        NodeType("own", slots=slots, rate=20.0, share=0.3, price_h=1.1, spot=False),
    )
    scene = Scene(
        nodes=20,
        segments=600 * slots,
        types=types,
        fixed=True,
        loss_per_hour=6.0,
        notice_share=0.0,
        slow_nodes=0.1,
        hang_share=0.005,
        seed=7,
    )
    hourly = {kind.name: kind.price_h for kind in types}
    meter = Meter(lambda kind: Price(kind, "", hourly[kind], gpus=slots) if kind else None)
    world = MeteredWorld(scene, meter)
    world.run()
    meter.close(world.now_s)
    assert world.sums.losses > 10
    assert 0 < world.sums.empty_money < 0.1 * world.sums.money
    assert meter.spent(world.now_s).money == pytest.approx(world.sums.money - world.sums.empty_money, rel=1e-9)
    kinds = meter.kinds(world.now_s)
    assert sum(cost.lost.slot_s for cost in kinds) > 0
    assert sum(cost.running.slot_s for cost in kinds) == 0
    assert sum(attempt.outcome == DONE for attempt in meter.attempts) == 600 * slots
    for cost in kinds:
        up = cost.done + cost.lost + cost.idle
        assert up.gpu_s == pytest.approx(up.slot_s), "one GPU a slot while a node has all its slots"
