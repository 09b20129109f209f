"""How many slots there should be: fixed or by the backlog, through nodes that go, slots that are bad, and the end."""

from __future__ import annotations

import pytest

from actors.dispatch import (
    MAX_DEATHS_IN_A_ROW,
    Dispatcher,
    Done,
    Event,
    Finish,
    JobAdded,
    Keeper,
    NodeGone,
    Release,
    Shun,
    SlotDied,
    SlotHere,
    SlotJoined,
    SlotLeft,
    SlotReady,
    SlotUnfit,
    Task,
    Tick,
    Trust,
)
from actors.dispatch.events import Assign, Decision
from actors.dispatch.keeper import BAD_IN_A_ROW, COMING_S, HOUR_S, REJOIN_S, REPLACE_S, SAY_S
from actors.dispatch.losses import NOT_QUEUED
from core.errors import WorkerLost

IDLE_S = 20.0


class Pool:
    """A dispatcher with its keeper and a clock that the test moves; slots come up when the test says so."""

    def __init__(self, least: int, most: int) -> None:
        self.at_s = 100.0
        self.keeper = Keeper(least, most, '{"GPU": 1.0}')
        self.dispatcher = Dispatcher(
            None, [], at_s=self.at_s, hang_s=600.0, start_s=600.0, idle_s=IDLE_S, awaits_nodes=True
        )
        self.out: list[Decision] = []
        self.running: list[Assign] = []

    def tell(self, event: Event) -> None:
        decisions = self.dispatcher.handle(event, self.at_s)
        self.keeper.hear(event, self.at_s)
        for decision in decisions:
            self.keeper.hear(decision, self.at_s)
        self.running += [decision for decision in decisions if isinstance(decision, Assign)]
        self.out += decisions

    def look(self) -> list[Event]:
        events = self.keeper.look(self.dispatcher, self.at_s)
        for event in events:
            self.tell(event)
        return events

    def joined(self) -> list[str]:
        return [event.slot for event in self.look() if isinstance(event, SlotJoined)]

    def add(self, job: str, tasks: int, cost: float = 10.0) -> None:
        self.tell(JobAdded(job, [Task(f"{job}{number}", number, cost) for number in range(tasks)]))

    def finish(self, count: int) -> None:
        for _ in range(count):
            assign = self.running.pop(0)
            self.tell(Done(assign.slot, assign.task, assign.attempt))

    def ends(self) -> list[Finish]:
        return [decision for decision in self.out if isinstance(decision, Finish)]


def test_a_fixed_number_is_there_from_the_first() -> None:
    pool = Pool(3, 3)
    names = pool.joined()
    assert len(names) == 3
    assert pool.look() == []
    for name in names:
        pool.tell(SlotReady(name, 2, f"node-{name}"))
    pool.tell(NodeGone(f"node-{names[0]}", "gone"))
    assert pool.look() == [], "whoever places slots may not know yet that the node is gone"
    pool.at_s += REJOIN_S
    assert len(pool.joined()) == 1
    assert len(pool.dispatcher.slots) == 3
    assert pool.keeper.peak == 3


def test_where_nodes_go_all_the_time_each_slot_is_asked_for_again_after_its_own_while() -> None:
    pool = Pool(0, 8)
    pool.add("a", 100)
    names = pool.joined()
    for name in names:
        pool.tell(SlotReady(name, 1, f"node-{name}"))
    joined = []
    for second in range(15):
        if second % 2 == 0:  # never REJOIN_S without another loss
            pool.tell(NodeGone(f"node-{names[second // 2]}", "gone"))
        joined.append(len(pool.joined()))
        pool.at_s += 1.0
    assert REJOIN_S == 5.0
    assert joined == [0, 0, 0, 0, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0]
    pool.tell(NodeGone("another", "it stood idle"))
    pool.add("b", 1)
    assert len(pool.dispatcher.slots) == 5
    pool.at_s += 2.0
    assert len(pool.joined()) == 2, "a node without slots delays nothing"


def test_slots_grow_with_the_backlog_and_go_after_it() -> None:
    pool = Pool(0, 4)
    assert pool.look() == []
    pool.add("a", 2)
    first = pool.joined()
    assert len(first) == 2
    pool.add("b", 20)
    names = first + pool.joined()
    assert len(names) == 4
    for name in names:
        pool.at_s += 1.0
        pool.tell(SlotReady(name, 2))
    assert pool.look() == []
    while len(pool.ends()) < 2:
        pool.at_s += 1.0
        pool.finish(1)
    assert pool.look() == []
    pool.at_s += IDLE_S + 1.0
    pool.tell(Tick())
    assert {out.slot for out in pool.out if isinstance(out, Release)} == set(names)
    assert pool.look() == []
    assert not pool.dispatcher.slots
    pool.add("c", 1)
    assert len(pool.joined()) == 1, "what was released for want of work is asked for again at once"


def test_what_has_not_come_up_is_taken_back_when_nothing_is_queued() -> None:
    pool = Pool(0, 3)
    pool.add("a", 3)
    names = pool.joined()
    pool.tell(SlotReady(names[0], 2))
    assert len(pool.running) == 2, "nothing is held back for slots that may be minutes away"
    pool.finish(1)
    left = pool.look()
    assert left == [SlotLeft(name, "it is not needed any more") for name in names[1:]]
    assert pool.dispatcher.slots == {names[0]}


def test_no_more_slots_where_those_that_are_up_are_done_before() -> None:
    pool = Pool(0, 10)
    pool.add("a", 1)
    (first,) = pool.joined()
    pool.at_s += 120.0
    pool.tell(SlotReady(first, 2))
    assert pool.keeper.boot_s == 120.0
    pool.add("b", 5)
    pool.at_s += 10.0
    pool.finish(1)  # 10 of cost in 10 s
    pool.at_s += 10.0
    pool.finish(1)
    assert pool.joined() == []
    pool.add("c", 100)
    assert len(pool.joined()) == 9


@pytest.mark.parametrize(
    ("ages", "boot_s"),
    [
        ((170.0, 50.0), 200.0),  # its machine came for it, after two hours in which none could be had
        ((1e6, 50.0), 80.0),  # its node did, on a machine that was there
        ((1e6, 1e5), 30.0),  # there was no room on a node that was there
        ((), 30.0),
        (None, 7230.0),  # nothing is known of it
    ],
)
def test_to_wait_for_capacity_is_no_boot(ages: tuple[float, ...] | None, boot_s: float) -> None:
    pool = Pool(0, 10)
    pool.add("a", 1)
    (slot,) = pool.joined()
    pool.at_s += 7200.0
    pool.tell(SlotHere(slot, "n", ages))
    pool.at_s += 30.0
    pool.tell(SlotReady(slot, 2))
    assert pool.keeper.boot_s == boot_s


def die(pool: Pool, slot: str) -> None:
    """Until it is taken out of service, of nothing that it was given."""
    for _ in range(MAX_DEATHS_IN_A_ROW):
        pool.tell(SlotDied(slot, "died"))


def test_bad_slots_are_replaced_after_a_while_that_is_longer_with_each_bad_node_within_the_hour() -> None:
    pool = Pool(2, 2)
    good, bad = pool.joined()
    pool.add("a", 4)
    pool.tell(SlotReady(good, 1))
    for wait_s in (REPLACE_S, 2 * REPLACE_S, 4 * REPLACE_S):
        die(pool, bad)
        pool.at_s += wait_s - 1.0
        assert pool.look() == []
        pool.at_s += 1.0
        (bad,) = pool.joined()
        pool.finish(1)  # what another renderer does says nothing of the next that comes
    pool.at_s += HOUR_S
    die(pool, bad)
    pool.at_s += REPLACE_S
    assert len(pool.joined()) == 1
    assert len(pool.dispatcher.slots) == 2
    assert not pool.ends()


def test_when_all_that_come_are_bad_that_is_the_end_until_a_job_comes_where_there_was_none() -> None:
    pool = Pool(2, 2)
    pool.add("a", 4)
    slots = pool.joined()
    for number in range(BAD_IN_A_ROW):
        assert not pool.ends(), number
        die(pool, slots.pop(0))
        pool.at_s += 100.0
        events = pool.look()
        slots += [event.slot for event in events if isinstance(event, SlotJoined)]
    assert slots, "one more was asked for before the last was bad"
    assert not pool.ends()
    pool.at_s += COMING_S
    pool.look()
    assert isinstance(pool.ends()[0].error, WorkerLost)
    assert "died 4 times in a row" in str(pool.ends()[0].error)
    assert pool.look() == []
    assert not pool.dispatcher.slots
    pool.keeper.reopen()
    assert len(pool.joined()) == 2


def test_slots_that_start_again_are_taken_back_when_the_last_job_is_over() -> None:
    for least in (0, 2):
        pool = Pool(least, 2)
        pool.add("a", 2)
        good, again = pool.joined()
        pool.tell(SlotReady(good, 2))
        pool.tell(SlotReady(again, 2))
        pool.tell(SlotDied(again, "died"))
        assert pool.look() == []
        while not pool.ends():
            pool.running = [each for each in pool.running if each.task in pool.dispatcher.running[good]]
            pool.finish(1)
        assert pool.look() == [SlotLeft(again, "it is not needed any more")]
        assert pool.look() == []
        assert pool.dispatcher.slots == {good}
        pool.keeper.reopen()
        assert len(pool.joined()) == (1 if least else 0), "a fixed number is there again with the next job"


def test_slots_that_are_unfit_end_the_jobs_with_their_reason() -> None:
    error = WorkerLost("another version")
    for least in (0, 2):
        pool = Pool(least, 2)
        pool.add("a", 4)
        names = pool.joined()
        pool.tell(SlotUnfit(names[0], error))
        assert pool.keeper.unfit is error
        assert not pool.ends()
        pool.tell(SlotUnfit(names[1], error))
        assert [end.error for end in pool.ends()] == [error]


def test_what_one_node_says_of_all_its_slots_is_one_word() -> None:
    error, other = WorkerLost("another version"), WorkerLost("another version still")
    pool = Pool(0, 6)
    pool.add("a", 6)
    names = pool.joined()
    pool.tell(SlotUnfit(names[0], error, "x"))
    pool.tell(SlotUnfit(names[1], error, "x"))
    pool.tell(SlotUnfit(names[2], other, "y"))
    assert not pool.ends()
    assert {(out.node, out.reason) for out in pool.out if isinstance(out, Shun)} == {
        ("x", str(error)),
        ("y", str(other)),
    }
    pool.tell(SlotUnfit(names[3], error, "z"))
    assert [end.error for end in pool.ends()] == [error]
    assert {out.node for out in pool.out if isinstance(out, Trust)} == {"x", "z"}, "it was no node's fault"


def test_a_slot_that_is_unfit_beside_one_that_is_fit_is_left_out() -> None:
    pool = Pool(2, 2)
    pool.add("a", 2)
    good, bad = pool.joined()
    pool.tell(SlotReady(good, 2))
    pool.tell(SlotUnfit(bad, WorkerLost("another version")))
    assert pool.keeper.unfit is None
    assert pool.look() == []
    pool.finish(2)
    assert pool.ends() == [Finish(None, "a")]


def test_a_slot_taken_back_gives_its_tasks_back() -> None:
    pool = Pool(1, 1)
    pool.add("a", 2)
    (name,) = pool.joined()
    pool.tell(SlotReady(name, 2))
    assert len(pool.running) == 2
    pool.tell(SlotLeft(name, "not wanted"))
    assert set(pool.dispatcher.queued) == {"a0", "a1"}
    assert not pool.dispatcher.slots
    assert pool.dispatcher.deaths == 0


def test_a_slot_out_of_reach_is_blamed_for_nothing_and_comes_up_elsewhere() -> None:
    pool = Pool(1, 1)
    pool.add("a", 1)
    (name,) = pool.joined()
    for node in range(6):  # more often than a renderer may die
        pool.tell(SlotReady(name, 2, f"node-{node}"))
        pool.tell(SlotDied(name, "cannot be reached", blame=False))
    pool.tell(NodeGone("node-5", "found dead later"))
    assert pool.dispatcher.slots == {name}
    assert not pool.ends()
    pool.tell(SlotReady(name, 2, "node-6"))
    pool.running = pool.running[-1:]
    pool.finish(1)
    assert pool.ends() == [Finish(None, "a")]
    assert pool.dispatcher.deaths == 6


def test_what_is_waited_for_is_said_now_and_then() -> None:
    keeper = Keeper(0, 3, '{"GPU": 1.0}')
    assert keeper.words(0.0, waits=False) == ""
    assert keeper.words(5.0, waits=True) == ""
    words = keeper.words(5.0 + SAY_S, waits=True)
    assert words == 'no renderer is up, which needs {"GPU": 1.0}: waiting for a node for 10 s so far'
    assert keeper.words(6.0 + SAY_S, waits=True) == ""
    assert "20 s" in keeper.words(5.0 + 2 * SAY_S, waits=True)
    keeper.report = "type g6 could not be had: InsufficientInstanceCapacity"
    assert keeper.words(6.0 + 2 * SAY_S, waits=True).endswith("for 21 s so far; " + keeper.report), (
        "news are told at once"
    )
    assert keeper.words(7.0 + 2 * SAY_S, waits=True) == ""
    keeper.hear(SlotReady("s", 1), 30.0)
    assert keeper.words(60.0, waits=True) == ""


def test_release_reasons() -> None:
    pool = Pool(0, 1)
    pool.keeper.hear(Release("s", NOT_QUEUED), pool.at_s)
    pool.add("a", 1)
    assert len(pool.joined()) == 1
    pool = Pool(0, 1)
    pool.keeper.hear(Release("s", "its node leaves"), pool.at_s)
    pool.add("a", 1)
    assert pool.joined() == []
