"""The coordinator's own process: it comes again when it dies, and ends with what it started and with who started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from prometheus_client import CollectorRegistry

from core.errors import FarmError
from farm.service.apart import Apart, Relay, Task, reaped, task_of
from farm.service.clearing import NEVER
from farm.service.database import open_database
from farm.service.places import ServicePlaces
from farm.settings import RunOptions, load_settings
from farm.watching.figures import BY_NAME
from farm.watching.instruments import PrometheusInstruments
from tests.farm.service.running import RUN, wait_for

JOBS, ENDED = BY_NAME["farm_jobs"], BY_NAME["farm_jobs_ended_total"]


def task_in(folder: Path, run: RunOptions = RUN) -> Task:
    places = ServicePlaces(folder)
    url = f"sqlite:///{folder}/farm.db"
    open_database(url).close()
    return task_of(places, url, 2, run, load_settings(), 1, NEVER)


def alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


@pytest.mark.heavy  # two processes that load all of the farm
def test_it_comes_again(tmp_path: Path) -> None:
    apart = Apart(task_in(tmp_path), PrometheusInstruments(CollectorRegistry()))
    apart.start()
    try:
        first = apart.pid
        assert first is not None
        os.kill(first, signal.SIGTERM)  # as whoever ends all of the service at once: it waits for the line's end
        assert alive(first)
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: apart.pid not in (None, first))
        second = apart.pid
    finally:
        apart.close()
    assert second is not None
    assert not alive(first)
    assert not alive(second)


@pytest.mark.heavy  # loads Ray
def test_what_keeps_it_from_coming_up_is_told(tmp_path: Path) -> None:
    task = task_in(tmp_path, RunOptions(address="127.0.0.1:1"))
    apart = Apart(task, PrometheusInstruments(CollectorRegistry()))
    try:
        with pytest.raises(FarmError, match=r"nobody answers at 127\.0\.0\.1:1"):
            apart.start()
    finally:
        apart.close()


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
