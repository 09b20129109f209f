"""The simulator against the real loop (actors.drive) over renderers of virtual time, and the machinery of
`farm bench farm` over real threads. How near real Ray is, in seconds, is what `farm bench farm` measures."""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.dispatch import Assign, Beat, Done, Event, NodeDecision, SlotDied, SlotReady
from actors.drive import Happening, JobStore, Order, Patience, Receipt, drive
from actors.local import LocalPool
from actors.worker import WorkerSettings
from core.records import WorkOrder
from farm.artifacts import DiskStore
from farm.bench.farm import FACES_A_SECOND, small_scene
from farm.bench.instant import drive_instantly
from farm.bench.sleeping import Pace, film_orders, receipt_of
from farm.simulate.outcome import simulate

BEAT_S = 1.0
RESTART_S = 15.0
STORE = DiskStore("unused")


def deaf(happening: Happening, at_s: float) -> None:
    assert at_s >= 0, happening


class VirtualRenderers:
    """A transport whose renderers take virtual time, by the rules of farm.bench.sleeping; `deaths` are (time, slot)."""

    def __init__(self, prepare_s: float, deaths: list[tuple[float, int]]) -> None:
        self.now_s = 0.0
        self._prepare_s = prepare_s
        self._heap: list[tuple[float, int, Event, Receipt | None]] = []
        self._count = 0
        self._queues: dict[str, deque[tuple[Assign, WorkOrder, float]]] = {}
        self._begun: dict[str, float] = {}
        self._life: dict[str, int] = {}
        self._deaths = deaths

    def clock(self) -> float:
        return self.now_s

    def _at(self, at_s: float, event: Event, receipt: Receipt | None = None) -> None:
        self._count += 1
        heapq.heappush(self._heap, (at_s, self._count, event, receipt))

    def start(self, slot: str) -> None:
        self._queues[slot] = deque()
        self._begun.pop(slot, None)
        first = slot not in self._life
        self._life[slot] = self._life.get(slot, 0) + 1
        self._at(self.now_s + (0.0 if first else RESTART_S), SlotReady(slot, 2))
        if first:
            for at_s, number in self._deaths:
                if slot == f"s{number}":
                    self._at(at_s, SlotDied(slot, "killed"))

    def restart(self, slot: str) -> None:
        self.start(slot)

    def submit(self, assign: Assign, order: Order, store: JobStore) -> None:
        assert store
        assert isinstance(order, WorkOrder)
        self._queues[assign.slot].append((assign, order, self.now_s + self._prepare_s))
        self._turn(assign.slot)

    def wake(self) -> None:
        raise AssertionError("there is one thread")

    def cancel(self, slot: str, task: str, attempt: int) -> None:
        queue = self._queues[slot]
        for entry in [entry for entry in queue if (entry[0].task, entry[0].attempt) == (task, attempt)]:
            if entry is queue[0]:
                self._begun.pop(slot, None)
            queue.remove(entry)
        self._turn(slot)

    def _turn(self, slot: str) -> None:
        if self._queues[slot] and slot not in self._begun:
            assign, order, ready_s = self._queues[slot][0]
            self._begun[slot] = max(self.now_s, ready_s)
            ends_s = self._begun[slot] + order.segment.frames / FACES_A_SECOND
            beat_s = self._begun[slot]
            while beat_s < ends_s:
                self._at(beat_s, Beat(slot, assign.task, assign.attempt, int((beat_s - self._begun[slot]) * 24) + 1))
                beat_s += BEAT_S
            self._at(ends_s, Done(slot, assign.task, assign.attempt), receipt_of(order, assign.attempt))

    def kill(self, slot: str) -> None:
        raise AssertionError(f"{slot} does not hang")

    def retire(self, slot: str) -> None:
        raise AssertionError(f"{slot} does not die so often")

    def regard(self, decision: NodeDecision) -> None:
        raise AssertionError(f"no node is bad: {decision}")

    @property
    def report(self) -> str:
        return ""

    def poll(self, timeout_s: float) -> list[tuple[Event, Receipt | None]]:
        until_s = self.now_s + timeout_s
        while self._heap and self._heap[0][0] <= until_s:
            at_s, _, event, receipt = heapq.heappop(self._heap)
            self.now_s = max(self.now_s, at_s)
            if self._happens(event):
                return [(event, receipt)]
        self.now_s = until_s
        return []

    def _happens(self, event: Event) -> bool:
        """Whether the event is of something that still is so."""
        if isinstance(event, Done | Beat):
            queue = self._queues[event.slot]
            current = queue and (queue[0][0].task, queue[0][0].attempt) == (event.task, event.attempt)
            if not current or event.slot not in self._begun:
                return False
            if isinstance(event, Done):
                queue.popleft()
                del self._begun[event.slot]
                self._turn(event.slot)
        if isinstance(event, SlotDied):
            self._queues[event.slot].clear()
            self._begun.pop(event.slot, None)
        return True


@settings(max_examples=40)
@given(
    renderers=st.integers(1, 8),
    segments=st.integers(1, 80),
    segment_s=st.sampled_from([2.0, 20.0, 60.0]),
    seed=st.integers(0, 99),
)
def test_the_real_loop_takes_what_the_simulator_says(
    renderers: int, segments: int, segment_s: float, seed: int
) -> None:
    scene = replace(small_scene(renderers, segments, segment_s), seed=seed)
    virtual = VirtualRenderers(scene.prepare_s, [])
    slots = [f"s{number}" for number in range(renderers)]
    orders = film_orders(scene.tasks(0))
    batch = drive(virtual, slots, orders, STORE, Patience(600.0, 600.0), deaf, virtual.clock)
    assert batch.error is None
    assert set(batch.receipts) == {order.id for order in orders}
    assert virtual.now_s == pytest.approx(simulate(scene).makespan_s, rel=0.1)


@settings(max_examples=40)
@given(
    renderers=st.integers(2, 6),
    segments=st.integers(1, 60),
    deaths=st.lists(st.tuples(st.floats(0.5, 120.0), st.integers(0, 5)), max_size=2),
)
def test_deaths_under_the_real_loop_cost_time_and_no_segment(
    renderers: int, segments: int, deaths: list[tuple[float, int]]
) -> None:
    scene = small_scene(renderers, segments, 10.0)
    virtual = VirtualRenderers(scene.prepare_s, deaths)
    slots = [f"s{number}" for number in range(renderers)]
    orders = film_orders(scene.tasks(0))
    batch = drive(virtual, slots, orders, STORE, Patience(600.0, 600.0), deaf, virtual.clock)
    assert batch.error is None
    assert set(batch.receipts) == {order.id for order in orders}
    # A death costs at most what was under way there, and the time until the renderer is back.
    assert virtual.now_s <= simulate(scene).makespan_s + batch.deaths * (RESTART_S + 2 * 12.5) + 25.0


def test_sleeping_renderers_on_threads_do_every_segment_once(tmp_path: Path) -> None:
    scene = small_scene(1, 12, 0.02)
    pool = LocalPool(
        WorkerSettings(model_cache="", threads=1, model_threads=1), parallel=2, make=Pace(1 / FACES_A_SECOND, 0.001)
    )
    orders = film_orders(scene.tasks(0))
    batch = pool.run(orders, deaf, store=DiskStore(str(tmp_path)), stop_on_damage=True)
    pool.close()
    assert batch.error is None
    assert {receipt.order_id: receipt.frames for receipt in batch.receipts.values()} == {
        order.id: order.segment.frames for order in orders
    }
    assert all(receipt.attempt == 1 for receipt in batch.receipts.values())


def test_a_driver_of_renderers_that_answer_at_once() -> None:
    orders = film_orders(small_scene(1, 500, 1.0).tasks(0))
    batch = drive_instantly(orders)
    assert batch.error is None
    assert len(batch.receipts) == 500
