"""The rules of actors.dispatch, case by case; random sequences of events are in test_dispatch_random.py.

Contract: longest first; a lost task goes to the front; three losses poison it; a task lost once runs alone; four
deaths in a row quarantine a slot; damage drops what comes after it and finishes what comes before; nothing is lost,
nothing is done by two current attempts at once, and the end is said once.
"""

from __future__ import annotations

import pytest

from actors.dispatch import (
    MAX_DEATHS_IN_A_ROW,
    MAX_TRIES,
    Assign,
    Beat,
    Busy,
    Cancel,
    Decision,
    Dispatcher,
    Done,
    Event,
    Failed,
    Finish,
    Kill,
    Quarantine,
    Restart,
    SlotDied,
    SlotReady,
    Task,
    Tick,
)
from core.errors import InputError, WorkerLost


def tasks(*costs: float) -> list[Task]:
    """Tasks named a, b, c ... in the order of the film."""
    return [Task("abcdefghijklmnop"[position], position, cost) for position, cost in enumerate(costs)]


def dispatcher(costs: list[float], slots: str = "1", *, hang_s: float = 100, start_s: float = 1000) -> Dispatcher:
    return Dispatcher(tasks(*costs), list(slots), at_s=0.0, hang_s=hang_s, start_s=start_s)


def feed(machine: Dispatcher, *events: Event, at_s: float = 0.0) -> list[Decision]:
    """All decisions that the events lead to."""
    return [decision for event in events for decision in machine.handle(event, at_s)]


def assigned(decisions: list[Decision]) -> list[tuple[str, str, int]]:
    return [(d.slot, d.task, d.attempt) for d in decisions if isinstance(d, Assign)]


def end(decisions: list[Decision]) -> Finish:
    return next(d for d in decisions if isinstance(d, Finish))


# ---------------------------------------------------------------- order


def test_longest_first_and_ties_in_film_order() -> None:
    machine = dispatcher([1, 5, 3, 5])
    order = []
    decisions = feed(machine, SlotReady("1", 1))
    while assigned(decisions):
        (slot, task, attempt), *rest = assigned(decisions)
        assert not rest
        order.append(task)
        decisions = feed(machine, Done(slot, task, attempt))
    assert order == ["b", "d", "c", "a"]
    assert end(decisions).error is None
    assert machine.done == {"a", "b", "c", "d"}


def test_slots_without_work_come_before_second_tasks() -> None:
    machine = dispatcher([4, 3, 2, 1], "12")
    assert assigned(feed(machine, SlotReady("1", 2))) == [("1", "a", 1), ("1", "b", 1)]
    assert assigned(feed(machine, SlotReady("2", 2))) == [("2", "c", 1), ("2", "d", 1)]


def test_no_second_task_while_a_slot_that_starts_could_take_it() -> None:
    machine = dispatcher([4, 3], "12")
    assert assigned(feed(machine, SlotReady("1", 2))) == [("1", "a", 1)]
    assert assigned(feed(machine, SlotReady("2", 2))) == [("2", "b", 1)]


def test_empty_job_finishes_at_once() -> None:
    assert end(feed(dispatcher([]), Tick())).error is None


# ---------------------------------------------------------------- loss


def test_lost_tasks_return_to_the_front_in_film_order_and_run_alone() -> None:
    machine = dispatcher([9, 8, 7, 6])
    assert assigned(feed(machine, SlotReady("1", 2))) == [("1", "a", 1), ("1", "b", 1)]
    decisions = feed(machine, SlotDied("1", "gone"))
    assert decisions == [Restart("1", "gone")]
    assert machine.queued == ("a", "b", "c", "d")
    assert assigned(feed(machine, SlotReady("1", 2))) == [("1", "a", 2)]
    assert assigned(feed(machine, Done("1", "a", 2))) == [("1", "b", 2)]
    assert assigned(feed(machine, Done("1", "b", 2))) == [("1", "c", 1), ("1", "d", 1)]


def test_three_losses_of_the_only_slot_poison() -> None:
    machine = dispatcher([9, 8, 7])
    feed(machine, SlotReady("1", 1))
    decisions: list[Decision] = []
    for attempt in range(1, MAX_TRIES + 1):
        assert machine.running["1"] == ("a",), attempt
        decisions = feed(machine, SlotDied("1", "killed by signal 9"), SlotReady("1", 1))
    verdict = end(decisions).error
    assert isinstance(verdict, WorkerLost)
    assert "segment 0 took down its renderer 3 times" in str(verdict)
    assert "signal 9" in str(verdict)
    assert machine.dropped == {"a", "b", "c"}


def test_three_losses_elsewhere_poison_and_what_runs_is_kept() -> None:
    machine = dispatcher([9, 8, 7, 1], "1234")
    feed(machine, SlotReady("1", 1), SlotReady("2", 1))
    decisions: list[Decision] = []
    for slot, other in ("13", "34", "41"):
        assert machine.running[slot] == ("a",)
        decisions = feed(machine, SlotDied(slot, "killed"), *([SlotReady(other, 1)] if other != "1" else []))
    assert machine.queued == ()
    assert not any(isinstance(d, Finish) for d in decisions), "b still runs"
    assert isinstance(end(feed(machine, Done("2", "b", 1))).error, WorkerLost)
    assert machine.done == {"b"}
    assert machine.dropped == {"a", "c", "d"}


def test_a_poisonous_neighbour_costs_the_innocent_one_try_only() -> None:
    machine = dispatcher([9, 8])
    feed(machine, SlotReady("1", 2))
    feed(machine, SlotDied("1", "x"), SlotReady("1", 2))
    assert machine.running["1"] == ("a",)
    feed(machine, SlotDied("1", "x"), SlotReady("1", 2))
    decisions = feed(machine, SlotDied("1", "x"), SlotReady("1", 2))
    assert isinstance(end(decisions).error, WorkerLost)
    assert machine.dropped == {"a", "b"}


def test_four_deaths_in_a_row_quarantine_a_slot_and_the_others_go_on() -> None:
    machine = dispatcher([5, 4, 3, 2, 1], "12")
    feed(machine, SlotReady("2", 1))
    decisions: list[Decision] = []
    for _ in range(MAX_DEATHS_IN_A_ROW):
        decisions = feed(machine, SlotDied("1", "no memory"))
    assert decisions == [Quarantine("1", "no memory")]
    assert feed(machine, SlotReady("1", 1)) == []
    running = "a"
    while not machine.finished:
        feed(machine, Done("2", running, 1))
        running = next(iter(machine.running["2"]), "")
    assert machine.done == set("abcde")


def test_a_success_ends_a_row_of_deaths() -> None:
    machine = dispatcher([1] * 16)
    decisions: list[Decision] = []
    for _ in range(6):
        current = assigned(feed(machine, SlotReady("1", 1)))
        if not current:
            current = [("1", machine.running["1"][0], 1)]
        feed(machine, Done("1", current[0][1], current[0][2]))
        decisions = feed(machine, SlotDied("1", "x"))
        assert isinstance(decisions[0], Restart)
        feed(machine, SlotReady("1", 1))
        feed(machine, Done("1", machine.running["1"][0], 2))


def test_all_slots_quarantined_ends_the_job_with_everything_finished_kept() -> None:
    machine = dispatcher([3, 2, 1])
    feed(machine, SlotReady("1", 1), Done("1", "a", 1))
    decisions: list[Decision] = []
    for _ in range(MAX_DEATHS_IN_A_ROW):
        decisions = feed(machine, SlotDied("1", "x"))
    assert isinstance(decisions[0], Quarantine)
    assert isinstance(end(decisions).error, WorkerLost)
    assert machine.done == {"a"}


def test_a_late_result_of_a_lost_attempt_counts_once() -> None:
    machine = dispatcher([2, 1], "12")
    feed(machine, SlotReady("1", 1))
    feed(machine, SlotDied("1", "out of reach"))
    assert assigned(feed(machine, Done("1", "a", 1), SlotReady("2", 1))) == [("2", "b", 1)]
    assert end(feed(machine, Done("2", "b", 1))).error is None


def test_when_a_lost_attempt_answers_after_all_the_one_in_its_place_is_cancelled() -> None:
    machine = dispatcher([2], "12")
    feed(machine, SlotReady("1", 1), SlotDied("1", "out of reach"), SlotReady("2", 1))
    assert machine.running["2"] == ("a",)
    cancel, finish = feed(machine, Done("1", "a", 1))
    assert cancel == Cancel("2", "a", 2, "another attempt was first")
    assert finish == Finish(None)
    assert feed(machine, Done("2", "a", 2), SlotDied("2", "x")) == []


@pytest.mark.parametrize(
    "event",
    [Done("1", "zz", 1), Failed("1", "a", 7, InputError("x")), Beat("1", "b", 1, 5), SlotDied("9", "x"), Tick()],
    ids=lambda event: type(event).__name__,
)
def test_events_of_unknown_slots_tasks_and_attempts_change_nothing(event: Event) -> None:
    machine = dispatcher([2])
    feed(machine, SlotReady("1", 2))
    assert feed(machine, event) == []
    assert machine.running == {"1": ("a",)}


# ---------------------------------------------------------------- errors, damage, time


def test_an_error_of_the_work_is_not_retried_and_the_first_one_is_told() -> None:
    machine = dispatcher([3, 2, 1], "12")
    feed(machine, SlotReady("1", 1), SlotReady("2", 1))
    first = InputError("unreadable", where="film.mp4")
    assert feed(machine, Failed("1", "a", 1, first)) == []
    assert end(feed(machine, Failed("2", "b", 1, InputError("other")))).error is first
    assert machine.dropped == {"a", "b", "c"}


def test_damage_drops_what_is_after_it_and_finishes_what_is_before_it() -> None:
    machine = dispatcher([1, 2, 3, 4, 5], "12")
    assert assigned(feed(machine, SlotReady("1", 1), SlotReady("2", 1))) == [("1", "e", 1), ("2", "d", 1)]
    feed(machine, Done("1", "e", 1))
    assert machine.running["1"] == ("c",)
    feed(machine, Done("1", "c", 1, damaged=True))
    assert machine.running["1"] == ("b",)
    assert machine.queued == ("a",)
    feed(machine, Done("2", "d", 1, damaged=True))
    assert machine.running["2"] == ("a",)
    feed(machine, Done("2", "a", 1))
    assert end(feed(machine, Done("1", "b", 1))).error is None
    assert machine.done == set("abcde")


def test_after_damage_a_lost_task_behind_it_is_dropped_and_one_before_it_is_queued() -> None:
    machine = dispatcher([1, 9, 2, 9], "12")
    feed(machine, SlotReady("1", 1), SlotReady("2", 1))  # b on 1, d on 2
    feed(machine, Done("1", "b", 1, damaged=True))
    assert machine.running["1"] == ("a",)
    feed(machine, SlotDied("2", "x"))
    assert machine.dropped == {"c", "d"}
    feed(machine, SlotDied("1", "x"), SlotReady("1", 1))
    assert machine.running["1"] == ("a",)
    assert end(feed(machine, Done("1", "a", 2))).error is None


def test_a_task_without_movement_is_killed_once() -> None:
    machine = dispatcher([2, 1], hang_s=10)
    feed(machine, SlotReady("1", 1), at_s=0)
    feed(machine, Beat("1", "a", 1, 100), at_s=8)
    assert feed(machine, Tick(), at_s=17) == []
    feed(machine, Beat("1", "a", 1, 100), at_s=17)  # alive, but no further
    decisions = feed(machine, Tick(), Tick(), at_s=18)
    assert [type(d) for d in decisions] == [Kill]
    assert feed(machine, SlotDied("1", "killed"), at_s=19) == [Restart("1", "killed")]
    assert assigned(feed(machine, SlotReady("1", 1), at_s=20)) == [("1", "a", 2)]
    assert feed(machine, Tick(), at_s=29) == []


def test_what_takes_minutes_does_not_hang_while_its_words_change() -> None:
    """An engine that is built: no frames, but every few seconds another line."""
    machine = dispatcher([2, 1], hang_s=10)
    feed(machine, SlotReady("1", 2))
    for at_s in (8.0, 16.0, 24.0):
        assert feed(machine, Busy("1", f"{at_s} s so far"), Tick(), at_s=at_s) == []
    assert feed(machine, Busy("1", "24.0 s so far"), Tick(), at_s=33) == []
    (kill,) = feed(machine, Busy("1", "24.0 s so far"), Tick(), at_s=34.5)
    assert isinstance(kill, Kill)
    assert feed(machine, Busy("9", "somebody else"), at_s=40) == []


def test_a_task_that_waits_for_its_neighbour_does_not_hang() -> None:
    machine = dispatcher([2, 1], hang_s=10)
    feed(machine, SlotReady("1", 2), at_s=0)
    feed(machine, Beat("1", "a", 1, 100), at_s=8)
    assert feed(machine, Tick(), at_s=17) == []
    assert [type(d) for d in feed(machine, Tick(), at_s=18)] == [Kill]


def test_a_cluster_on_which_nothing_comes_up_ends_the_job() -> None:
    machine = dispatcher([1], start_s=60)
    assert feed(machine, Tick(), at_s=59) == []
    assert isinstance(end(feed(machine, Tick(), at_s=60)).error, WorkerLost)
