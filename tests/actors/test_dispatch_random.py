"""The contract of actors.dispatch (see test_dispatch.py) under random sequences of events."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from actors.dispatch import (
    MAX_TRIES,
    Assign,
    Dispatcher,
    Done,
    Event,
    Failed,
    Finish,
    Quarantine,
    Restart,
    SlotDied,
    SlotReady,
    Task,
)
from core.errors import InputError


class Farm(RuleBasedStateMachine):
    """A pool that obeys the dispatcher and fails at random; it keeps its own books."""

    @initialize(
        costs=st.lists(st.integers(1, 9), min_size=1, max_size=12),
        slots=st.integers(1, 4),
        capacity=st.integers(1, 2),
    )
    def begin(self, costs: list[int], slots: int, capacity: int) -> None:
        self.capacity = capacity
        self.costs = {str(i): float(cost) for i, cost in enumerate(costs)}
        self.machine = Dispatcher(
            [Task(name, int(name), cost) for name, cost in self.costs.items()],
            [f"s{i}" for i in range(slots)],
            at_s=0,
            hang_s=1e9,
            start_s=1e9,
        )
        self.up: dict[str, bool] = {f"s{i}": False for i in range(slots)}
        self.work: dict[str, dict[str, int]] = {slot: {} for slot in self.up}
        self.losses = dict.fromkeys(self.costs, 0)
        self.published: dict[str, int] = {}
        self.late: list[tuple[str, str, int]] = []
        self.damaged: list[int] = []
        self.attempts: set[tuple[str, int]] = set()
        self.finishes: list[Finish] = []

    def obey(self, event: Event) -> None:
        for decision in self.machine.handle(event, 0.0):
            match decision:
                case Assign(slot, task, attempt):
                    assert self.up[slot], "work for a slot that is not up"
                    assert not self.finishes, "work after the end"
                    assert task not in self.published, "work that is done already"
                    assert all(task not in work for work in self.work.values()), "two current attempts of one task"
                    assert (task, attempt) not in self.attempts, "an attempt number twice"
                    assert len(self.work[slot]) < self.capacity
                    self.attempts.add((task, attempt))
                    self.work[slot][task] = attempt
                    if any(self.losses[other] for other in self.work[slot]):
                        assert len(self.work[slot]) == 1, "a suspect does not run alone"
                    if self.damaged:
                        assert int(task) < max(self.damaged), "work behind damage"
                case Quarantine(slot, _):
                    del self.up[slot], self.work[slot]
                case Finish():
                    self.finishes.append(decision)
                case _:
                    assert isinstance(decision, Restart)

    def busy(self) -> list[tuple[str, str, int]]:
        return [(slot, task, attempt) for slot, work in self.work.items() for task, attempt in work.items()]

    @rule(data=st.data())
    def slot_comes_up(self, data: st.DataObject) -> None:
        down = [slot for slot, up in self.up.items() if not up]
        if down:
            slot = data.draw(st.sampled_from(down))
            self.up[slot] = True
            self.obey(SlotReady(slot, self.capacity))

    @rule(data=st.data(), damaged=st.booleans(), odds=st.integers(0, 5))
    def task_ends_well(self, data: st.DataObject, damaged: bool, odds: int) -> None:
        if self.busy():
            slot, task, attempt = data.draw(st.sampled_from(self.busy()))
            del self.work[slot][task]
            self.published[task] = self.published.get(task, 0) + 1
            damaged = damaged and odds == 0
            if damaged:
                self.damaged.append(int(task))
            self.obey(Done(slot, task, attempt, damaged))

    @rule(data=st.data(), odds=st.integers(0, 7))
    def task_fails(self, data: st.DataObject, odds: int) -> None:
        if self.busy() and odds == 0:
            slot, task, attempt = data.draw(st.sampled_from(self.busy()))
            del self.work[slot][task]
            self.obey(Failed(slot, task, attempt, InputError("bad")))

    @rule(data=st.data())
    def slot_dies(self, data: st.DataObject) -> None:
        if self.up:
            slot = data.draw(st.sampled_from(sorted(self.up)))
            self.up[slot] = False
            for task, attempt in self.work[slot].items():
                self.losses[task] += 1
                self.late.append((slot, task, attempt))
            self.work[slot] = {}
            self.obey(SlotDied(slot, "killed"))

    @precondition(lambda self: self.late)
    @rule(data=st.data())
    def a_lost_attempt_answers_after_all(self, data: st.DataObject) -> None:
        slot, task, attempt = self.late.pop(data.draw(st.integers(0, len(self.late) - 1)))
        self.published.setdefault(task, 1)
        self.obey(Done(slot, task, attempt))

    @invariant()
    def nothing_is_lost(self) -> None:
        known = set(self.machine.queued) | self.machine.done | self.machine.dropped
        known |= {task for running in self.machine.running.values() for task in running}
        assert known == set(self.costs)
        queued = list(self.machine.queued)
        assert len(queued) == len(set(queued))
        assert not set(queued) & self.machine.done

    @invariant()
    def books_agree(self) -> None:
        if not self.finishes:
            assert {s: set(t) for s, t in self.machine.running.items()} == {s: set(w) for s, w in self.work.items()}

    @invariant()
    def the_end_is_said_once_and_only_when_nothing_runs(self) -> None:
        assert len(self.finishes) <= 1
        if self.finishes:
            assert not self.busy()
            if self.finishes[0].error is None and not self.damaged:
                assert self.machine.done == set(self.costs)
            if self.damaged and self.finishes[0].error is None:
                first = min(self.damaged)
                assert {str(i) for i in range(first + 1)} <= self.machine.done

    @invariant()
    def no_task_is_tried_more_often_than_allowed(self) -> None:
        assert all(count <= MAX_TRIES for count in self.losses.values())

    @invariant()
    def work_never_stalls(self) -> None:
        if self.machine.queued and not self.finishes:
            assert self.busy() or not any(self.up.values()), "slots are up, the queue is not empty, and nothing runs"

    def teardown(self) -> None:
        """Whatever happened, a pool that lives from here on brings the job to an end."""
        if not hasattr(self, "machine"):
            return
        for _ in range(200):
            if self.finishes:
                break
            for slot in [slot for slot, up in self.up.items() if not up]:
                self.up[slot] = True
                self.obey(SlotReady(slot, self.capacity))
            for slot, task, attempt in self.busy():
                if self.work.get(slot, {}).pop(task, None) is not None:
                    self.published[task] = 1
                    self.obey(Done(slot, task, attempt))
        assert len(self.finishes) == 1


TestFarm = Farm.TestCase
TestFarm.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
