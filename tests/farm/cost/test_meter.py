"""The meter on short stories, second by second."""

from __future__ import annotations

import pytest

from actors.dispatch import (
    Assign,
    Beat,
    Cancel,
    Done,
    NodeGone,
    Restart,
    SlotDied,
    SlotJoined,
    SlotLeft,
    SlotReady,
    Tick,
)
from core.records.cost import KindCost
from farm.cost.meter import BOOT_S, DIED, DONE, GONE, LATER, STOPPED, Meter
from farm.cost.spending import machine_of
from tests.farm.cost.books import price_of, sums


def only(meter: Meter, at_s: float) -> KindCost:
    (cost,) = meter.kinds(at_s)
    return cost


def test_a_slot_s_life_second_by_second() -> None:
    meter = Meter(price_of)
    meter.hear(SlotJoined("s", "n", "k0"), 10)
    meter.hear(SlotReady("s", 2), 30)
    meter.hear(Assign("s", "a", 1), 35)
    meter.hear(Assign("s", "b", 1), 36)
    meter.hear(Done("s", "a", 1), 50)
    meter.hear(SlotDied("s", "killed"), 60)
    meter.hear(Restart("s", "killed"), 60)
    meter.hear(SlotReady("s", 2), 70)
    meter.hear(Assign("s", "b", 2), 70)
    meter.hear(Done("s", "b", 2), 95)
    meter.close(100)
    cost = only(meter, 100)
    seconds = {name: getattr(cost, name).slot_s for name in ("done", "lost", "running", "idle", "starting")}
    assert seconds == {"done": 40, "lost": 10, "running": 0, "idle": 10, "starting": 30}
    assert cost.total.money == pytest.approx(90 * 3.6 / 3600)
    assert cost.total.gpu_s == 90, "two GPUs of the node for one slot are one of the slot's"
    assert cost.total.core_s == 8 * 90
    assert [(a.task, a.number, a.spent.slot_s, a.outcome) for a in meter.attempts] == [
        ("a", 1, 15, DONE),
        ("b", 1, 10, DIED),
        ("b", 2, 25, DONE),
    ]


def test_slots_of_a_node_share_its_price_while_they_are_there() -> None:
    meter = Meter(price_of)
    meter.hear(SlotJoined("s", "n", "k0"), 0)
    meter.hear(SlotJoined("t", "n", "k0"), 100)
    meter.hear(NodeGone("n", "spot"), 200)
    meter.hear(Tick(), 500)
    cost = only(meter, 500)
    assert cost.starting.slot_s == 300
    assert cost.total.money == pytest.approx(0.2), "200 s of the node, whoever was on it"
    assert cost.total.core_s == 8 * 200


def test_whose_frames_come_pays_and_two_share() -> None:
    meter = Meter(price_of)
    meter.hear(SlotJoined("s", "n", "k0"), 0)
    meter.hear(SlotReady("s", 2), 0)
    meter.hear(Assign("s", "a", 1), 0)
    meter.hear(Assign("s", "b", 1), 0)
    meter.hear(Beat("s", "b", 1, 1), 2)  # it was faster at its first frame, and has the turn
    meter.hear(Beat("s", "a", 1, 0), 3)
    meter.hear(Beat("s", "b", 1, 50), 8)
    meter.hear(Beat("s", "a", 1, 1), 10)
    meter.hear(Done("s", "b", 1), 14)
    meter.hear(Done("s", "a", 1), 20)
    assert {attempt.task: attempt.spent.slot_s for attempt in meter.attempts} == {"b": 8 + 2, "a": 2 + 2 + 6}


def test_a_copy_that_is_late_and_a_result_of_a_lost_attempt() -> None:
    meter = Meter(price_of)
    for slot in "st":
        meter.hear(SlotJoined(slot, f"n{slot}", "k0"), 0)
        meter.hear(SlotReady(slot, 1), 0)
    meter.hear(Assign("s", "a", 1), 0)
    meter.hear(Assign("t", "a", 2), 10)
    meter.hear(Done("t", "a", 2), 30)
    meter.hear(Cancel("s", "a", 1, LATER), 30)
    meter.hear(Done("s", "a", 1), 31)
    meter.hear(Assign("s", "b", 1), 40)
    meter.hear(NodeGone("ns", "spot"), 60)
    meter.hear(Assign("t", "b", 2), 60)
    assert sums(meter, 61)["k0"] == {"done": 20, "lost": 50, "running": 1, "idle": 50, "starting": 0}
    meter.hear(Done("s", "b", 1), 65)  # it had published before its node went
    meter.hear(Cancel("t", "b", 2, LATER), 65)
    assert sums(meter, 65)["k0"] == {"done": 40, "lost": 35, "running": 0, "idle": 50, "starting": 0}
    assert {why: purse.slot_s for why, purse in meter.lost.items()} == {LATER: 35, GONE: 0}


def test_what_is_known_only_when_a_slot_is_ready_is_charged_then() -> None:
    meter = Meter(price_of)
    meter.begins(100)
    meter.hear(SlotJoined("s"), 105)
    assert meter.kinds(150) == ()
    meter.hear(SlotReady("s", 2, "n", "k1"), 165)
    meter.hear(SlotReady("t", 2, "n", "k1"), 175)
    cost = only(meter, 175)
    assert cost.starting.slot_s == 60 + 75
    assert cost.starting.money == pytest.approx(60 * 7.2 / 3600), "the node booted once"
    meter.hear(SlotReady("u", 2, "m", "k1"), 100 + 10 * BOOT_S)
    assert only(meter, 100 + 10 * BOOT_S).starting.slot_s == 60 + 75 + BOOT_S, "it was not there for all that time"


def test_a_slot_that_never_came_up_costs_nothing() -> None:
    meter = Meter(price_of)
    meter.begins(0)
    meter.hear(SlotJoined("s"), 0)
    meter.hear(SlotLeft("s", "it is not needed any more"), 900)
    meter.close(1000)
    assert meter.kinds(1000) == ()


def test_the_next_run_of_the_pool_begins_with_who_is_there() -> None:
    meter = Meter(price_of)
    meter.begins(0)
    for slot in "stu":
        meter.hear(SlotReady(slot, 2, f"n{slot}", "k0"), 10)
    meter.begins(50)
    meter.hear(SlotReady("s", 2, "ns", "k0"), 60)
    meter.hear(SlotReady("t", 2, "nt", "k0"), 60)
    meter.hear(Assign("s", "a", 1), 60)
    meter.hear(SlotReady("u", 2, "nu", "k0"), 80)
    meter.hear(Done("s", "a", 1), 80)
    assert sums(meter, 80)["k0"] == {"done": 20, "lost": 0, "running": 0, "idle": 150 + 20, "starting": 30 + 30}


def test_what_runs_when_the_run_ends_is_lost() -> None:
    meter = Meter(price_of)
    meter.hear(SlotReady("s", 2, "n", "k0"), 0)
    meter.hear(Assign("s", "a", 1), 0)
    meter.close(7)
    meter.close(9)
    assert [(a.task, a.outcome, a.spent.slot_s) for a in meter.attempts] == [("a", STOPPED, 7)]
    assert meter.spent(1000).slot_s == 7


def test_a_machine_without_a_price_has_cores_and_costs_nothing() -> None:
    meter = Meter(price_of, machine_of(6))
    for slot in "st":
        meter.hear(SlotReady(slot, 2, "here", "cpu"), 0)
    meter.hear(SlotReady("gpu", 2, "there", "NVIDIA L4"), 0)
    cpu, gpu = meter.kinds(10)
    assert (cpu.per_hour, cpu.total.money, cpu.total.gpu_s, cpu.total.core_s) == (None, 0, 0, 60)
    assert (gpu.per_hour, gpu.total.money, gpu.total.gpu_s) == (None, 0, 10)


def test_in_a_shared_pool_a_job_pays_for_its_own_turns_alone() -> None:
    meter = Meter(price_of, shared=True)
    meter.hear(SlotJoined("s", "n", "k0"), 0)
    meter.hear(SlotReady("s", 2), 20)
    meter.hear(Assign("s", "a", 1), 30)  # behind another job's
    meter.hear(Beat("s", "a", 1, 0), 50)
    meter.hear(Beat("s", "a", 1, 1), 60)
    meter.hear(Done("s", "a", 1), 75)
    assert sums(meter, 500)["k0"] == {"done": 15, "lost": 0, "running": 0, "idle": 0, "starting": 0}
