"""Whose fault a death is: the segment's, or that of the one place where it happened.

Laws: no one bad node poisons a healthy segment while another node is up; a poisonous segment is given up after three
deaths at most, on as many nodes, or else slots, as there are.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from actors.dispatch import (
    MAX_DEATHS_IN_A_ROW,
    MAX_TRIES,
    Assign,
    Decision,
    Dispatcher,
    Done,
    Event,
    Finish,
    JobAdded,
    NodeGone,
    Quarantine,
    Restart,
    SlotDied,
    SlotJoined,
    SlotReady,
    Task,
)
from core.errors import WorkerLost


class Farm:
    """Slots named node/number that come up at once, also after a death; `kills` says whether an attempt takes its slot
    down. Every other attempt is done."""

    def __init__(self, nodes: dict[str, int], capacity: int, kills: Callable[[str, str], bool], seed: int) -> None:
        self.machine = Dispatcher(None, [], at_s=0.0, hang_s=1e6, start_s=1e6, awaits_nodes=True)
        self.capacity = capacity
        self.kills = kills
        self.dice = random.Random(seed)
        self.work: list[tuple[str, str, int]] = []
        self.deaths: list[tuple[str, str]] = []  # slot, task
        self.ends: list[Finish] = []
        for node, slots in nodes.items():
            for number in range(slots):
                self.join(f"{node}/{number}")

    def join(self, slot: str) -> None:
        self.tell(SlotJoined(slot, slot.split("/", maxsplit=1)[0]))
        self.tell(SlotReady(slot, self.capacity))

    def tell(self, event: Event) -> None:
        decisions: list[Decision] = self.machine.handle(event, 0.0)
        for decision in decisions:
            match decision:
                case Assign(slot, task, attempt):
                    self.work.append((slot, task, attempt))
                case Finish():
                    self.ends.append(decision)
        # Not before all decisions of the event are noted: what comes up again gets work of its own.
        for decision in decisions:
            match decision:
                case Restart(slot, _):
                    self.tell(SlotReady(slot, self.capacity))
                case Quarantine(slot, _):
                    self.taken_out(slot)

    def taken_out(self, slot: str) -> None:
        """Nothing comes in the slot's place."""

    def run(self, tasks: int) -> Finish:
        self.tell(JobAdded("a", [Task(f"a{number}", number, 1.0 + number % 3) for number in range(tasks)]))
        while not self.ends:
            # What is cancelled or lost is not what the slot works on any more.
            self.work = [each for each in self.work if each[1] in self.machine.running.get(each[0], ())]
            slot, task, attempt = self.dice.choice(self.work)
            self.work.remove((slot, task, attempt))
            if self.kills(slot, task):
                self.deaths.append((slot, task))
                self.tell(SlotDied(slot, "killed"))
            else:
                self.tell(Done(slot, task, attempt))
        return self.ends[0]


@given(
    good=st.integers(1, 3),
    slots=st.integers(1, 3),
    bad=st.integers(1, 4),
    capacity=st.integers(1, 2),
    tasks=st.integers(1, 24),
    replaced=st.integers(0, 4),
    seed=st.integers(0, 2**32),
)
def test_no_bad_node_poisons_a_healthy_segment_while_another_node_is_up(
    good: int, slots: int, bad: int, capacity: int, tasks: int, replaced: int, seed: int
) -> None:
    """Every slot of the bad node dies of all that it is given; what is taken out of service there is replaced there."""
    nodes = {**{f"good{number}": slots for number in range(good)}, "bad": bad}
    farm = Farm(nodes, capacity, lambda slot, _: slot.startswith("bad"), seed)
    left = replaced

    def replace(slot: str) -> None:
        nonlocal left
        if left:
            left -= 1
            farm.join(f"bad/again{left}")

    farm.taken_out = replace  # type: ignore[method-assign]
    assert farm.run(tasks).error is None
    assert len(farm.machine.done) == tasks


@given(
    nodes=st.integers(1, 4),
    slots=st.integers(1, 4),
    capacity=st.integers(1, 2),
    tasks=st.integers(1, 24),
    seed=st.integers(0, 2**32),
)
def test_a_poisonous_segment_is_given_up_after_three_deaths(
    nodes: int, slots: int, capacity: int, tasks: int, seed: int
) -> None:
    poisonous = f"a{seed % tasks}"
    farm = Farm({f"n{number}": slots for number in range(nodes)}, capacity, lambda _, task: task == poisonous, seed)
    error = farm.run(tasks).error
    assert isinstance(error, WorkerLost)
    assert f"segment {poisonous[1:]} " in str(error)
    assert len(farm.deaths) == MAX_TRIES
    died = [slot for slot, _ in farm.deaths]
    assert len({slot.split("/")[0] for slot in died}) == min(nodes, MAX_TRIES)
    assert len(set(died)) == min(nodes * slots, MAX_TRIES)


def test_a_bad_gpu_beside_a_good_one_poisons_nothing() -> None:
    farm = Farm({"n": 2}, 2, lambda slot, _: slot == "n/0", seed=1)
    assert farm.run(12).error is None
    assert len(farm.deaths) <= MAX_DEATHS_IN_A_ROW


def test_a_suspect_waits_for_another_node_and_the_one_it_died_on_does_the_rest() -> None:
    machine = Dispatcher(None, [], at_s=0.0, hang_s=1e6, start_s=1e6, awaits_nodes=True)

    def tell(*events: Event) -> list[tuple[str, str]]:
        decisions = [decision for event in events for decision in machine.handle(event, 0.0)]
        return [(each.slot, each.task) for each in decisions if isinstance(each, Assign)]

    tasks = [Task(name, number, 9.0 - number) for number, name in enumerate("abcd")]
    tell(SlotJoined("x", "x"), SlotJoined("y", "y"), JobAdded("", tasks))
    assert tell(SlotReady("x", 1), SlotReady("y", 1)) == [("x", "a"), ("y", "b")]
    assert tell(SlotDied("x", "killed"), SlotReady("x", 1)) == [("x", "c")]
    assert tell(Done("x", "c", 1)) == [("x", "d")]
    assert tell(Done("x", "d", 1)) == []
    assert machine.queued == ("a",), "y is up and busy"
    assert tell(NodeGone("y", "spot")) == [("x", "a")], "there is no other node any more"
    tell(SlotDied("x", "killed"), SlotJoined("z", "z"))
    assert tell(SlotReady("x", 1)) == [("x", "a")], "twice on x: a third death there would say that it is a's fault"
    assert tell(SlotReady("z", 1)) == [("z", "b")]
    assert tell(SlotDied("x", "killed"), SlotReady("x", 1)) == [], "but by now there is z"
    assert tell(Done("z", "b", 2)) == [("z", "a")]
    assert machine.handle(Done("z", "a", 4), 0.0) == [Finish(None, "")]
