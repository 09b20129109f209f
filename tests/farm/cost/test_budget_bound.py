"""How far a budget can be passed: by what has its turn when it is reached, and by nothing that only waits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from actors.dispatch import Assign, Decision, Done, Event, JobStopped
from actors.drive import Halt, JobStore, Order, Receipt
from actors.local import LocalPool
from actors.worker import WorkerSettings
from core.errors import BudgetSpent, Interrupted
from core.records import WorkOrder
from farm.artifacts import DiskStore
from farm.bench.sleeping import film_orders, receipt_of
from farm.cost.listener import CostMeter
from farm.cost.prices import Price, Prices
from farm.cost.spending import machine_of
from farm.simulate.scene import NodeType, Scene
from farm.simulate.world import TICK_S, World
from tests.actors.stand_ins import clerk_orders

HOLD_S = 60.0


def prices(per_hour: float, *kinds: str) -> Prices:
    return Prices("EUR", {f"{kind} spot": Price(kind, "spot", per_hour) for kind in kinds}, {}, "the test's prices")


class Held:
    """A renderer that works on one segment until another one, which waits for its turn, is taken away from it."""

    def __init__(self) -> None:
        self.words = ""
        self.begun: list[str] = []
        self.over = threading.Event()
        self._turn = threading.Lock()

    def setup(self) -> None:
        """Nothing to load."""

    def work(self, order: Order, attempt: int, heartbeat: Callable[[int], None], store: JobStore) -> Receipt:
        del store
        assert isinstance(order, WorkOrder)
        try:
            while not self._turn.acquire(timeout=0.01):
                heartbeat(0)
        except Interrupted:
            self.over.set()
            raise
        try:
            self.begun.append(order.id)
            heartbeat(1)
            self.over.wait(HOLD_S)
        finally:
            self._turn.release()
        return receipt_of(order, attempt)


def test_a_renderer_of_this_process_finishes_what_it_works_on_and_begins_nothing(tmp_path: Path) -> None:
    """Two segments, both handed out at once; the budget is reached as soon as time passes."""
    worker = Held()
    meter = CostMeter(prices(3.6e9, "cpu"), machine_of(2), budget=1.0)
    orders = clerk_orders(2)
    pool = LocalPool(WorkerSettings("", 1, 1, device="cpu"), parallel=2, make=lambda _: worker)
    try:
        meter.stage("start")
        watch = meter.watch(orders, orders)
        batch = pool.run(orders, watch, store=DiskStore(str(tmp_path)), stop_on_damage=True)
    finally:
        worker.over.set()
        pool.close()
    assert isinstance(batch.error, BudgetSpent)
    assert set(batch.receipts) == set(worker.begun)
    assert len(worker.begun) == 1


class BudgetWorld(World):
    """The simulated farm, whose only job a meter with a budget watches, as the loop lets it."""

    def __init__(self, scene: Scene, meter: CostMeter) -> None:
        super().__init__(scene)
        orders = [replace(order, id=f"0/{order.segment.index}") for order in film_orders(scene.tasks(0))]
        self._watch = meter.watch(orders, orders)
        self._decide = self.dispatcher.handle
        self.halted_s: float | None = None
        self.assigned_after = 0
        self.done_after: list[str] = []
        self.dispatcher.handle = self._handle  # type: ignore[method-assign]

    def _handle(self, event: Event, at_s: float) -> list[Decision]:
        halts = self._hear([event], at_s)
        decisions = self._decide(event, at_s)
        halts += self._hear(decisions, at_s)
        for halt in halts:
            self.halted_s = at_s
            stopped = self._decide(JobStopped("0", halt.error, halt.finish, halt.waiting), at_s)
            self._hear(stopped, at_s)
            decisions += stopped
        return decisions

    def _hear(self, happenings: Sequence[Event | Decision], at_s: float) -> list[Halt]:
        halts = []
        for happening in happenings:
            if self.halted_s is not None:
                self.assigned_after += isinstance(happening, Assign)
                if isinstance(happening, Done):
                    self.done_after.append(happening.slot)
            try:
                self._watch(happening, at_s)
            except Halt as halt:
                halts.append(halt)
        return halts


def run(nodes: int, segments: int, budget: float, *, spread: float = 0.0) -> tuple[BudgetWorld, CostMeter]:
    """Nodes of one a second, and segments of about 20 s."""
    kind = NodeType("gpu", rate=50.0, boot_s=0.0)
    scene = Scene(nodes, segments, types=(kind,), fixed=True, noise=0.0, spread=spread, prepare_s=0.0)
    worlds: list[BudgetWorld] = []
    clock = lambda: worlds[0].now_s if worlds else 0.0  # noqa: E731
    meter = CostMeter(prices(3600.0, "gpu"), machine_of(2), budget=budget, clock=clock)
    meter.stage("start")
    worlds.append(world := BudgetWorld(scene, meter))
    world.run()
    return world, meter


def test_fewer_segments_than_renderers_have_room_for() -> None:
    """Two renderers with two segments each from the first moment on: 80 in all, of which 15 may be spent."""
    world, meter = run(2, 4, 15.0)
    assert world.sums.done == 2
    assert world.now_s <= 20.0 + TICK_S
    assert meter.spent_of_job() <= 2 * (20.0 + TICK_S)


@settings(max_examples=60)
@given(
    nodes=st.integers(1, 6),
    segments=st.integers(1, 40),
    share=st.floats(0.01, 1.3),
    spread=st.sampled_from([0.0, 0.5]),
)
def test_no_renderer_does_more_than_one_segment_after_the_end_of_the_budget(
    nodes: int, segments: int, share: float, spread: float
) -> None:
    budget = share * 20.0 * segments
    world, meter = run(nodes, segments, budget, spread=spread)
    if world.halted_s is None:
        assert world.sums.done == segments
        return
    assert world.assigned_after == 0
    assert len(world.done_after) == len(set(world.done_after)) <= nodes
    # Everybody's time until the last one is done; the meter looks at every tick.
    assert meter.spent_of_job() <= budget + nodes * (30.0 + 2 * TICK_S)
