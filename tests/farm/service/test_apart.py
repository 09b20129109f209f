"""The coordinator's own process: it comes again when it dies, and ends with what it started and with who started it."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from multiprocessing.connection import Pipe
from pathlib import Path

import boto3
import psutil
import pytest
from prometheus_client import CollectorRegistry

from core.errors import FarmError, WorkerLost
from farm.paths import place
from farm.service import apart, clearing
from farm.service.apart import Apart, Counted, Relay, Silent, Task, Up, at_work, reaped, task_of, words
from farm.service.clearing import NEVER, Retention
from farm.service.database import open_database
from farm.service.places import ServicePlaces
from farm.service.states import JobState
from farm.settings import RunOptions, load_settings
from farm.watching.figures import BY_NAME
from farm.watching.instruments import PrometheusInstruments
from tests.farm.service.farmhouse import job_in, tenants
from tests.farm.service.running import RUN, wait_for

JOBS, ENDED = BY_NAME["farm_jobs"], BY_NAME["farm_jobs_ended_total"]

BUCKET = "apart"  # others of this server keep what their tests left
PYTHON = sys.executable


def task_in(folder: Path, run: RunOptions = RUN) -> Task:
    places = ServicePlaces(folder)
    url = f"sqlite:///{folder}/farm.db"
    open_database(url).close()
    return task_of(places, url, 2, run, load_settings(), 1, NEVER)


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def pending(pid: int, number: signal.Signals) -> bool:
    """Whether the signal has not reached any thread of the process yet."""
    said = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return bool(int(said["ShdPnd"], 16) >> (number - 1) & 1)


# What the keeper begins in the place of Python: it says the words in the file it is given, and then nothing.
STAND_IN = """#!{python} -S
import signal, sys
from multiprocessing.connection import Connection
line = Connection(int(sys.argv[4]))
line.recv_bytes()
for word in open({words!r}).read().split():
    line.send_bytes(bytes.fromhex(word))
signal.pause() if {deaf} else line.recv_bytes()
"""


def stand_in(folder: Path, *said: object, deaf: bool = False) -> str:
    """An interpreter that is none: what it says comes through the real pipe. `deaf`: it does not hear the line's
    end."""
    file = folder / f"python{len(list(folder.iterdir()))}"
    words = file.with_suffix(".words")
    words.write_text(" ".join(pickle.dumps(word).hex() for word in said))
    file.write_text(STAND_IN.format(python=PYTHON, words=str(words), deaf=deaf))
    file.chmod(0o700)
    return str(file)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_why_it_cannot_be_begun_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keeper = Apart(task_in(tmp_path), PrometheusInstruments(CollectorRegistry()))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "gone"))
    before = descriptors()
    with pytest.raises(WorkerLost, match="cannot be begun: FileNotFoundError"):
        keeper.start()
    keeper.close()
    assert descriptors() == before


def test_whatever_it_says_and_when_it_says_nothing_another_one_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apart, "AGAIN_S", 0.1)
    keeper = Apart(task_in(tmp_path), PrometheusInstruments(CollectorRegistry()))
    wrong = Counted({("no such figure", ()): 1.0}, {}, [])
    monkeypatch.setattr(sys, "executable", stand_in(tmp_path, Up(), wrong))
    keeper.start()
    try:
        monkeypatch.setattr(sys, "executable", str(tmp_path / "gone"))
        wait_for(lambda: keeper.pid is None)
        monkeypatch.setattr(apart, "SILENT_S", 0.2)
        (tmp_path / "session" / "logs").mkdir(parents=True)
        monkeypatch.setattr(sys, "executable", stand_in(tmp_path, Up(session=f"{tmp_path}/session"), deaf=True))
        wait_for(lambda: keeper.pid is not None)
        silent = keeper.pid
        monkeypatch.setattr(sys, "executable", stand_in(tmp_path, Up()))
        wait_for(lambda: keeper.pid not in (None, silent))
        assert silent is not None
        assert not alive(silent)
        assert not (tmp_path / "session").exists()
    finally:
        keeper.close()


@pytest.mark.heavy  # two processes that load all of the farm
def test_it_comes_again(tmp_path: Path) -> None:
    keeper = Apart(task_in(tmp_path), PrometheusInstruments(CollectorRegistry()))
    keeper.start()
    try:
        first = keeper.pid
        assert first is not None
        os.kill(first, signal.SIGTERM)  # as whoever ends all of the service at once: it waits for the line's end
        wait_for(lambda: not pending(first, signal.SIGTERM))
        assert alive(first)
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: keeper.pid not in (None, first))
        second = keeper.pid
    finally:
        keeper.close()
    assert second is not None
    assert not alive(first)
    assert not alive(second)


@pytest.mark.heavy  # loads Ray
def test_what_keeps_it_from_coming_up_is_told(tmp_path: Path) -> None:
    task = task_in(tmp_path, RunOptions(address="127.0.0.1:1"))
    keeper = Apart(task, PrometheusInstruments(CollectorRegistry()))
    try:
        with pytest.raises(FarmError, match=r"nobody answers at 127\.0\.0\.1:1"):
            keeper.start()
    finally:
        keeper.close()


def test_what_it_started_ends_with_it() -> None:
    told = "import subprocess as s; print(s.Popen(['sleep', '600']).pid, flush=True)"
    child = subprocess.Popen([sys.executable, "-c", told], stdout=subprocess.PIPE, start_new_session=True)
    assert child.stdout is not None
    with child.stdout:
        grandchild = int(child.stdout.readline())
    assert reaped(child, 20.0) == 0
    wait_for(lambda: not alive(grandchild))


def test_counts_are_told_once() -> None:
    relay = Relay()
    relay.add(ENDED, 1, "finished")
    relay.add(ENDED, 2, "finished")
    relay.set(JOBS, 3)
    relay.set(JOBS, 4)
    told = relay.take()
    assert told.added == {(ENDED.name, ("finished",)): 3.0}
    assert told.levels == {(JOBS.name, ()): 4}
    again = relay.take()
    assert (again.added, again.levels, again.seen) == ({}, {}, [])


def test_what_was_stopped_with_all_of_the_machine_was_not_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks count, and not what a clock says that went on meanwhile."""
    mine, theirs = Pipe()
    monkeypatch.setattr(apart, "LOOK_S", 0.01)
    monkeypatch.setattr(apart, "SILENT_S", 0.05)
    said = [Up(), Counted({}, {}, [])]
    with mine, theirs:
        theirs.send(said[0])
        heard = words(mine, threading.Event())
        assert next(heard) == said[0]
        looks = iter([False, False, True])

        def poll(_: float) -> bool:
            time.sleep(2 * apart.SILENT_S)  # it is stopped in the middle of a look
            return next(looks)

        monkeypatch.setattr(mine, "poll", poll)
        theirs.send(said[1])
        assert next(heard) == said[1]
        monkeypatch.setattr(mine, "poll", lambda _: False)
        with pytest.raises(Silent, match=r"silent for 0\.05 s"):
            next(heard)


def test_the_coordinator_of_a_service_in_a_bucket_keeps_its_files_there(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del s3
    client = boto3.session.Session().client("s3")
    client.create_bucket(Bucket=BUCKET)
    monkeypatch.chdir(tmp_path)
    places = ServicePlaces(place(f"s3://{BUCKET}/state/service"))
    url = f"sqlite:///{tmp_path}/farm.db"
    task = task_of(places, url, 2, RUN, load_settings(), 1, Retention(jobs_s=0))
    with open_database(url) as db:
        tenants(db)
        made, _ = job_in(db, JobState.succeeded)
        film = places.result(made, "out.mp4")
        client.put_object(Bucket=BUCKET, Key=str(film).removeprefix(f"s3://{BUCKET}/"), Body=b"a film")
        with at_work(pickle.loads(pickle.dumps(task)), Relay()) as (coordinator, _):
            assert coordinator._house.places == places
            clearing.clear(db, coordinator._house.places, task.retention)
    assert not film.exists()
    assert not (tmp_path / "s3:").exists(), "no folder has the bucket's name"
    client.delete_bucket(Bucket=BUCKET)
