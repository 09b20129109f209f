"""What a job tells of itself: by hand with a clock of the test's, and in the store of a real run."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from actors.dispatch import Assign, Beat, Busy, Done, SlotDied, SlotReady
from core import codec
from core.errors import BudgetSpent, InputError, Interrupted, PlanError
from core.records import JobSpec, JobStatus
from farm.artifacts import DiskStore, open_store
from farm.driver import run_job
from farm.listeners import Together
from farm.settings import RunOptions, load_settings
from farm.watching.place import find_job, is_made, stamp_there
from farm.watching.status import Clocks, Status, StatusFile, outcome
from tests.farm.watching.jobs import look, order
from tests.media_clips import make_clip

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


class Time:
    """A pool's clock that is 1000 s ahead of ours."""

    def __init__(self) -> None:
        self.now_s = 50.0

    def status(self, **options: object) -> Status:
        clocks = Clocks(lambda: self.now_s, lambda: BEGAN + timedelta(seconds=self.now_s - 50.0))
        return Status("in.mp4", "out.mp4", clocks=clocks, **options)  # type: ignore[arg-type]

    @property
    def pool_s(self) -> float:
        return self.now_s + 1000.0


def test_from_the_first_stage_to_the_end() -> None:
    time = Time()
    status = time.status(job="seven", spent=lambda: (0.123456789, "EUR"))
    first = status.snapshot()
    assert (first.state, first.stage, first.sequence, first.grid, first.job) == ("running", "", 1, "", "seven")
    assert (first.started, first.cost, first.currency) == ("2026-01-01T00:00:00.000Z", 0.123457, "EUR")
    status.stage("index")
    time.now_s += 10
    assert (status.snapshot().stage, status.snapshot().seconds) == ("index", 10.0)
    status.stage("render")
    orders = [order(number, 100, 5) for number in range(4)]
    hear = status.watch(orders, orders[1:])
    hear(SlotReady("s", 2, "node", "L4"), time.pool_s)
    time.now_s += 5
    hear(Assign("s", "o1", 1), time.pool_s)
    for _ in range(20):
        time.now_s += 1
        hear(Beat("s", "o1", 1, int(time.now_s - 65) * 5), time.pool_s)
        told = status.snapshot()
    assert (told.map, told.grid, told.frames, told.frames_done) == ("render", "=>..", 400, 200)
    assert told.frames_per_second == 5.0
    assert (told.slots, told.busy, told.faces) == (1, 1, 5)
    (one,) = told.working
    assert (one.segment, one.slot, one.node, one.kind, one.since_s, one.faces) == (1, "s", "node", "L4", 15.0, 5)
    assert told.eta_low_s == pytest.approx(40.0, abs=4)
    assert told.eta_high_s == pytest.approx(40.0, abs=4)
    hear(Busy("s", "an engine is built"), time.pool_s)
    assert status.snapshot().words == "an engine is built"
    hear(SlotDied("s", "killed"), time.pool_s)
    status.note("look here")
    told = status.snapshot()
    assert (told.grid, told.retries, told.notes, told.slots) == ("=!..", {"died": 1}, ("look here",), 0)
    hear(SlotReady("s", 2, "node", "L4"), time.pool_s)
    for number in (1, 2, 3):
        hear(Assign("s", f"o{number}", 2), time.pool_s)
        hear(Done("s", f"o{number}", 2), time.pool_s)
    assert (status.snapshot().eta_low_s, status.snapshot().eta_high_s) == (0.0, 0.0)
    status.stage("join")
    told = status.snapshot()
    assert (told.grid, told.frames_done, told.eta_low_s, told.stage) == ("=###", 400, None, "join")
    last = status.end(None)
    assert (last.state, last.exit_code, last.error) == ("finished", 0, "")
    assert last.sequence == told.sequence + 1


def test_nothing_works_on_a_run_that_ended() -> None:
    time = Time()
    status = time.status()
    hear = status.watch([order(0), order(1)], [order(0), order(1)])
    hear(SlotReady("s", 1), time.pool_s)
    hear(Assign("s", "o0", 1), time.pool_s)
    assert status.snapshot().grid == ">."
    last = status.end(KeyboardInterrupt())
    assert (last.grid, last.working, last.busy, last.slots, last.eta_low_s) == ("..", (), 0, 0, None)


def test_a_second_map_begins_anew_and_keeps_what_was_lost() -> None:
    time = Time()
    status = time.status()
    hear = status.watch([look(0), look(1)], [look(0), look(1)])
    hear(SlotReady("s", 1), time.pool_s)
    hear(Assign("s", "a0", 1), time.pool_s)
    hear(SlotDied("s", "killed"), time.pool_s)
    assert status.snapshot().map == "analyse"
    status.watch([order(0)], [order(0)])
    told = status.snapshot()
    assert (told.map, told.grid, told.frames_per_second, told.retries) == ("render", ".", 0.0, {"died": 1})


@pytest.mark.parametrize(
    ("error", "state", "words", "code"),
    [
        (InputError("bad", hint="do that"), "failed", "bad; do that", 2),
        (BudgetSpent("used up"), "stopped", "used up", 4),
        (Interrupted("stopped"), "stopped", "stopped", 130),
        (KeyboardInterrupt(), "stopped", "signal", 130),
        (RuntimeError("odd\nlines"), "failed", "RuntimeError: odd lines", 4),
    ],
)
def test_how_runs_end(error: BaseException, state: str, words: str, code: int) -> None:
    found = outcome(error)
    assert (found[0], found[2]) == (state, code)
    assert words in found[1]


def test_the_file_is_there_at_once_and_says_the_end(tmp_path: Path) -> None:
    seen: list[JobStatus] = []
    with open_store(tmp_path / "job.farm") as store:
        status = Status("in.mp4", "out.mp4")

        def run() -> None:
            with StatusFile(store, status, every_s=0.01):
                while not store.exists(store.status_name):
                    pass
                seen.append(codec.decode(store.read(store.status_name), JobStatus))
                raise PlanError("over")

        with pytest.raises(PlanError):
            run()
        (first,) = seen
        last = codec.decode(store.read(store.status_name), JobStatus)
        assert first.state == "running"
        assert (last.state, last.error, last.exit_code, last.run) == ("failed", "over", 4, first.run)
        assert last.sequence > first.sequence
    assert [path.name for path in (tmp_path / "job.farm" / "tmp").glob("*")] == []


def test_a_store_that_takes_nothing_stops_no_job(tmp_path: Path) -> None:
    (tmp_path / "jobs").write_text("a file where a folder should be")
    with StatusFile(DiskStore(str(tmp_path)), Status("in.mp4", "out.mp4"), every_s=0.01):
        worked = True
    assert worked


@pytest.fixture(scope="module")
def film(clips: Path) -> Path:
    return make_clip("h264_mov", clips)


def test_a_finished_job_keeps_its_last_word_only_with_its_state(film: Path, tmp_path: Path) -> None:
    spec = JobSpec(target=str(film), output=str(tmp_path / "out.mov"), swapper="none")
    run_job(spec, RunOptions(local=True), load_settings(), Together())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mov"]
    assert find_job(spec.output).read() is None
    report = run_job(spec, RunOptions(local=True, keep=True), load_settings(), Together())
    told = find_job(spec.output)
    status = told.read()
    assert status is not None
    assert (status.state, status.exit_code, status.output, status.target) == ("finished", 0, spec.output, str(film))
    assert (status.count("done"), status.frames_done, status.frames) == (report.segments, report.frames, report.frames)
    assert is_made(status)
    assert told.age_s() < 3600
    again = run_job(spec, RunOptions(local=True, keep=True), load_settings(), Together())
    assert again.segments_reused == report.segments
    later = find_job(spec.output).read()
    assert later is not None
    assert (later.run == status.run, later.count("reused")) == (False, 0)  # no map ran


def test_jobs_are_found_by_all_their_names(film: Path, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    run = RunOptions(local=True, keep=True, store=shared)
    specs = [JobSpec(target=str(film), output=str(tmp_path / f"{name}.mov"), swapper="none") for name in "ab"]
    run_job(specs[0], run, load_settings(), Together())
    alone = find_job(str(shared)).read()
    assert alone is not None
    assert alone.output == specs[0].output
    run_job(specs[1], run, load_settings(), Together())
    for spec in specs:
        found = find_job(spec.output, shared).read()
        assert found is not None
        assert found.output == spec.output
        assert find_job(spec.output).read() is None
    with pytest.raises(InputError, match="2 jobs work here") as refused:
        find_job(str(shared))
    assert all(spec.output in refused.value.what for spec in specs)
    assert find_job(str(tmp_path / "nothing.mp4")).read() is None


def test_a_file_that_was_cut_off_is_no_word(tmp_path: Path) -> None:
    store = DiskStore(str(tmp_path / "out.mp4.farm"))
    store.replace(store.status_name, b'{"state": "runn')
    assert find_job(str(tmp_path / "out.mp4")).read() is None
    assert find_job(str(tmp_path / "out.mp4.farm")).read() is None


def test_an_output_that_was_there_before_is_not_this_run_s(tmp_path: Path) -> None:
    """However young it is, and however like the new one."""
    output, film = tmp_path / "out.mp4", tmp_path / "film.mp4"
    first = Status("in.mp4", str(output), before=stamp_there(output)).snapshot()
    assert not is_made(first)
    output.write_bytes(b"old")
    assert is_made(first)
    status = Status("in.mp4", str(output), before=stamp_there(output)).snapshot()
    status = codec.decode(codec.encode(status), JobStatus)
    assert not is_made(status)
    film.write_bytes(b"new")
    os.utime(film, ns=(0, output.stat().st_mtime_ns))
    film.replace(output)
    assert is_made(status)


def test_another_machine_tells_files_apart_by_size_and_second(tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    output.write_bytes(b"old")
    here = stamp_there(output)
    assert here is not None
    there = replace(here, node="elsewhere", inode=1, mtime_ns=here.mtime_ns + 10**8)
    status = Status("in.mp4", str(output), before=there).snapshot()
    assert not is_made(status)
    os.utime(output, ns=(0, here.mtime_ns + 2 * 10**9))
    assert is_made(status)
