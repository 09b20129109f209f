"""Two sorts of work in one pool: what a task of the one costs says nothing of the other, until both were measured."""

from __future__ import annotations

import pytest

from actors.dispatch import Assign, Dispatcher, Done, JobAdded, SlotJoined, SlotReady, Task
from actors.drive import sort_of
from farm.bench.sleeping import film_orders

SLOW_S, FAST_S = 20.0, 2.0  # a task of cost 100 of the one sort and of the other
SLOTS = ("a", "b")


class Farm:
    """Two slots, one task at a time each."""

    def __init__(self) -> None:
        self.at_s = 0.0
        self.dispatcher = Dispatcher(None, [], at_s=0.0, hang_s=1e9, start_s=1e9, awaits_nodes=True)
        self.running: list[tuple[float, Assign]] = []
        self.assigned: list[Assign] = []
        for slot in SLOTS:
            self.tell(SlotJoined(slot, f"node-{slot}", "kind"))
            self.tell(SlotReady(slot, 1))

    def tell(self, event: object) -> None:
        for decision in self.dispatcher.handle(event, self.at_s):  # type: ignore[arg-type]
            if isinstance(decision, Assign):
                takes_s = SLOW_S if decision.task.startswith("slow") else FAST_S
                self.running.append((self.at_s + takes_s, decision))
                self.assigned.append(decision)

    def work(self, job: str, tasks: int, sort: str) -> None:
        self.tell(JobAdded(job, [Task(f"{job}-{number}", number, 100.0) for number in range(tasks)], sort=sort))
        while self.dispatcher.open:
            self.running.sort(key=lambda entry: entry[0])
            self.at_s, assign = self.running.pop(0)
            self.tell(Done(assign.slot, assign.task, assign.attempt))


def test_how_long_one_sort_takes_is_measured_apart_from_the_other() -> None:
    farm = Farm()
    farm.work("fast", 20, "analyse")
    assert farm.dispatcher.rate("kind") == pytest.approx(100 / FAST_S)
    farm.work("slow", 21, "render")
    # The same slots, so the same rate in the unit of the first sort, and the second sort's unit is ten times as heavy.
    assert farm.dispatcher.rate("kind") == pytest.approx(100 / FAST_S, rel=0.05)
    assert farm.dispatcher.copies == 0
    assert all(assign.attempt == 1 for assign in farm.assigned), "nothing was taken for late"
    farm.tell(JobAdded("slower", [Task(f"slower-{n}", n, 100.0) for n in range(12)], sort="render"))
    assert farm.dispatcher.backlog.cost == pytest.approx(10 * 100.0 * SLOW_S / FAST_S, rel=0.1)
    assert farm.dispatcher.speed == pytest.approx(2 * 100 / FAST_S, rel=0.05)


def test_sorts_of_orders() -> None:
    orders = film_orders([Task("0", 0, 24.0)])
    assert sort_of(orders) == "render inswapper_128"
    assert sort_of([]) == "analyse"
