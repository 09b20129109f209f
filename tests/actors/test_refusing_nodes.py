"""What one node cannot do, another one is asked for: full disks, stores out of reach, missing models.

The job ends when a second node says the same of the same task, or with nothing of the job done between, or when there
is no other one; what is wrong with the film ends it at once, wherever that is found.
"""

from __future__ import annotations

import pytest

from actors.dispatch import (
    Assign,
    Decision,
    Dispatcher,
    Done,
    Event,
    Failed,
    Finish,
    GiveUp,
    JobAdded,
    Kill,
    NodeGone,
    NoPlace,
    Quarantine,
    Release,
    Restart,
    Shun,
    Slept,
    SlotDied,
    SlotJoined,
    SlotReady,
    SlotsMayCome,
    SlotUnfit,
    Task,
    Tick,
    Trust,
)
from actors.dispatch.losses import DOUBT_S, NO_PLACE_S
from actors.dispatch.refusals import MEMORY_S
from actors.dispatch.watch import KILL_S
from core.errors import FarmError, InputError, ModelError, PlanError, StorageError, WorkerLost

FULL = StorageError("the disk is full", where="/tmp")
FAR = StorageError("the bucket does not answer", where="s3://films")
ABSENT = ModelError("model inswapper is not in the cache", where="/models")


def farm(*slots: str, tasks: int = 6, awaits_nodes: bool = True, hang_s: float = 1e6) -> Dispatcher:
    """Slots node/number, all up, with a job "a"."""
    machine = Dispatcher(None, [], at_s=0.0, hang_s=hang_s, start_s=1e6, awaits_nodes=awaits_nodes)
    for slot in slots:
        feed(machine, SlotJoined(slot, slot.partition("/")[0]))
    feed(machine, JobAdded("a", [Task(f"a{number}", number, 9.0 - number) for number in range(tasks)]))
    feed(machine, *(SlotReady(slot, 1) for slot in slots))
    return machine


def feed(machine: Dispatcher, *events: Event, at_s: float = 0.0) -> list[Decision]:
    return [decision for event in events for decision in machine.handle(event, at_s)]


def fails(machine: Dispatcher, slot: str, error: FarmError, at_s: float = 0.0) -> list[Decision]:
    """What the slot works on, for the first time, ends with the error."""
    (task,) = machine.running[slot]
    return feed(machine, Failed(slot, task, 1, error), at_s=at_s)


@pytest.mark.parametrize("error", [FULL, FAR, ABSENT], ids=lambda error: error.what)
def test_what_one_node_cannot_do_another_one_does(error: FarmError) -> None:
    machine = farm("x/0", "y/0")
    assert fails(machine, "x/0", error) == [Quarantine("x/0", str(error), "x"), Shun("x", str(error))]
    assert machine.queued[0] == "a0"
    assert feed(machine, Done("y/0", "a1", 1)) == [Assign("y/0", "a0", 2)]
    for number, task in enumerate(["a0", "a2", "a3", "a4", "a5"]):
        decisions = feed(machine, Done("y/0", task, 2 if not number else 1))
    assert decisions[-1] == Finish(None, "a")


def test_what_a_second_node_says_too_is_no_fault_of_the_first() -> None:
    machine = farm("x/0", "y/0", "z/0")
    fails(machine, "x/0", FAR)
    fails(machine, "y/0", FULL)
    again = StorageError(FAR.what, where="elsewhere")
    assert fails(machine, "z/0", again) == [Trust("x"), Finish(again, "a")]
    assert feed(machine, Tick()) == []
    assert machine.slots == {"z/0"}, "its slot is as good as before"
    assert machine.open == 0


def test_the_end_names_the_error_and_what_runs_is_finished() -> None:
    machine = farm("x/0", "y/0", "z/0")
    fails(machine, "x/0", FAR)
    assert not [each for each in fails(machine, "y/0", FAR) if isinstance(each, Finish)]
    assert feed(machine, Done("z/0", "a2", 1)) == [Finish(FAR, "a")]


def test_the_same_much_later_is_another_matter() -> None:
    machine = farm("x/0", "y/0", "z/0")
    fails(machine, "x/0", FULL)
    assert [type(each) for each in fails(machine, "y/0", FULL, at_s=MEMORY_S + 1.0)] == [Quarantine, Shun]
    assert machine.open == 1


def test_full_disks_here_and_there_end_no_job_that_the_others_do() -> None:
    """Of 50 nodes a fifth runs full, one after the other within minutes, each at another task."""
    nodes = [f"n{number}/0" for number in range(50)]
    machine = farm(*nodes, tasks=200)
    bad, good = nodes[:10], nodes[10:]
    for number, slot in enumerate(bad):
        decisions = fails(machine, slot, FULL, at_s=30.0 * number)
        assert [type(each) for each in decisions] == [Quarantine, Shun]
        (task,) = machine.running[good[number]]
        feed(machine, Done(good[number], task, 1 + (task in {f"a{back}" for back in range(10)})), at_s=30.0 * number)
    assert machine.open == 1
    assert machine.slots == set(good)


def test_a_task_that_two_nodes_refuse_ends_its_job_whatever_else_is_done() -> None:
    machine = farm("x/0", "y/0", "z/0")
    fails(machine, "x/0", FULL)
    assert feed(machine, Done("y/0", "a1", 1)) == [Assign("y/0", "a0", 2)]
    assert feed(machine, Failed("y/0", "a0", 2, FULL)) == [Trust("x")]
    assert feed(machine, Done("z/0", "a2", 1)) == [Finish(FULL, "a")]


def test_what_another_job_did_says_nothing() -> None:
    machine = farm("x/0", "y/0", "z/0", tasks=2)
    feed(machine, JobAdded("b", [Task("b0", 0, 1.0)]))
    assert machine.running["z/0"] == ("b0",)
    fails(machine, "x/0", FAR)
    feed(machine, Done("z/0", "b0", 1))
    assert Trust("x") in fails(machine, "y/0", FAR)


def test_all_slots_of_one_node_are_one_word() -> None:
    machine = farm("x/0", "x/1", "y/0")
    fails(machine, "x/0", FULL)
    fails(machine, "x/1", FULL)
    assert machine.open == 1
    assert machine.slots == {"y/0"}


def test_the_only_node_ends_the_job_at_once_and_stays() -> None:
    machine = farm("x/0", "x/1", awaits_nodes=False)
    assert fails(machine, "x/0", FULL) == []
    assert machine.slots == {"x/0", "x/1"}
    assert feed(machine, Done("x/1", "a1", 1)) == [Finish(FULL, "a")]


@pytest.mark.parametrize("error", [InputError("torn film"), PlanError("a fault")], ids=lambda error: error.what)
def test_what_is_wrong_with_the_film_ends_the_job_at_once(error: FarmError) -> None:
    machine = farm("x/0", "y/0", tasks=2)
    assert fails(machine, "x/0", error) == []
    assert feed(machine, Done("y/0", "a1", 1)) == [Finish(error, "a")]
    assert machine.slots == {"x/0", "y/0"}


def test_a_job_that_has_failed_takes_no_more_slots_out() -> None:
    machine = farm("x/0", "y/0", "z/0")
    fails(machine, "x/0", FAR)
    fails(machine, "y/0", FAR)
    assert fails(machine, "z/0", FAR) == [Finish(FAR, "a")]
    assert machine.slots == {"y/0", "z/0"}


def test_with_nothing_up_and_no_place_for_another_the_refusal_is_the_end() -> None:
    machine = farm("x/0")
    fails(machine, "x/0", FULL)
    assert feed(machine, Tick(), at_s=1000.0) == [GiveUp("x", str(FULL))]
    feed(machine, SlotJoined("x/1", far=True))
    assert feed(machine, NoPlace("no other node"), at_s=1001.0) == [Finish(FULL, "a")]


def test_a_good_slot_of_a_node_with_a_bad_one_has_its_place_there() -> None:
    machine = farm("x/0", "x/1")
    fails(machine, "x/0", FULL)
    assert [type(each) for each in feed(machine, SlotDied("x/1", "died"))] == [Restart]
    for at_s in (10.0, 10.0 + NO_PLACE_S, 10.0 * NO_PLACE_S):
        assert feed(machine, NoPlace("no other node"), at_s=at_s) == []
    assert machine.open == 1
    assert [type(each) for each in feed(machine, SlotReady("x/1", 1, "x"))] == [Assign]


def test_no_place_means_nothing_while_something_is_up_and_waits_for_what_starts() -> None:
    machine = farm("x/0", "y/0")
    fails(machine, "x/0", FULL)
    assert feed(machine, NoPlace("")) == []
    feed(machine, SlotDied("y/0", "died"))
    assert feed(machine, NoPlace(""), at_s=10.0) == []
    assert feed(machine, NoPlace(""), at_s=9.0 + NO_PLACE_S) == []
    assert feed(machine, NoPlace(""), at_s=10.0 + NO_PLACE_S) == [Finish(FULL, "a")]


def test_a_node_of_which_nothing_is_left_is_given_up_once() -> None:
    machine = farm("x/0", "x/1", "x/2", "y/0")
    fails(machine, "x/0", FULL)
    fails(machine, "x/1", FULL)
    assert feed(machine, Tick(), at_s=2 * DOUBT_S) == [], "x/2 works"
    (task,) = machine.running["x/2"]
    feed(machine, Done("x/2", task, 1))
    assert feed(machine, Tick(), at_s=2 * DOUBT_S) == [GiveUp("x", str(FULL))]
    assert feed(machine, Tick(), at_s=4 * DOUBT_S) == []
    assert feed(machine, NodeGone("x", "ended")) == []


def test_the_next_job_finds_every_node_trusted() -> None:
    machine = farm("x/0", "y/0", tasks=1)
    feed(machine, SlotUnfit("y/0", WorkerLost("another version"), "y"))
    feed(machine, Done("x/0", "a0", 1))
    assert feed(machine, JobAdded("b", [Task("b0", 0, 1.0)]))[0] == Trust("y")


def test_two_bad_slots_take_their_node_out_of_service() -> None:
    machine = Dispatcher(None, [], at_s=0.0, hang_s=1e6, start_s=1e6, awaits_nodes=True)
    for number in range(4):
        feed(machine, SlotJoined(f"n/{number}", "n", "x"))
    feed(machine, JobAdded("a", [Task(f"a{number}", number, 1.0) for number in range(20)]))
    feed(machine, SlotReady("n/2", 1))
    taken_out = [d for _ in range(4) for d in feed(machine, SlotDied("n/0", "x")) if isinstance(d, Quarantine)]
    assert [d.slot for d in taken_out] == ["n/0"]
    feed(machine, SlotReady("n/3", 1))
    decisions = [d for _ in range(4) for d in feed(machine, SlotDied("n/1", "x"))]
    assert decisions[-2:] == [Quarantine("n/1", "x", "n"), Shun("n", "x")]
    assert machine.running == {"n/2": ("a0",), "n/3": ("a1",)}
    assert [type(d) for d in feed(machine, Done("n/2", "a0", 1))] == [Release]
    assert feed(machine, SlotJoined("n/5", "n", "x"), SlotReady("n/5", 1))[0].slot == "n/5"  # type: ignore[union-attr]
    assert "n/5" not in machine.running


# ---------------------------------------------------------------- what the end is told with

DARK_S = 1800.0


def dark(*, at_s: float) -> Dispatcher:
    """Slots of which one refused job "a", with job "b" beside it; the other one went at `at_s`."""
    machine = Dispatcher(None, [], at_s=0.0, hang_s=1e6, start_s=DARK_S, awaits_nodes=True)
    feed(machine, SlotJoined("x/0", "x"), SlotJoined("y/0", "y"))
    feed(machine, *(JobAdded(job, [Task(f"{job}{number}", number, 1.0) for number in range(9)]) for job in "ab"))
    feed(machine, SlotReady("x/0", 1), SlotReady("y/0", 1))
    (task,) = machine.running["x/0"]
    assert task.startswith("a")
    feed(machine, Failed("x/0", task, 1, FAR))
    feed(machine, NodeGone("y", "gone"), at_s=at_s)
    return machine


def errors(decisions: list[Decision]) -> dict[str, FarmError | None]:
    return {each.job: each.error for each in decisions if isinstance(each, Finish)}


def test_no_renderer_for_long_is_told_with_what_the_cluster_says_and_not_with_an_old_refusal() -> None:
    machine = dark(at_s=5.0)
    feed(machine, SlotsMayCome(True, "sold out"))
    ends = errors(feed(machine, Tick(), at_s=5.0 + DARK_S))
    assert {job: str(error).split(";")[0] for job, error in ends.items()} == dict.fromkeys(
        "ab", "no renderer came up in 1800 s: sold out"
    )


def test_the_end_of_a_job_is_told_with_what_was_refused_of_it_alone() -> None:
    ends = errors(feed(dark(at_s=5.0), SlotsMayCome(False, "all were taken out"), at_s=20.0))
    assert ends["a"] is FAR
    assert isinstance(ends["b"], WorkerLost)
    assert "last: all were taken out" in str(ends["b"])
    machine = dark(at_s=5.0)
    feed(machine, SlotJoined("z/0", "z"), SlotUnfit("z/0", ABSENT, "z"), at_s=10.0)
    ends = errors(feed(machine, SlotsMayCome(False), at_s=20.0))
    assert ends == dict.fromkeys("ab", ABSENT), "that is of every job"


def test_what_was_refused_before_work_was_done_is_not_the_end() -> None:
    machine = farm("x/0", "y/0")
    fails(machine, "x/0", FULL)
    feed(machine, Done("y/0", "a1", 1), NodeGone("y", "gone"))
    ends = errors(feed(machine, SlotsMayCome(False, "y went"), at_s=5.0))
    assert "last: y went" in str(ends["a"])


# ---------------------------------------------------------------- a driver that was stopped


def test_what_was_silent_while_nobody_listened_is_not_killed() -> None:
    machine = farm("x/0", hang_s=100.0)
    assert feed(machine, Slept(500.0), Tick(), at_s=501.0) == []
    assert feed(machine, Tick(), at_s=599.0) == []
    (kill,) = feed(machine, Tick(), at_s=600.0)
    assert isinstance(kill, Kill)
    feed(machine, Slept(500.0), at_s=1101.0)
    assert feed(machine, Tick(), at_s=1099.0 + KILL_S) == []
    assert feed(machine, Tick(), at_s=1100.0 + KILL_S) != []


def test_nobody_came_up_while_nobody_listened() -> None:
    machine = Dispatcher([Task("a", 0, 1.0)], ["x"], at_s=0.0, hang_s=100.0, start_s=60.0)
    feed(machine, Slept(100.0), at_s=101.0)
    assert feed(machine, Tick(), at_s=159.0) == []
    assert [type(each) for each in feed(machine, Tick(), at_s=161.0)] == [Finish]
