"""Coordinators and PostgreSQL die in the middle of many jobs: every job finishes, once, and nobody misses anything."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from farm.service import jobs, webhooks
from farm.service.database import Database, open_database
from farm.service.errors import Unreachable
from farm.service.events import after
from farm.service.places import ServicePlaces
from farm.service.records import EventRow
from farm.service.states import JobState
from farm.settings import Settings
from tests.actors.films import make_film
from tests.farm.service import drill
from tests.farm.service.farmhouse import ACME, tenants
from tests.farm.service.running import Farm, order_of, wait_for
from tests.postgres import Postgres

WATCH_S = 900.0
AT_WORK = 3  # as many jobs are not done as long as anything is to die


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_film(tmp_path_factory.mktemp("film") / "film.mp4", seconds=3)


class Reader:
    """A client that reads events as they come and goes on behind the last one that it saw."""

    def __init__(self, db: Database, job: str) -> None:
        self._db, self._job = db, job
        self.seen: list[EventRow] = []

    def read(self) -> None:
        new = after(self._db, ACME, self._job, self.seen[-1].seq if self.seen else 0)
        for event in new:
            assert event.seq == len(self.seen) + 1
            self.seen.append(event)


@contextmanager
def coordinators(url: str, root: Path, count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    running = [drill.start(url, root) for _ in range(count)]
    try:
        yield running
    finally:
        for process in running:
            process.kill()
            process.wait()


def finish_all(
    farm: Farm, url: str, film: Path, *, count: int, kills: int, seed: int, server: Postgres | None = None
) -> Counter[str]:
    """Submit `count` jobs, kill at random until `kills` were killed, and look at what became of the jobs.

    How many coordinators, and servers of the database, died. Where nearly all jobs are done before that, more come.
    """
    chance = random.Random(seed)
    webhooks.make(farm.db, ACME, "https://hooks.example.com/")
    upload = farm.upload(film)
    made = [farm.submit(order_of(upload)) for _ in range(count)]
    readers = [Reader(farm.db, job) for job in made]
    died: Counter[str] = Counter()
    next_s = time.monotonic() + 3.0
    end_s = time.monotonic() + WATCH_S
    with coordinators(url, farm.places.root, 2) as running:
        while True:
            assert time.monotonic() < end_s, [farm.row(job).state for job in made]
            time.sleep(0.1)
            try:
                for reader in readers:
                    reader.read()
                open_jobs = sum(not farm.row(job).ended for job in made)
                if died.total() < kills and open_jobs < AT_WORK:
                    made.append(farm.submit(order_of(upload)))
                    readers.append(Reader(farm.db, made[-1]))
                    continue
                if not open_jobs and not any(farm.places.store(job).exists() for job in made):
                    break
            except Unreachable:
                continue
            if died.total() < kills and time.monotonic() >= next_s:
                next_s = time.monotonic() + chance.uniform(0.5, 3.0)
                if server is not None and died.total() % 3 == 2:
                    server.kill()
                    server.restart()
                    died["postgresql"] += 1
                    continue
                died["coordinator"] += 1
                which = chance.randrange(len(running))
                running[which].send_signal(signal.SIGKILL)
                running[which].wait()
                running[which] = drill.start(url, farm.places.root)
    assert died.total() == kills
    letters = webhooks.deliveries(farm.db, ACME, limit=10_000).items
    hashes = set()
    for job, reader in zip(made, readers, strict=True):
        row = farm.row(job)
        assert row.problem is None
        assert row.state is JobState.succeeded
        assert row.result is not None
        hashes.add(row.result.sha256)
        reader.read()
        assert [event.seq for event in reader.seen] == list(range(1, row.last_seq + 1))
        states = Counter(str(event.data["state"]) for event in reader.seen if event.kind == "state")
        assert states["succeeded"] == 1
        told = [letter for letter in letters if letter.job == job]
        assert len(told) == sum(states.values())
        assert jobs.report_of(farm.db, ACME, job).segments == 3
        out = farm.places.result(job, "out.mp4").parent
        assert [file.name for file in out.iterdir()] == ["out.mp4"]
    assert len(hashes) == 1
    return died


@contextmanager
def farm_at(url: str, root: Path) -> Iterator[Farm]:
    with open_database(url) as db:
        tenants(db)
        places = ServicePlaces(root)
        places.make()
        yield Farm(db, places, Settings(cores=2, model_cache=root / "none"))


@pytest.mark.heavy
def test_a_coordinator_is_killed(film: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/farm.db"
    with farm_at(url, tmp_path / "farm") as farm:
        finish_all(farm, url, film, count=3, kills=2, seed=1)


@pytest.mark.heavy
@pytest.mark.parametrize("seed", range(3))
def test_coordinators_and_postgresql_are_killed(
    postgres: Postgres, template: str, film: Path, tmp_path: Path, seed: int
) -> None:
    url = postgres.new_database(template)
    with farm_at(url, tmp_path / "farm") as farm:
        finish_all(farm, url, film, count=20, kills=12, seed=seed, server=postgres)


@pytest.mark.heavy
def test_a_coordinator_that_was_stopped_loses_its_jobs(film: Path, tmp_path: Path) -> None:
    """SIGSTOP for longer than the lease: another takes over, and the first one, woken up, changes nothing."""
    url = f"sqlite:///{tmp_path}/farm.db"
    with farm_at(url, tmp_path / "farm") as farm, coordinators(url, farm.places.root, 1) as running:
        job = farm.submit(order_of(farm.upload(film)))
        wait_for(lambda: farm.row(job).state not in {JobState.queued})
        running[0].send_signal(signal.SIGSTOP)
        before = farm.row(job)
        with farm.working(drill.SHORT):
            wait_for(lambda: farm.row(job).epoch > before.epoch or farm.row(job).ended)
            running[0].send_signal(signal.SIGCONT)
            assert farm.ended(job).state is JobState.succeeded
        events = after(farm.db, ACME, job, 0)
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        assert sum(event.data.get("state") == "succeeded" for event in events) == 1
