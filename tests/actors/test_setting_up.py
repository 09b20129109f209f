"""A renderer that hangs while it is set up is ended as one that hangs at work is."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from actors.dispatch import (
    MAX_DEATHS_IN_A_ROW,
    Assign,
    Busy,
    Decision,
    Dispatcher,
    Done,
    Event,
    Finish,
    JobAdded,
    Kill,
    NodeGone,
    NoPlace,
    Quarantine,
    Restart,
    Shun,
    SlotDied,
    SlotHere,
    SlotJoined,
    SlotReady,
    Task,
    Tick,
)
from actors.drive import Happening, Patience
from actors.pool import ClusterSpec, RayPool
from actors.worker import WorkerSettings
from farm.artifacts import DiskStore
from tests.actors.stand_ins import Clerk, clerk_orders

HANG_S = 100.0
STUCK_S = 300.0


def farm(*slots: str) -> Dispatcher:
    tasks = [Task(f"t{number}", number, 1.0) for number in range(2)]
    return Dispatcher(tasks, slots, at_s=0.0, hang_s=HANG_S, start_s=1e9)


def feed(machine: Dispatcher, at_s: float, *events: Event) -> list[Decision]:
    return [decision for event in events for decision in machine.handle(event, at_s)]


def test_one_that_has_begun_and_does_not_come_up_is_ended_and_at_last_replaced() -> None:
    machine = farm("s0", "s1")
    feed(machine, 0.0, SlotReady("s1", 1, "y"))
    at_s = 0.0
    for death in range(1, MAX_DEATHS_IN_A_ROW + 1):
        assert feed(machine, at_s, SlotHere("s0", "x"), Tick()) == []
        moves = Busy("s0", f"the library is loaded {death}")
        assert feed(machine, at_s + HANG_S / 2, moves) == []
        assert feed(machine, at_s + 1.4 * HANG_S, Busy("s1", str(death)), Tick()) == []
        at_s += 1.5 * HANG_S
        kill = Kill("s0", f"its set-up did not move for {HANG_S:g} s")
        assert feed(machine, at_s, Tick(), Tick()) == [kill]
        told = feed(machine, at_s, SlotDied("s0", "renderer died"))
        if death < MAX_DEATHS_IN_A_ROW:
            assert told == [Restart("s0", "renderer died")]
        else:
            assert told[0] == Quarantine("s0", "renderer died", "x")
            assert all(isinstance(decision, Shun) for decision in told[1:])
    assert machine.slots == {"s1"}
    told = feed(machine, at_s, Done("s1", "t0", 1), Done("s1", "t1", 1))
    assert (told[0], told[-1]) == (Assign("s1", "t1", 1), Finish(None, ""))


def test_one_that_has_not_begun_waits_for_its_node_and_one_that_is_up_may_stand_idle() -> None:
    machine = farm("waits", "idle", "works")
    feed(machine, 0.0, SlotHere("idle", "x"), SlotHere("works", "y"), SlotReady("works", 2, "y"))
    feed(machine, 1.0, SlotReady("idle", 2, "x"), SlotHere("idle", "x"))  # answers may come in any order
    feed(machine, 2.0, *[Done(slot, task, 1) for slot, (task,) in list(machine.running.items())[1:]])
    assert feed(machine, 50 * HANG_S, Tick()) == []


def test_a_node_that_goes_takes_those_with_it_that_were_set_up_there() -> None:
    machine = farm("s0", "s1")
    feed(machine, 0.0, SlotHere("s0", "x"), SlotHere("s1", "y"), NodeGone("x", "its node is gone"))
    assert machine.slots == {"s1"}
    assert machine.deaths == 1
    feed(machine, 0.0, SlotReady("s1", 1, "y"))
    assert feed(machine, HANG_S + 1.0, Tick())[0] == Kill("s1", f"segment 0 did not move for {HANG_S:g} s")


def test_a_renderer_is_lost_once_by_itself_or_with_its_node() -> None:
    machine = farm("a", "b", "c", "d")
    feed(machine, 0.0, SlotReady("a", 1, "x"), SlotReady("b", 1, "x"), SlotHere("c", "x"), SlotReady("d", 1, "y"))
    feed(machine, 1.0, SlotDied("a", "cannot be reached", blame=False), NodeGone("x", "its node is gone"))
    assert machine.deaths == 3
    feed(machine, 2.0, SlotDied("b", "renderer died"), NodeGone("x", "its node is gone"))
    assert machine.deaths == 3


class OnceStuck(Clerk):
    """A clerk whose set-up does not come to an end the first time that anyone is set up."""

    def __init__(self, settings: WorkerSettings) -> None:
        super().__init__(settings)
        self._marks = DiskStore(settings.model_cache)

    def setup(self) -> None:
        if self._marks.write("jobs/first", b""):
            time.sleep(STUCK_S)


def test_nothing_is_held_back_for_one_whose_node_cannot_be_reached_however_often_it_dies_meanwhile() -> None:
    """It has no place before a node comes; what is up takes a second task instead of leaving it for that one."""
    machine = farm("a", "b")
    feed(machine, 1.0, SlotReady("a", 1, "m"), SlotReady("b", 1, "n"))
    feed(machine, 2.0, SlotDied("a", "cannot be reached", blame=False), SlotDied("a", "renderer died"))
    assert feed(machine, 3.0, SlotReady("b", 2, "n")) == [Assign("b", "t0", 2)]


def test_nothing_is_held_back_for_one_that_was_lost_between_jobs_with_its_node() -> None:
    machine = farm("a", "b")
    feed(machine, 1.0, SlotReady("a", 1, "m"), SlotReady("b", 1, "n"))
    feed(machine, 2.0, Done("a", "t0", 1), Done("b", "t1", 1))
    assert feed(machine, 3.0, SlotDied("b", "cannot be reached", blame=False)) == []
    told = feed(machine, 4.0, SlotReady("a", 2, "m"), JobAdded("other", [Task("x", 0, 2.0), Task("y", 1, 1.0)]))
    assert told == [Restart("b", "there is work again"), Assign("a", "x", 1), Assign("a", "y", 1)]
    feed(machine, 5.0, Done("a", "x", 1), Done("a", "y", 1), SlotReady("b", 1, "n"))
    assert feed(machine, 6.0, SlotDied("b", "renderer died")) == []
    told = feed(machine, 7.0, JobAdded("third", [Task("z", 0, 2.0), Task("w", 1, 1.0)]))
    assert told == [Restart("b", "there is work again"), Assign("a", "z", 1)], "its node is there"


def test_what_is_held_back_is_held_for_one_that_has_its_place() -> None:
    """A new renderer, as one whose node is gone, waits for a node; when it begins on one, a task is left for it."""
    machine = farm("a", "b")
    feed(machine, 1.0, SlotReady("a", 1, "m"), SlotReady("b", 1, "n"), JobAdded("other", [Task("x", 0, 1.0)]))
    feed(machine, 2.0, SlotJoined("c", far=True), SlotDied("c", "renderer died"))
    assert feed(machine, 3.0, SlotReady("b", 2, "n")) == [Assign("b", "x", 1)], "it never was anywhere"
    feed(machine, 4.0, SlotHere("c", "o"), JobAdded("third", [Task("y", 0, 1.0)]))
    assert feed(machine, 5.0, SlotReady("a", 2, "m")) == []
    feed(machine, 6.0, SlotDied("c", "renderer died"))
    assert feed(machine, 7.0, SlotReady("a", 2, "m")) == [], "it begins again there"
    assert feed(machine, 8.0, SlotReady("c", 2, "o")) == [Assign("c", "y", 1)]


def test_no_job_ends_for_want_of_a_place_while_one_is_set_up() -> None:
    """The renderer that is left began again on a node where nothing new goes."""
    machine = farm("a", "b")
    feed(machine, 1.0, SlotReady("a", 1, "m"), SlotReady("b", 1, "m"))
    feed(machine, 2.0, SlotDied("b", "cannot be reached", blame=False), SlotHere("b", "m"))
    for number in range(MAX_DEATHS_IN_A_ROW):
        feed(machine, 3.0 + number, SlotDied("a", "renderer died"))
    assert machine.slots == {"b"}
    for _ in range(2):
        assert feed(machine, 8.0, NoPlace("no node has room")) == []
        assert machine.open
        feed(machine, 9.0, SlotDied("b", "renderer died"))
    assert machine.open


@pytest.mark.heavy
def test_on_ray_a_renderer_that_hangs_in_its_set_up_is_ended_and_the_next_one_works(
    cluster: None, tmp_path: Path
) -> None:
    patience = Patience(hang_s=4.0, start_s=STUCK_S)
    spec = ClusterSpec(None, workers=1, cpu_workers=1, cores=2, patience=patience)
    pool = RayPool(WorkerSettings(str(tmp_path / "marks"), 1, 1), spec, make=OnceStuck)
    heard: list[Happening] = []
    begun_s = time.monotonic()
    try:
        store = DiskStore(str(tmp_path / "store"))
        batch = pool.run(clerk_orders(2), lambda what, _: heard.append(what), store=store, stop_on_damage=True)
    finally:
        pool.close()
    assert (batch.error, len(batch.receipts)) == (None, 2)
    assert time.monotonic() - begun_s < STUCK_S
    assert sum(isinstance(what, SlotHere) for what in heard) >= 1
