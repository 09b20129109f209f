"""What is made of what a job tells, and of silence; the clock is the test's."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core.records import JobStatus
from farm.watching.follow import QUIET_S, Follower, Verdict, finished, quiet_s

STATUS = JobStatus(
    run="a" * 16,
    job="",
    target="in.mp4",
    output="out.mp4",
    state="running",
    stage="render",
    sequence=1,
    started="2026-01-01T00:00:00.000Z",
    updated="2026-01-01T00:01:00.000Z",
    seconds=60.0,
    every_s=2.0,
    map="render",
    grid="#=>.!",
    frames=500,
    frames_done=250,
)


def follower(*, made: bool = False, wait: bool = False) -> Follower:
    return Follower(lambda status: made and status.output == "out.mp4", wait=wait)


def test_a_job_that_tells_its_end() -> None:
    one = follower()
    assert one.hear(STATUS, 0.0) is None
    failed = replace(STATUS, sequence=2, state="failed", error="disk full; free some space", exit_code=4)
    assert one.hear(failed, 2.0) == Verdict(4, "out.mp4: failed: disk full; free some space")
    assert follower().hear(replace(STATUS, state="finished", exit_code=0), 0.0) == Verdict(0, "out.mp4: finished")
    assert follower().hear(replace(STATUS, state="stopped", error="stopped", exit_code=130), 0.0) == Verdict(
        130, "out.mp4: stopped: stopped"
    )


def test_a_finished_job_takes_its_state_away() -> None:
    one = follower(made=True)
    one.hear(STATUS, 0.0)
    assert one.hear(None, 1.0) == Verdict(0, "out.mp4: finished")
    last = one.last
    assert last == finished(STATUS)
    assert (last.grid, last.frames_done, last.state, last.exit_code) == ("#=###", 500, "finished", 0)


def test_a_run_that_kept_nothing() -> None:
    one = follower()
    one.hear(STATUS, 0.0)
    verdict = one.hear(None, 1.0)
    assert verdict is not None
    assert verdict.code == 4


def test_silence() -> None:
    one = follower()
    assert one.hear(STATUS, 100.0) is None
    assert one.hear(STATUS, 100.0 + QUIET_S - 0.1) is None
    assert one.quiet_for_s(110.0) == 10.0
    assert one.hear(replace(STATUS, sequence=2), 129.0) is None
    assert one.hear(replace(STATUS, sequence=2), 129.0 + QUIET_S - 0.1) is None
    verdict = one.hear(replace(STATUS, sequence=2), 129.0 + QUIET_S)
    assert verdict is not None
    assert verdict.code == 4
    assert "run the same command again to resume" in verdict.line


def test_a_writer_that_is_slow_is_given_time() -> None:
    slow = replace(STATUS, every_s=20.0)
    assert quiet_s(slow) == 200.0
    one = follower()
    one.hear(slow, 0.0)
    assert one.hear(slow, 199.0) is None


@pytest.mark.parametrize("age_s", [QUIET_S, 1e9])
def test_an_old_word_is_confirmed_before_it_is_the_last_one(age_s: float) -> None:
    one = follower()
    assert one.hear(STATUS, 50.0, age_s) is None
    assert one.hear(STATUS, 54.9) is None
    assert one.hear(STATUS, 55.0) is not None
    other = follower()
    other.hear(STATUS, 50.0, age_s)
    assert other.hear(replace(STATUS, sequence=2), 54.0) is None
    assert other.hear(replace(STATUS, sequence=2), 56.0) is None


def test_a_run_that_resumes_is_another_run() -> None:
    one = follower()
    one.hear(replace(STATUS, sequence=50), 0.0)
    assert one.hear(replace(STATUS, run="b" * 16, sequence=1), 29.0) is None
    assert one.hear(replace(STATUS, run="b" * 16, sequence=1), 31.0) is None


OLD = replace(STATUS, state="failed", error="disk full", exit_code=4)
NEW = replace(STATUS, run="b" * 16)


def test_the_word_of_the_run_before_is_not_taken_for_that_of_a_run_that_has_begun() -> None:
    one = follower()
    assert one.hear(OLD, 0.0, 1e6, NEW.run) is None
    assert one.last is None
    assert one.waits_for == ("the first word of a run that has begun here; the last one ended with: failed: disk full")
    assert one.hear(NEW, 1.0, 0.0, NEW.run) is None
    assert (one.last, one.waits_for) == (NEW, "")
    assert one.hear(replace(NEW, sequence=2, state="finished", exit_code=0), 2.0) == Verdict(0, "out.mp4: finished")


@pytest.mark.parametrize("told", [None, OLD, STATUS])
def test_a_run_that_holds_the_place_is_waited_for_as_long_as_silence_lasts(told: JobStatus | None) -> None:
    one, waiting = follower(), follower(wait=True)
    for at_s in (0.0, QUIET_S - 0.1):
        assert one.hear(told, at_s, 1e6, NEW.run) is None
    assert one.hear(told, QUIET_S, 1e6, "c" * 16) is None, "another run"
    verdict = one.hear(told, 2 * QUIET_S, 1e6, "c" * 16)
    assert verdict is not None
    assert (verdict.code, "has told nothing of itself" in verdict.line) == (4, True)
    assert waiting.hear(told, 0.0, 1e6, NEW.run) is None
    assert waiting.hear(told, 1e6, 1e6, NEW.run) is None


def test_a_run_that_gave_its_place_back_has_ended_as_it_told() -> None:
    assert follower().hear(OLD, 0.0, 1e6, "") == Verdict(4, "out.mp4: failed: disk full")
    assert follower().hear(OLD, 0.0, 1e6, OLD.run) == Verdict(4, "out.mp4: failed: disk full")


def test_a_run_that_died_is_not_the_one_that_is_waited_for() -> None:
    one = follower(wait=True)
    assert one.hear(STATUS, 0.0, 1e6, "") is None
    assert one.hear(STATUS, QUIET_S, 1e6, "") is None
    assert one.last is None
    assert one.waits_for == "a run to begin here; the last one said nothing after 2026-01-01T00:01:00.000Z"
    assert one.hear(STATUS, 2 * QUIET_S, 1e6, "") is None
    assert one.last is None
    assert one.hear(NEW, 1e3, 0.0, NEW.run) is None
    verdict = one.hear(NEW, 1e3 + QUIET_S)
    assert verdict is not None, "it lived while somebody looked"
    assert verdict.code == 4


def test_nothing_there() -> None:
    verdict = follower().hear(None, 0.0)
    assert verdict is not None
    assert verdict.code == 2
    waiting = follower(wait=True)
    assert waiting.hear(None, 0.0) is None
    assert waiting.hear(replace(STATUS, state="failed"), 1.0) is None
    assert waiting.last is None
    assert waiting.hear(replace(STATUS, run="b" * 16), 2.0) is None
    assert waiting.hear(replace(STATUS, run="b" * 16, state="failed", exit_code=4), 3.0) is not None
