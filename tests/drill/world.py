"""The service as `serve deploy` makes it, on a Ray of this machine and a PostgreSQL, with parts that can be killed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from farm.demo.onserve import Head, deploy, filled_in, free_ports, ray_head, serve, wait_for
from farm.service.database import Database, open_database
from farm.service.places import ServicePlaces
from tests.drill.plan import TITLES
from tests.postgres import Postgres

CORES = 2
REPLICAS = 2
JOBS = 3  # at the same time, so that most of twenty wait or begin while parts die


@dataclass
class World:
    """`url` is the service's address; `db` its table, read past the service."""

    head: Head
    server: Postgres
    db: Database
    places: ServicePlaces
    url: str

    def kill(self, victim: str) -> int:
        """SIGKILL every process of a part; how many there were. PostgreSQL is started again, Serve starts the rest."""
        if victim == "postgres":
            self.server.crash()
            self.server.restart()
            return 1
        found = self.head.actors(TITLES[victim])
        for process in found:
            with suppress(psutil.Error):
                process.kill()
        return len(found)


@contextmanager
def world() -> Iterator[World]:
    """Everything up, and in the end nothing of it left: no process, no file."""
    folder = Path(tempfile.mkdtemp(prefix="farm-drill-"))
    server = Postgres()
    try:
        url = server.url("postgres")
        args = {
            "data": str(folder / "data"),
            "database": url,
            "replicas": REPLICAS,
            "min_replicas": REPLICAS,
            "jobs": JOBS,
            "max_workers": CORES,
            "webhook_networks": ["127.0.0.0/8"],
        }
        with ray_head(CORES) as head:
            address = deploy(head, filled_in(args, free_ports(1)[0]), folder / "serve.yaml")
            with open_database(url) as db:
                yield World(head, server, db, ServicePlaces(folder / "data"), address)
            serve(head, "shutdown", "--yes")
            wait_for(lambda: not head.actors("ray::Serve"), head.process, head.folder / "start.log")
    finally:
        server.close()
        shutil.rmtree(folder, ignore_errors=True)
