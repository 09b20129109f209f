"""The law of transitions, exhaustively: every state, every thing that can be asked, held or lost."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from farm.service import held, jobs, leasing
from farm.service.database import Database
from farm.service.errors import Conflict, LeaseLost, NotFound
from farm.service.events import after
from farm.service.records import Held, JobRow, SegmentRow
from farm.service.states import ENDED, FROM, WAITING, WORKING, JobState, Wish
from tests.farm.service.farmhouse import ACME, DONE, FAILED, OTHER, Hand, job_in, report, submit, take, tenants

S = JobState
CAST = 'schema = "farm.cast/1"'


def test_the_states_are_parted_into_working_waiting_and_ended() -> None:
    assert sorted([*WORKING, *WAITING, *ENDED]) == sorted(JobState)
    assert set(FROM) == set(JobState)


def test_the_law_goes_forward_while_a_coordinator_holds_the_job() -> None:
    for rank, late in enumerate(WORKING[1:], 1):
        assert FROM[late] == frozenset(WORKING[:rank])
    for end in ENDED:
        assert not any(end in FROM[state] for state in JobState if state is not S.queued)
    assert S.succeeded not in frozenset().union(*FROM.values())


Ask = Callable[[Database, str], JobRow]
ASKS: dict[str, Ask] = {
    "cancel": lambda db, job: jobs.cancel(db, ACME, job),
    "pause": lambda db, job: jobs.pause(db, ACME, job),
    "resume": lambda db, job: jobs.resume(db, ACME, job),
    "retry": lambda db, job: jobs.retry(db, ACME, job),
    "put_cast": lambda db, job: jobs.put_cast(db, ACME, job, CAST),
}
RUN, STOP, PAUSE = Wish.run, Wish.cancel, Wish.pause
# state -> what is asked -> the state and the wish after it, or None where it is a Conflict
AFTER: dict[JobState, dict[str, tuple[JobState, Wish] | None]] = {
    S.queued: {
        "cancel": (S.cancelled, RUN),
        "pause": (S.paused, RUN),
        "resume": (S.queued, RUN),
        "retry": (S.queued, RUN),
        "put_cast": (S.queued, RUN),
    },
    **{
        state: {
            "cancel": (state, STOP),
            "pause": (state, PAUSE),
            "resume": (state, RUN),
            "retry": (state, RUN),
            "put_cast": None,
        }
        for state in WORKING
    },
    S.casting: {
        "cancel": (S.cancelled, RUN),
        "pause": (S.paused, RUN),
        "resume": (S.casting, RUN),
        "retry": (S.casting, RUN),
        "put_cast": (S.queued, RUN),
    },
    S.paused: {
        "cancel": (S.cancelled, RUN),
        "pause": (S.paused, RUN),
        "resume": (S.queued, RUN),
        "retry": (S.paused, RUN),
        "put_cast": (S.paused, RUN),
    },
    S.succeeded: {"cancel": None, "pause": None, "resume": None, "retry": None, "put_cast": None},
    S.failed: {"cancel": None, "pause": None, "resume": None, "retry": (S.queued, RUN), "put_cast": (S.failed, RUN)},
    S.refused: {"cancel": None, "pause": None, "resume": None, "retry": (S.queued, RUN), "put_cast": (S.refused, RUN)},
    S.cancelled: {
        "cancel": (S.cancelled, RUN),
        "pause": None,
        "resume": None,
        "retry": (S.queued, RUN),
        "put_cast": (S.cancelled, RUN),
    },
}


@pytest.mark.parametrize("state", list(JobState))
def test_what_a_tenant_asks(db: Database, state: JobState) -> None:
    """Each thing asked of a job in this state: what it becomes, that asking twice is asking once, and who may ask."""
    tenants(db)
    for name, ask in ASKS.items():
        job, mine = job_in(db, state)
        before = jobs.get(db, ACME, job)
        assert before.state is state
        with pytest.raises(NotFound, match="no such job"):
            jobs.get(db, OTHER, job)
        expected = AFTER[state][name]
        if expected is None:
            with pytest.raises(Conflict, match=state.value):
                ask(db, job)
            assert jobs.get(db, ACME, job) == before
            continue
        once = ask(db, job)
        assert (once.state, once.wish) == expected, name
        again = ask(db, job)
        assert (again.state, again.wish) == expected, name
        if name != "put_cast":
            assert again == once
        assert [event.seq for event in after(db, ACME, job, 0)] == list(range(1, again.last_seq + 1))
        if mine is not None:  # the coordinator keeps what it holds until it obeys
            held.report(db, mine)
            held.give_back(db, mine)
            to = {STOP: S.cancelled, PAUSE: S.paused, RUN: S.queued}[expected[1]]
            assert jobs.get(db, ACME, job).state is to


def test_a_cancellation_is_not_taken_back_by_a_pause_or_a_resume(db: Database) -> None:
    tenants(db)
    job, mine = job_in(db, S.rendering)
    assert mine is not None
    jobs.pause(db, ACME, job)
    jobs.cancel(db, ACME, job)
    with pytest.raises(Conflict, match="is being cancelled and cannot be paused"):
        jobs.pause(db, ACME, job)
    assert jobs.resume(db, ACME, job).wish is STOP
    held.give_back(db, mine)
    assert jobs.get(db, ACME, job).state is S.cancelled


Write = Callable[[Database, Held], object]
WRITES: dict[str, Write] = {
    "stage": lambda db, mine: held.stage(db, mine, S.verifying),
    "report": held.report,
    "clear": held.clear_segments,
    "succeed": lambda db, mine: held.succeed(db, mine, DONE, report()),
    "fail": lambda db, mine: held.fail(db, mine, FAILED),
    "casting": held.wait_for_cast,
    "give back": held.give_back,
}


@pytest.mark.parametrize("name", sorted(WRITES))
def test_who_lost_a_job_changes_nothing(db: Database, clock: Hand, name: str) -> None:
    """A coordinator that slept through its lease: another has the job, or it ended, or it was ended without one."""
    tenants(db)
    job, sleeper = job_in(db, S.indexing)
    assert sleeper is not None
    clock.forward(16)
    (mine,) = take(db, "coordinator-2")
    assert (mine.job, mine.epoch) == (job, sleeper.epoch + 1)
    ends: list[Callable[[], object]] = [
        lambda: None,
        lambda: held.fail(db, mine, FAILED),
        lambda: jobs.retry(db, ACME, job),
        lambda: jobs.pause(db, ACME, job),
    ]
    for end in ends:
        end()
        before = jobs.get(db, ACME, job), after(db, ACME, job, 0)
        with pytest.raises(LeaseLost):
            WRITES[name](db, sleeper)
        assert (jobs.get(db, ACME, job), after(db, ACME, job, 0)) == before
    assert job not in leasing.renew(db, "coordinator-1")


@pytest.mark.parametrize("ask", ["cancel", "pause"])
def test_a_job_whose_coordinator_died_obeys_at_once(db: Database, clock: Hand, ask: str) -> None:
    tenants(db)
    job, mine = job_in(db, S.rendering)
    assert mine is not None
    clock.forward(16)
    row = ASKS[ask](db, job)
    assert row.state is (S.cancelled if ask == "cancel" else S.paused)
    with pytest.raises(LeaseLost):
        held.report(db, mine)
    assert take(db, "coordinator-2") == []


@pytest.mark.parametrize(("ask", "to"), [("cancel", S.cancelled), ("pause", S.paused)])
def test_a_wish_outlives_the_coordinator(db: Database, clock: Hand, ask: str, to: JobState) -> None:
    tenants(db)
    job, _ = job_in(db, S.rendering)
    ASKS[ask](db, job)
    clock.forward(16)
    assert take(db, "coordinator-2") == []
    row = jobs.get(db, ACME, job)
    assert (row.state, row.wish) == (to, RUN)


def test_a_job_that_coordinators_die_of_fails(db: Database, clock: Hand) -> None:
    tenants(db)
    job = submit(db).id
    for _ in range(leasing.MOST_LAPSES):
        assert [mine.job for mine in take(db)] == [job]
        clock.forward(16)
    assert take(db) == []
    row = jobs.get(db, ACME, job)
    assert row.state is S.failed
    assert row.problem is not None
    assert f"died {leasing.MOST_LAPSES} times" in row.problem.what
    assert [event.data["state"] for event in after(db, ACME, job, 0)][-1] == "failed"
    jobs.retry(db, ACME, job)
    assert [mine.job for mine in take(db)] == [job]


def test_jobs_that_coordinators_die_of_are_tried_one_at_a_time(db: Database, clock: Hand) -> None:
    """Ten jobs, of which one kills every coordinator that has it: it fails, and the others get on and succeed."""
    tenants(db)
    made = [submit(db).id for _ in range(10)]
    bad = made[3]
    done: set[str] = set()
    for _ in range(100):
        taken = take(db, places=10)
        if any(mine.job == bad for mine in taken):  # before anybody gets on
            clock.forward(16)
            continue
        for mine in taken:
            held.report(db, mine, segments=[SegmentRow("render", 0, "done", 10)])
            held.succeed(db, mine, DONE, report())
            done.add(mine.job)
        clock.forward(1)
    assert done == set(made) - {bad}
    assert jobs.get(db, ACME, bad).state is S.failed


def test_stages_go_forward_within_an_epoch(db: Database, clock: Hand) -> None:
    tenants(db)
    job, mine = job_in(db, S.rendering)
    assert mine is not None
    for back in (S.indexing, S.analysing, S.rendering):
        assert not held.stage(db, mine, back)
    assert held.stage(db, mine, S.verifying)
    clock.forward(16)
    (other,) = take(db, "coordinator-2")
    row = jobs.get(db, ACME, job)
    assert (row.state, row.epoch, row.attempt) == (S.indexing, other.epoch, 2)
    told = [event.data for event in after(db, ACME, job, 0)]
    assert [data["state"] for data in told] == ["queued", "indexing", "rendering", "verifying", "indexing"]
