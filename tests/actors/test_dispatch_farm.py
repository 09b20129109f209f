"""The rules of actors.dispatch for farms: rates, jobs, nodes that go, late tasks. What every farm needs is in
test_dispatch.py."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.dispatch import (
    MAX_DEPARTURES,
    Assign,
    Beat,
    Cancel,
    Decision,
    Dispatcher,
    Done,
    Event,
    Finish,
    JobAdded,
    JobStopped,
    Kill,
    NodeGone,
    NodeLeaves,
    Release,
    Restart,
    SlotDied,
    SlotJoined,
    SlotReady,
    Task,
    Tick,
)
from core.errors import Interrupted, PlanError, WorkerLost


def farm(*nodes: str, idle_s: float = float("inf"), hang_s: float = 1e6) -> Dispatcher:
    """One slot a node, of the same name with "/0" behind it; kinds are the first letters of the names."""
    machine = Dispatcher(None, [], at_s=0.0, hang_s=hang_s, start_s=1e6, idle_s=idle_s, awaits_nodes=True)
    for node in nodes:
        machine.handle(SlotJoined(f"{node}/0", node, node[0], {"f": 10.0, "s": 2.5}.get(node[0], 0.0)), 0.0)
    return machine


def job(name: str, *costs: float, priority: int = 0, weight: float = 1.0) -> JobAdded:
    return JobAdded(name, [Task(f"{name}{i}", i, cost) for i, cost in enumerate(costs)], priority, weight)


def feed(machine: Dispatcher, *events: Event, at_s: float = 0.0) -> list[Decision]:
    return [decision for event in events for decision in machine.handle(event, at_s)]


def ready(machine: Dispatcher, *nodes: str, capacity: int = 1, at_s: float = 0.0) -> list[Decision]:
    return feed(machine, *(SlotReady(f"{node}/0", capacity) for node in nodes), at_s=at_s)


def given_to(decisions: list[Decision]) -> list[tuple[str, str]]:
    return [(d.slot.removesuffix("/0"), d.task) for d in decisions if isinstance(d, Assign)]


# ---------------------------------------------------------------- rates


def test_a_slow_slot_takes_the_longest_that_it_finishes_as_soon_as_the_fastest_finishes_the_longest() -> None:
    machine = farm("s1", "f1")
    feed(machine, job("a", 100, 80, 30, 25, 20, 5))
    assert given_to(ready(machine, "s1")) == [("s1", "a3")]
    assert given_to(ready(machine, "f1")) == [("f1", "a0")]
    assert given_to(feed(machine, Done("s1/0", "a3", 1), at_s=10)) == [("s1", "a4")]  # 80 / 4
    assert given_to(feed(machine, Done("s1/0", "a4", 1), at_s=18)) == [("s1", "a5")]


def test_where_nothing_is_short_enough_a_slow_slot_takes_the_shortest() -> None:
    machine = farm("s1", "f1")
    feed(machine, job("a", 100, 80, 60))
    assert given_to(ready(machine, "s1")) == [("s1", "a2")]


def test_the_fastest_of_the_slots_without_work_is_first() -> None:
    machine = farm("s1", "f1", "s2")
    ready(machine, "s1", "f1", "s2")
    assert given_to(feed(machine, job("a", 9))) == [("f1", "a0")]


def test_rates_are_measured_and_outweigh_what_was_declared() -> None:
    machine = farm("f1", "f2")
    feed(machine, job("a", *[10.0] * 40))
    ready(machine, "f1")
    for task in range(19):
        feed(machine, Done("f1/0", f"a{task}", 1), at_s=5.0 * (task + 1))
    assert machine.rate("f") == pytest.approx(2.0, rel=0.01)
    assert machine.rate("unknown") == 0.0


# ---------------------------------------------------------------- jobs


def served(machine: Dispatcher, rounds: int) -> list[str]:
    """The jobs that one slot works for, in their order."""
    order = []
    decisions = ready(machine, "f1")
    for at_s in range(1, rounds + 1):
        ((_, task),) = given_to(decisions)
        order.append(task[0])
        decisions = feed(machine, Done("f1/0", task, 1), at_s=float(at_s))
    return order


def test_a_job_of_higher_priority_goes_first_and_stops_nobody() -> None:
    machine = farm("f1")
    feed(machine, job("a", 5, 5, 5))
    assert given_to(ready(machine, "f1")) == [("f1", "a0")]
    assert feed(machine, job("b", 1, 1, priority=1)) == []
    assert given_to(feed(machine, Done("f1/0", "a0", 1))) == [("f1", "b0")]
    assert given_to(feed(machine, Done("f1/0", "b0", 1))) == [("f1", "b1")]
    decisions = feed(machine, Done("f1/0", "b1", 1))
    assert Finish(None, "b") in decisions
    assert given_to(decisions) == [("f1", "a1")]


def test_weights_share_the_farm() -> None:
    machine = farm("f1")
    feed(machine, job("a", *[1.0] * 40, weight=3), job("b", *[1.0] * 40))
    order = served(machine, 40)
    assert order.count("a") == 30


def test_a_job_that_comes_later_neither_catches_up_nor_waits() -> None:
    machine = farm("f1")
    feed(machine, job("a", *[1.0] * 60))
    assert served(machine, 20) == ["a"] * 20
    feed(machine, job("b", *[1.0] * 60))
    ((_, task),) = [(slot, task) for slot, tasks in machine.running.items() for task in tasks]
    order = []
    for at_s in range(21, 41):
        ((_, task),) = given_to(feed(machine, Done("f1/0", task, 1), at_s=float(at_s)))
        order.append(task[0])
    assert order.count("b") == 10


@given(
    costs=st.lists(st.lists(st.integers(1, 50), min_size=30, max_size=30), min_size=2, max_size=4),
    weights=st.lists(st.integers(1, 5), min_size=4, max_size=4),
    slots=st.integers(1, 4),
)
def test_fair_share_stays_within_its_bound(costs: list[list[int]], weights: list[int], slots: int) -> None:
    """While both have a queue, two jobs differ by at most the longest task of each, by weight (Goyal et al. 1996)."""
    machine = farm(*(f"x{number}" for number in range(slots)))
    names = "abcd"[: len(costs)]
    for name, of_job, weight in zip(names, costs, weights, strict=False):
        feed(machine, job(name, *of_job, weight=weight))
    got = dict.fromkeys(names, 0.0)
    queued = {name: len(of_job) for name, of_job in zip(names, costs, strict=True)}
    weight_of = dict(zip(names, weights, strict=False))
    decisions = ready(machine, *(f"x{number}" for number in range(slots)))
    busy: list[tuple[str, str]] = []
    at_s = 0.0
    while all(queued.values()):
        for slot, task in given_to(decisions):
            name = task[0]
            cost = costs[names.index(name)][int(task[1:])]
            got[name] += cost / weight_of[name]
            queued[name] -= 1
            busy.append((slot, task))
            if all(queued.values()):
                for one in names:
                    for other in names:
                        bound = sum(max(costs[names.index(each)]) / weight_of[each] for each in (one, other))
                        assert abs(got[one] - got[other]) <= bound + 1e-9
        at_s += 1
        slot, task = busy.pop(0)
        decisions = feed(machine, Done(f"{slot}/0", task, 1), at_s=at_s)


def test_a_job_that_is_stopped_ends_with_its_error_and_the_others_go_on() -> None:
    machine = farm("f1", "f2")
    ready(machine, "f1", "f2")
    feed(machine, job("a", 9, 8, 7), job("b", 1))
    error = Interrupted("over budget")
    decisions = feed(machine, JobStopped("a", error))
    assert [(d.task, d.slot) for d in decisions if isinstance(d, Cancel)]
    assert Finish(error, "a") in decisions
    assert "b0" in {task for tasks in machine.running.values() for task in tasks}
    assert not any(task.startswith("a") for tasks in machine.running.values() for task in tasks)
    assert feed(machine, JobStopped("a", error), JobStopped("nobody", error)) == []


@pytest.mark.parametrize(
    ("waiting", "frames", "cancelled"), [(True, 0, set()), (False, 0, {"a1", "a3"}), (False, 1, {"a0", "a3"})]
)
def test_a_job_that_is_stopped_finishes_what_has_its_turn(waiting: bool, frames: int, cancelled: set[str]) -> None:
    """Two slots with two tasks each; `frames` of the second one of the first slot came, and none of the others."""
    machine = farm("f1", "f2")
    feed(machine, job("a", 9, 8, 7, 6, 5))
    ready(machine, "f1", "f2", capacity=2)
    first, second = (machine.running[f"{node}/0"] for node in ("f1", "f2"))
    assert (first, second) == (("a0", "a1"), ("a2", "a3"))
    feed(machine, Beat("f1/0", "a1", 1, frames))
    error = Interrupted("over budget")
    decisions = feed(machine, JobStopped("a", error, finish=True, waiting=waiting))
    assert {d.task for d in decisions if isinstance(d, Cancel)} == cancelled
    left = sorted({"a0", "a1", "a2", "a3"} - cancelled)
    slots = {"a0": "f1/0", "a1": "f1/0", "a2": "f2/0", "a3": "f2/0"}
    ended = [feed(machine, Done(slots[task], task, 1)) for task in left]
    assert [Finish(error, "a") in some for some in ended] == [False] * (len(left) - 1) + [True]
    given = [d for some in (decisions, *ended) for d in some if isinstance(d, Assign)]
    assert waiting or not given, "what was given back is not begun elsewhere"


def test_jobs_and_tasks_have_one_name() -> None:
    machine = farm("f1")
    feed(machine, job("a", 1))
    with pytest.raises(PlanError):
        feed(machine, job("a", 1))
    with pytest.raises(PlanError):
        feed(machine, JobAdded("b", [Task("a0", 0, 1.0)]))
    with pytest.raises(PlanError):
        feed(machine, job("c", 1, weight=0))


def test_a_dead_slot_comes_back_with_the_next_job() -> None:
    machine = farm("f1")
    feed(machine, job("a", 1))
    ready(machine, "f1")
    feed(machine, Done("f1/0", "a0", 1))
    assert feed(machine, SlotDied("f1/0", "gone")) == []
    assert feed(machine, job("b", 1)) == [Restart("f1/0", "there is work again")]
    assert given_to(ready(machine, "f1")) == [("f1", "b0")]


# ---------------------------------------------------------------- nodes that go


def test_on_notice_what_cannot_finish_is_queued_again_and_the_rest_ends_where_it_is() -> None:
    machine = farm("f1", "f2")
    feed(machine, job("a", 2000, 500, 100))
    assert given_to(ready(machine, "f1", "f2")) == [("f1", "a0"), ("f2", "a1")]
    decisions = feed(machine, NodeLeaves("f1", 120.0), NodeLeaves("f2", 120.0), at_s=10)
    assert [type(d) for d in decisions] == [Cancel, Release]
    assert decisions[0] == Cancel("f1/0", "a0", 1, "its node leaves before it can finish")
    assert machine.queued == ("a0", "a2")
    assert [type(d) for d in feed(machine, Done("f2/0", "a1", 1), at_s=50)] == [Release]
    assert machine.running == {}
    feed(machine, NodeGone("f1", "spot"), NodeGone("f2", "spot"), SlotJoined("f3/0", "f3", "f"), at_s=130)
    assert given_to(ready(machine, "f3", capacity=2, at_s=200)) == [("f3", "a0"), ("f3", "a2")]


def test_a_node_on_notice_gets_nothing_new() -> None:
    machine = farm("f1", "f2")
    feed(machine, job("a", 5, 5, 5))
    ready(machine, "f1", capacity=2)
    feed(machine, NodeLeaves("f2", 1000.0))
    assert given_to(ready(machine, "f2")) == []
    feed(machine, NodeLeaves("f1", 1000.0))
    assert given_to(feed(machine, Done("f1/0", "a0", 1), at_s=0.4)) == []
    assert "a2" in machine.queued


def test_a_renderer_that_dies_on_a_node_that_goes_is_nobodys_fault() -> None:
    machine = farm("x1", "x2")
    feed(machine, job("a", 5, 4))
    ready(machine, "x1")
    feed(machine, NodeLeaves("x1", 30.0))
    assert feed(machine, SlotDied("x1/0", "terminated"), at_s=30) == []
    assert given_to(ready(machine, "x2", capacity=2, at_s=31)) == [("x2", "a0"), ("x2", "a1")], "a0 is no suspect"


def test_nodes_that_go_poison_nothing_until_it_is_more_than_chance() -> None:
    machine = farm()
    feed(machine, job("a", 5))
    decisions: list[Decision] = []
    for number in range(MAX_DEPARTURES):
        feed(machine, SlotJoined(f"x{number}/0", f"x{number}", "x"))
        assert given_to(ready(machine, f"x{number}")) == [(f"x{number}", "a0")]
        decisions = feed(machine, NodeGone(f"x{number}", "spot"))
    (finish,) = decisions
    assert isinstance(finish, Finish)
    assert isinstance(finish.error, WorkerLost)
    assert f"lost {MAX_DEPARTURES} nodes" in str(finish.error)


def test_slots_without_work_are_released_when_nothing_is_queued() -> None:
    machine = farm("x1", "x2", idle_s=60)
    ready(machine, "x1", "x2")
    feed(machine, job("a", 5), at_s=0)
    assert feed(machine, Tick(), at_s=59) == []
    assert feed(machine, Tick(), at_s=61) == [Release("x2/0", "nothing is queued")]
    feed(machine, Done("x1/0", "a0", 1), at_s=100)
    assert feed(machine, Tick(), at_s=159) == []
    assert feed(machine, Tick(), at_s=161) == [Release("x1/0", "nothing is queued")]


def test_a_killed_slot_that_is_never_reported_counts_as_dead() -> None:
    machine = farm("x1", hang_s=10)
    feed(machine, job("a", 5))
    ready(machine, "x1")
    assert [type(d) for d in feed(machine, Tick(), at_s=10)] == [Kill]
    assert feed(machine, Tick(), at_s=69) == []
    assert [type(d) for d in feed(machine, Tick(), at_s=71)] == [Restart]
    assert machine.queued == ("a0",)


# ---------------------------------------------------------------- the end


def warm(machine: Dispatcher, nodes: str, at_s: float = 100.0) -> None:
    """Each node does four tasks of 10 in 10 s each, so that its rate is known to be 1."""
    feed(machine, JobAdded("warm", [Task(f"w{node}{i}", i, 10.0) for i in range(4) for node in nodes]), at_s=at_s)
    for turn in range(1, 5):
        for slot, tasks in machine.running.items():
            feed(machine, *(Done(slot, task, 1) for task in tasks), at_s=at_s + 10.0 * turn)


def two_nodes() -> Dispatcher:
    machine = farm("x", "y")
    ready(machine, "x", "y", at_s=100)
    warm(machine, "xy")
    assert machine.rate("x") == pytest.approx(1.0)
    return machine


def test_a_late_task_is_copied_once_and_the_first_result_counts() -> None:
    machine = two_nodes()
    assert given_to(feed(machine, job("a", 100), at_s=200)) == [("x", "a0")]
    assert feed(machine, Beat("x/0", "a0", 1, 5), Tick(), at_s=310) == []
    assert feed(machine, Tick(), at_s=330) == [Assign("y/0", "a0", 2)]
    assert machine.copies == 1
    assert feed(machine, Tick(), at_s=400) == []
    decisions = feed(machine, Done("y/0", "a0", 2), at_s=430)
    assert decisions == [Cancel("x/0", "a0", 1, "another attempt was first"), Finish(None, "a")]
    assert feed(machine, Done("x/0", "a0", 1), at_s=431) == []


def test_the_death_of_a_copy_costs_nothing_and_of_both_a_new_attempt() -> None:
    machine = two_nodes()
    feed(machine, job("a", 100), at_s=200)
    feed(machine, Tick(), at_s=330)
    assert feed(machine, SlotDied("y/0", "x"), at_s=340) == [Restart("y/0", "x")]
    assert machine.running["x/0"] == ("a0",)
    assert machine.queued == ()
    feed(machine, SlotDied("x/0", "x"), at_s=350)
    assert machine.queued == ("a0",)
    assert given_to(ready(machine, "y", at_s=360)) == [("y", "a0")]


def test_nothing_is_copied_while_something_is_queued_or_on_the_same_node() -> None:
    machine = farm()
    feed(machine, SlotJoined("n/0", "n"), SlotJoined("n/1", "n"))
    feed(machine, SlotReady("n/0", 1), SlotReady("n/1", 1), at_s=100)
    warm(machine, "nm")
    feed(machine, job("a", 100), at_s=200)
    assert feed(machine, Tick(), at_s=500) == []


def test_a_slot_without_work_takes_over_what_waits() -> None:
    machine = farm("x", "y")
    feed(machine, job("a", 5, 4, 3))
    ready(machine, "x", "y", capacity=2)
    waiting = machine.running
    lone, double = sorted(waiting, key=lambda slot: len(waiting[slot]))
    decisions = feed(machine, Done(lone, waiting[lone][0], 1), at_s=4)
    task = waiting[double][1]
    assert decisions == [Cancel(double, task, 1, "moved to a renderer without work"), Assign(lone, task, 2)]


def test_what_has_begun_is_not_moved() -> None:
    machine = farm("x", "y")
    feed(machine, job("a", 5, 4, 3))
    ready(machine, "x", "y", capacity=2)
    (double,) = [slot for slot, tasks in machine.running.items() if len(tasks) == 2]
    (lone,) = [slot for slot, tasks in machine.running.items() if len(tasks) == 1]
    feed(machine, Beat(double, machine.running[double][1], 1, 7))
    assert feed(machine, Done(lone, machine.running[lone][0], 1), at_s=4) == []


def test_a_suspect_finds_a_slot_of_its_own_while_others_stay_full() -> None:
    machine = farm("x", "y")
    feed(machine, job("a", *[5.0] * 30))
    ready(machine, "x", "y", capacity=2)
    feed(machine, SlotDied("y/0", "x"), at_s=1)
    lost = machine.queued[:2]
    for _ in range(40):
        tasks = machine.running["x/0"]
        if tasks and tasks[0] in lost:
            assert tasks == (tasks[0],)
            return
        feed(machine, Done("x/0", tasks[0], 1), at_s=2)
    pytest.fail("the suspects were never given to anybody")
