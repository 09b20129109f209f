"""Jobs of one group never have more worked on at once than the group may, whatever dies, and all of it gets done."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from actors.dispatch import Assign, Cancel, Dispatcher, Done, Finish, JobAdded, JobStopped, SlotDied, SlotReady, Task
from actors.dispatch.events import Event
from actors.dispatch.jobs import Jobs
from core.errors import Interrupted


class Pool:
    """A dispatcher, and what its slots work on by its decisions."""

    def __init__(self, slots: int, capacity: int) -> None:
        self.names = [f"s{number}" for number in range(slots)]
        self.dispatcher = Dispatcher((), self.names, at_s=0.0, hang_s=1e9, start_s=1e9)
        self.capacity = capacity
        self.running: dict[tuple[str, str], int] = {}
        self.finished: dict[str, object] = {}
        self.at_s = 0.0

    def tell(self, event: Event) -> None:
        self.at_s += 0.1
        for decision in self.dispatcher.handle(event, self.at_s):
            match decision:
                case Assign():
                    self.running[decision.slot, decision.task] = decision.attempt
                case Cancel():
                    self.running.pop((decision.slot, decision.task), None)
                case Finish():
                    self.finished[decision.job] = decision.error

    def of_job(self, job: str) -> set[str]:
        return {task for _, task in self.running if task.startswith(f"{job}.")}


GROUPS = {"a": 1, "b": 3, "": None}


@given(
    jobs=st.lists(st.tuples(st.sampled_from(sorted(GROUPS)), st.integers(1, 8)), min_size=1, max_size=5),
    slots=st.integers(1, 5),
    capacity=st.integers(1, 2),
    data=st.data(),
)
def test_a_group_has_no_more_than_it_may(
    jobs: list[tuple[str, int]], slots: int, capacity: int, data: st.DataObject
) -> None:
    pool = Pool(slots, capacity)
    group_of: dict[str, str] = {}
    for number, (group, count) in enumerate(jobs):
        name = f"j{number}"
        group_of[name] = group
        tasks = [Task(f"{name}.{place}", place, 1.0 + place % 3) for place in range(count)]
        pool.tell(JobAdded(name, tasks, group=group, most=GROUPS[group]))
    for slot in pool.names:
        pool.tell(SlotReady(slot, capacity))
    deaths = stops = 0
    for _ in range(400):
        counts: Counter[str] = Counter()
        for name, group in group_of.items():
            counts[group] += len(pool.of_job(name))
        for group, most in GROUPS.items():
            assert most is None or counts[group] <= most, (group, counts)
        if len(pool.finished) == len(jobs):
            break
        assert pool.running, "work is open, slots are up, and nothing runs"
        slot, task = data.draw(st.sampled_from(sorted(pool.running)))
        what = data.draw(st.integers(0, 9))
        if what == 0 and deaths < 2:
            deaths += 1
            for key in [key for key in pool.running if key[0] == slot]:
                del pool.running[key]
            pool.tell(SlotDied(slot, "killed"))
            pool.tell(SlotReady(slot, capacity))
        elif what == 1 and not stops:
            stops += 1
            pool.tell(JobStopped(task.split(".")[0], Interrupted("stopped")))
        else:
            attempt = pool.running.pop((slot, task))
            pool.tell(Done(slot, task, attempt))
    assert len(pool.finished) == len(jobs)
    assert sum(error is not None for error in pool.finished.values()) <= stops


def test_the_rest_of_the_pool_is_for_others_and_the_backlog_says_so() -> None:
    pool = Pool(4, 1)
    pool.tell(JobAdded("capped", [Task(f"capped.{place}", place, 1.0) for place in range(10)], group="a", most=1))
    for slot in pool.names:
        pool.tell(SlotReady(slot, 1))
    assert len(pool.of_job("capped")) == 1
    assert (pool.dispatcher.backlog.queued, pool.dispatcher.backlog.running) == (0, 1)
    pool.tell(JobAdded("free", [Task(f"free.{place}", place, 1.0) for place in range(10)]))
    assert (len(pool.of_job("capped")), len(pool.of_job("free"))) == (1, 3)
    pool.tell(JobAdded("more", [Task(f"more.{place}", place, 1.0) for place in range(3)], group="a", most=2))
    (slot, task), attempt = next(item for item in pool.running.items() if item[0][1].startswith("free"))
    del pool.running[slot, task]
    pool.tell(Done(slot, task, attempt))
    assert len(pool.of_job("capped") | pool.of_job("more")) == 2, "the newest job of a group says how many"


def test_a_group_is_forgotten_with_the_last_of_its_jobs() -> None:
    jobs = Jobs()
    for number in range(300):
        for name in ("first", "second"):
            jobs.add(JobAdded(f"{name}{number}", [Task(f"{name}{number}", 0, 1.0)], group=f"tenant{number}", most=1))
        found = [jobs.take(1.0, None)]
        assert found[0] is not None
        assert jobs.take(1.0, None) is None, "the group has all that it may have"
        ledger, rank = found[0]
        for name in ("first", "second"):
            assert jobs.groups == {f"tenant{number}"}
            if not ledger.complete(rank):
                raise AssertionError(ledger.job)
            jobs.touch(ledger)
            (finish,) = jobs.ended()
            assert finish.job == f"{name}{number}"
            jobs.forget(finish.job)
            if name == "first":
                taken = jobs.take(1.0, None)
                assert taken is not None
                ledger, rank = taken
        assert jobs.groups == frozenset()


@given(counts=st.tuples(st.integers(1, 5), st.integers(1, 5)), later=st.sampled_from([1.0, 3.0]))
def test_groups_share_by_their_weights_however_many_jobs_they_have(counts: tuple[int, int], later: float) -> None:
    """Of two groups that always have a queue, each gets its part within a task of each job: while jobs come, when
    some have ended, and with another weight."""
    pool = Pool(1, 1)
    pool.tell(SlotReady("s0", 1))
    for group, count in zip("ab", counts, strict=True):
        for number in range(count):
            name = f"{group}{number}"
            pool.tell(JobAdded(name, [Task(f"{name}.{place}", place, 1.0) for place in range(400)], group=group))
    slack = sum(counts)

    def given_of(tasks: int) -> Counter[str]:
        given_: Counter[str] = Counter()
        for _ in range(tasks):
            ((slot, task), attempt) = next(iter(pool.running.items()))
            given_[task[0]] += 1
            del pool.running[slot, task]
            pool.tell(Done(slot, task, attempt))
        return given_

    given_of(slack)
    told = given_of(100)
    assert abs(told["a"] - told["b"]) <= 2 * slack
    for number in range(1, counts[0]):  # one job of the first group is left
        pool.tell(JobStopped(f"a{number}", Interrupted("stopped")))
        pool.dispatcher.forget(f"a{number}")
    pool.dispatcher.weigh("a", later)
    given_of(slack)
    told = given_of(100)
    assert abs(told["a"] - later * told["b"]) <= 2 * (1 + later) * slack


@given(others=st.integers(1, 12), weights=st.tuples(st.sampled_from([1.0, 2.0]), st.sampled_from([0.5, 8.0])))
def test_a_loss_gives_back_what_was_charged(others: int, weights: tuple[float, float]) -> None:
    """Jobs of the tenant that came since, and another weight, change nothing of it; nor is anything kept of it."""
    jobs = Jobs()
    jobs.add(JobAdded("a", [Task(f"a.{place}", place, 3.0) for place in range(3)], group="tenant", weight=weights[0]))
    taken = [jobs.take(1.0, None) for _ in range(2)]
    assert all(taken)
    (ledger, lost), (_, done) = [one for one in taken if one is not None]
    assert ledger.served == 6.0 / weights[0]
    for number in range(others):
        jobs.add(JobAdded(f"b{number}", [Task(f"b{number}.0", 0, 1.0)], group="tenant", weight=weights[0]))
    jobs.weigh("tenant", weights[1])
    jobs.put_back(ledger, lost)
    assert ledger.served == 3.0 / weights[0]
    assert ledger.complete(done)
    assert ledger.charges == {}


@given(tails=st.integers(1, 12), low=st.integers(0, 5))
def test_jobs_with_nothing_queued_take_nothing_of_their_tenant(tails: int, low: int) -> None:
    """Nor do those of another priority, which do not compete."""
    jobs = Jobs()
    for number in range(tails):
        jobs.add(JobAdded(f"tail{number}", [Task(f"tail{number}.0", 0, 1.0)], group="a"))
        assert jobs.take(1.0, None) is not None
    for number in range(low):
        jobs.add(JobAdded(f"low{number}", [Task(f"low{number}.0", 0, 1.0)], priority=-1, group="a"))
    for group in "ab":
        tasks = [Task(f"{group}.{place}", place, 1.0) for place in range(60)]
        jobs.add(JobAdded(group, tasks, group=group))
    given_: Counter[str] = Counter()
    for _ in range(60):
        taken = jobs.take(1.0, None)
        assert taken is not None
        given_[taken[0].job] += 1
    assert abs(given_["a"] - given_["b"]) <= 2


def test_the_next_stage_of_a_job_keeps_the_weight_that_was_told_since() -> None:
    """Whether or not another job of the group is open between the two."""
    jobs = Jobs()
    jobs.add(JobAdded("stage1", [Task("s.1", 0, 1.0)], group="a", weight=2.0))
    jobs.weigh("a", 5.0)
    jobs.add(JobAdded("other", [Task("o.1", 0, 1.0)], group="a", weight=2.0))
    taken = [jobs.take(1.0, None) for _ in range(2)]
    for ledger, rank in [one for one in taken if one is not None]:
        assert ledger.group.weight == 5.0
        ledger.complete(rank)
        jobs.touch(ledger)
    for finish in list(jobs.ended()):
        jobs.forget(finish.job)
    assert jobs.groups == frozenset()
    jobs.add(JobAdded("stage2", [Task("s.2", 0, 1.0)], group="a", weight=2.0))
    found = jobs.take(1.0, None)
    assert found is not None
    assert found[0].group.weight == 5.0
