"""The contract of actors.dispatch (see test_dispatch.py) under random sequences of events: several jobs, nodes that
come and go with and without notice, renderers that die, hang and answer too late, copies and moves."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from actors.dispatch import (
    MAX_DEPARTURES,
    MAX_TRIES,
    Assign,
    Beat,
    Cancel,
    Dispatcher,
    Done,
    Event,
    Failed,
    Finish,
    GiveUp,
    JobAdded,
    JobStopped,
    Kill,
    NodeGone,
    NodeLeaves,
    Quarantine,
    Release,
    Restart,
    Shun,
    SlotDied,
    SlotJoined,
    SlotReady,
    Task,
    Tick,
    Trust,
)
from core.errors import InputError, Interrupted, StorageError

HANG_S = 500.0


class Farm(RuleBasedStateMachine):
    """A pool that obeys the dispatcher and fails at random; it keeps its own books."""

    @initialize(
        jobs=st.lists(st.lists(st.integers(1, 60), min_size=1, max_size=12), min_size=1, max_size=3),
        slots=st.integers(1, 5),
        capacity=st.integers(1, 2),
        node=st.integers(1, 2),
    )
    def begin(self, jobs: list[list[int]], slots: int, capacity: int, node: int) -> None:
        self.now_s = 0.0
        self.joined = 0
        self.capacity = capacity
        self.a_node = node
        self.costs: dict[str, float] = {}
        self.machine = Dispatcher(None, [], at_s=0, hang_s=HANG_S, start_s=1e9, awaits_nodes=True)
        self.up: dict[str, bool] = {}
        self.node: dict[str, str] = {}
        self.leaving: set[str] = set()
        self.shunned: set[str] = set()
        self.work: dict[str, dict[str, int]] = {}
        self.losses: dict[str, list[tuple[str, str]]] = {}  # by task: node and slot of each death
        self.departures: dict[str, int] = {}
        self.published: set[str] = set()
        self.late: list[tuple[str, str, int]] = []
        self.damaged: dict[str, int] = {}
        self.attempts: set[tuple[str, int]] = set()
        self.finishes: dict[str, Finish] = {}
        self.jobs: list[str] = []
        for _ in range(slots):
            self.a_slot_joins()
        for costs in jobs:
            self.a_job_comes(costs, 0, 1)

    def obey(self, event: Event) -> None:
        for decision in self.machine.handle(event, self.now_s):
            match decision:
                case Assign(slot, task, attempt):
                    self.check_assign(slot, task, attempt)
                    self.attempts.add((task, attempt))
                    self.work[slot][task] = attempt
                    suspects = [other for other in self.work[slot] if self.losses[other]]
                    assert task not in suspects or len(self.work[slot]) == 1, "a suspect does not run alone"
                case Cancel(slot, task, attempt):
                    assert self.work[slot].pop(task) == attempt, "what is cancelled does not run"
                    self.late.append((slot, task, attempt))
                case Quarantine(slot, _):
                    self.late += [(slot, task, attempt) for task, attempt in self.work[slot].items()]
                    self.forget(slot)
                case Shun(node, _) | GiveUp(node, _):
                    self.shunned.add(node)
                case Trust(node):
                    self.shunned.remove(node)
                case Release(slot, _):
                    assert not self.work[slot], "a slot at work is released"
                    self.forget(slot)
                case Kill(slot, _):
                    assert self.work[slot]
                case Finish(_, job):
                    assert job not in self.finishes, "an end is said twice"
                    self.finishes[job] = decision
                case _:
                    assert isinstance(decision, Restart)
                    assert not self.up[decision.slot]

    def check_assign(self, slot: str, task: str, attempt: int) -> None:
        assert self.up[slot], "work for a slot that is not up"
        assert self.node[slot] not in self.leaving, "work for a node that leaves"
        assert job_of(task) not in self.finishes, "work after the end"
        assert task not in self.published, "work that is done already"
        assert task not in self.work[slot]
        assert sum(task in work for work in self.work.values()) <= 1, "more than one copy"
        assert (task, attempt) not in self.attempts, "an attempt number twice"
        assert len(self.work[slot]) < self.capacity
        if job_of(task) in self.damaged and not any(task in work for work in self.work.values()):
            assert position_of(task) < self.damaged[job_of(task)], "work behind damage"

    def forget(self, slot: str) -> None:
        del self.up[slot], self.work[slot], self.node[slot]

    def busy(self) -> list[tuple[str, str, int]]:
        return [(slot, task, attempt) for slot, work in self.work.items() for task, attempt in work.items()]

    # ------------------------------------------------------------ what happens

    @rule(costs=st.lists(st.integers(1, 60), max_size=8), priority=st.integers(0, 1), weight=st.integers(1, 3))
    def a_job_comes(self, costs: list[int], priority: int, weight: int) -> None:
        if len(self.jobs) < 6:
            job = f"j{len(self.jobs)}"
            self.jobs.append(job)
            tasks = [Task(f"{job}/{position}", position, cost) for position, cost in enumerate(costs)]
            for task in tasks:
                self.costs[task.id] = task.cost
                self.losses[task.id], self.departures[task.id] = [], 0
            self.obey(JobAdded(job, tasks, priority, weight))

    @rule(data=st.data(), odds=st.integers(0, 9))
    def a_job_is_stopped(self, data: st.DataObject, odds: int) -> None:
        if odds == 0:
            job = data.draw(st.sampled_from(self.jobs))
            self.obey(JobStopped(job, Interrupted("stopped")))
            assert not any(job_of(task) == job for _, task, _ in self.busy())

    @rule()
    def a_slot_joins(self) -> None:
        if len(self.up) < 6:
            number = self.joined
            self.joined += 1
            slot = f"s{number}"
            self.node[slot] = f"n{number // self.a_node}"
            self.up[slot] = False
            self.work[slot] = {}
            self.obey(SlotJoined(slot, self.node[slot], kind=f"k{number % 2}"))

    @rule(data=st.data())
    def slot_comes_up(self, data: st.DataObject) -> None:
        down = [slot for slot, up in self.up.items() if not up]
        if down:
            slot = data.draw(st.sampled_from(down))
            self.up[slot] = True
            self.obey(SlotReady(slot, self.capacity))

    @rule(seconds=st.sampled_from([0, 1, 5, 20, 60]))
    def time_passes(self, seconds: float) -> None:
        self.now_s += seconds
        self.obey(Tick())

    @rule(data=st.data(), damaged=st.booleans(), odds=st.integers(0, 5))
    def task_ends_well(self, data: st.DataObject, damaged: bool, odds: int) -> None:
        if self.busy():
            slot, task, attempt = data.draw(st.sampled_from(self.busy()))
            del self.work[slot][task]
            self.published.add(task)
            damaged = damaged and odds == 0
            if damaged:
                first = self.damaged.get(job_of(task), position_of(task))
                self.damaged[job_of(task)] = min(first, position_of(task))
            self.obey(Done(slot, task, attempt, damaged))
            assert not any(task in work for work in self.work.values()), "a copy of what is done goes on"

    @rule(data=st.data(), odds=st.integers(0, 9))
    def task_fails(self, data: st.DataObject, odds: int) -> None:
        if self.busy() and odds == 0:
            slot, task, attempt = data.draw(st.sampled_from(self.busy()))
            del self.work[slot][task]
            self.obey(Failed(slot, task, attempt, InputError("bad")))

    @rule(data=st.data(), what=st.sampled_from(["full", "out of reach"]))
    def node_refuses(self, data: st.DataObject, what: str) -> None:
        if self.busy():
            slot, task, attempt = data.draw(st.sampled_from(self.busy()))
            del self.work[slot][task]
            self.departures[task] += 1
            self.obey(Failed(slot, task, attempt, StorageError(what)))

    @rule(data=st.data(), frames=st.integers(0, 9))
    def task_moves(self, data: st.DataObject, frames: int) -> None:
        if self.busy():
            slot, task, attempt = data.draw(st.sampled_from(self.busy()))
            self.obey(Beat(slot, task, attempt, frames))

    @rule(data=st.data())
    def slot_dies(self, data: st.DataObject) -> None:
        if self.up:
            slot = data.draw(st.sampled_from(sorted(self.up)))
            self.up[slot] = False
            for task, attempt in self.work[slot].items():
                if self.node[slot] not in self.leaving:
                    self.losses[task].append((self.node[slot], slot))
                self.late.append((slot, task, attempt))
            self.work[slot] = {}
            if self.node[slot] in self.leaving:
                self.obey(SlotDied(slot, "killed"))
                self.forget(slot)
            else:
                self.obey(SlotDied(slot, "killed"))

    @rule(data=st.data(), notice_s=st.integers(0, 120))
    def node_gives_notice(self, data: st.DataObject, notice_s: int) -> None:
        if self.up:
            node = self.node[data.draw(st.sampled_from(sorted(self.up)))]
            self.leaving.add(node)
            self.obey(NodeLeaves(node, self.now_s + notice_s))

    @rule(data=st.data())
    def node_goes(self, data: st.DataObject) -> None:
        if self.up:
            node = self.node[data.draw(st.sampled_from(sorted(self.up)))]
            for slot in [slot for slot, home in self.node.items() if home == node]:
                for task, attempt in self.work[slot].items():
                    self.departures[task] += node not in self.leaving
                    self.late.append((slot, task, attempt))
                self.forget(slot)
            self.leaving.discard(node)
            self.obey(NodeGone(node, "spot"))

    @precondition(lambda self: self.late)
    @rule(data=st.data())
    def a_lost_attempt_answers_after_all(self, data: st.DataObject) -> None:
        slot, task, attempt = self.late.pop(data.draw(st.integers(0, len(self.late) - 1)))
        self.published.add(task)
        self.obey(Done(slot, task, attempt))

    # ------------------------------------------------------------ what holds at any time

    @invariant()
    def nothing_is_lost(self) -> None:
        queued = list(self.machine.queued)
        running = {task for tasks in self.machine.running.values() for task in tasks}
        done, dropped = self.machine.done, self.machine.dropped
        assert {*queued, *running, *done, *dropped} == set(self.costs)
        assert len(queued) + len(running) + len(done) + len(dropped) == len(self.costs), "a task is in two places"
        assert len(queued) == len(set(queued))
        backlog = self.machine.backlog
        assert (backlog.queued, backlog.running) == (len(queued), len(running))
        assert abs(backlog.cost - sum(self.costs[task] for task in queued)) < 1e-6

    @invariant()
    def books_agree(self) -> None:
        assert {s: set(t) for s, t in self.machine.running.items()} == {s: set(w) for s, w in self.work.items()}

    @invariant()
    def an_end_is_said_only_when_nothing_runs(self) -> None:
        for job, finish in self.finishes.items():
            mine = {task for task in self.costs if job_of(task) == job}
            assert not mine & {task for _, task, _ in self.busy()}
            if finish.error is None and job not in self.damaged:
                assert mine <= self.machine.done
            if finish.error is None and job in self.damaged:
                assert {task for task in mine if position_of(task) <= self.damaged[job]} <= self.machine.done

    @invariant()
    def no_task_is_tried_more_often_than_allowed(self) -> None:
        # One more than the limit where a copy still ran when the last loss came, and was lost in its turn.
        assert all(len({node for node, _ in deaths}) <= MAX_TRIES + 1 for deaths in self.losses.values())
        assert all(count <= MAX_DEPARTURES + 1 for count in self.departures.values())

    @invariant()
    def work_never_stalls(self) -> None:
        free = [slot for slot, up in self.up.items() if up and not self.work[slot]]
        waits = [(task, slot) for task in self.machine.queued for slot in free]
        assert all(self.nearer(task, slot) for task, slot in waits), "a slot without work beside a queue"

    def nearer(self, task: str, slot: str) -> bool:
        """Whether the task took down this slot or one of its node, and one that is up is farther from those."""
        deaths = self.losses[task]

        def distance(other: str) -> int:
            if (self.node[other], other) in deaths:
                return 0
            return 1 if any(node == self.node[other] for node, _ in deaths) else 2

        return distance(slot) < max(distance(other) for other, up in self.up.items() if up)

    def teardown(self) -> None:
        """Whatever happened, a pool that lives from here on brings every job to an end."""
        if not hasattr(self, "machine"):
            return
        for _ in range(400):
            if len(self.finishes) == len(self.jobs):
                break
            self.a_slot_joins()
            for slot in [slot for slot, up in self.up.items() if not up]:
                if slot in self.up:
                    self.up[slot] = True
                    self.obey(SlotReady(slot, self.capacity))
            for slot, task, attempt in self.busy():
                if self.work.get(slot, {}).pop(task, None) is not None:
                    self.published.add(task)
                    self.obey(Done(slot, task, attempt))
        assert len(self.finishes) == len(self.jobs)
        assert self.machine.finished
        for job in self.jobs:
            self.machine.forget(job)
        assert self.machine.done == frozenset()


def job_of(task: str) -> str:
    return task.split("/", maxsplit=1)[0]


def position_of(task: str) -> int:
    return int(task.split("/")[1])


TestFarm = Farm.TestCase
TestFarm.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
