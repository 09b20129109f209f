"""The service under load: `farm serve` as a person starts it, or an application of Ray Serve; and its memory."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from farm.demo.onserve import deploy, filled_in, free_ports, ray_head, serve
from farm.demo.service import service
from farm.service import keys
from farm.service.database import open_database
from farm.service.records import SCOPES, TenantQuota
from tests.postgres import Postgres

CORES = 2
KEYS = 10
MIB = 1 << 20
# Nothing is begun, and nothing is refused: the table stays as full as the test made it.
IDLE = TenantQuota(jobs_running=0, jobs_waiting=1_000_000)
SERVE_PARTS = ("ray::ServeReplica:farm:Calls", "ray::HAProxyManager")
MiBs = float


@dataclass
class Served:
    """`processes` are those whose memory is measured; `keys` are a tenant's whose jobs only wait. `on_ray`: without
    what they map, which is Ray's object store above all: it is as large as its operator says, and pages of it that were
    used once are counted in each process from then on."""

    port: int
    keys: list[str]
    processes: list[psutil.Process]
    on_ray: bool = False
    trace: list[tuple[float, MiBs]] = field(default_factory=list)

    @property
    def key(self) -> str:
        return self.keys[0]

    def look(self) -> MiBs:
        """Resident memory of the processes and their children, now."""
        taken = 0
        for process in self.processes:
            for one in [process, *process.children(recursive=True)] if process.is_running() else []:
                with suppress(psutil.Error):
                    memory = one.memory_info()
                    taken += memory.rss - (memory.shared if self.on_ray else 0)
        self.trace.append((time.perf_counter(), taken / MIB))
        return taken / MIB

    def waited_s(self) -> float:
        """How long threads of the service that could run had to wait for a core, so far (Linux's schedstat)."""
        waited = 0
        for process in self.processes:
            for thread in Path(f"/proc/{process.pid}/task").glob("*/schedstat"):
                with suppress(OSError):
                    waited += int(thread.read_text().split()[1])
        return waited / 1e9

    def spent_s(self) -> float:
        """Processor time of the service so far."""
        spent = 0.0
        for process in self.processes:
            with suppress(psutil.Error):
                times = process.cpu_times()
                spent += times.user + times.system
        return spent


@contextmanager
def served(folder: Path, way: str, database: str, replicas: int = 1) -> Iterator[Served]:
    """The service in `folder` on SQLite or PostgreSQL, with a tenant of the test's own; it ends with the context.
    `replicas`: how many answer on Ray Serve."""
    with ExitStack() as stack:
        url = f"sqlite:///{folder}/farm.db"
        if database == "postgres":
            server = Postgres(careful=True)
            stack.callback(server.close)
            url = server.url("postgres")
        if way == "serve":
            head = stack.enter_context(ray_head(CORES))
            args = {"data": str(folder / "data"), "database": url, "max_workers": 1}
            args |= {"replicas": replicas, "min_replicas": replicas}
            address = deploy(head, filled_in(args, free_ports(1)[0]), folder / "serve.yaml")
            stack.callback(serve, head, "shutdown", "--yes")
            processes = [process for title in SERVE_PARTS for process in head.actors(title)]
            processes += head.doors()
        else:
            before = set(psutil.Process().children())
            os.environ["FARM_DATABASE"] = url
            address, _ = stack.enter_context(service(folder, local=True))
            new = set(psutil.Process().children()) - before
            processes = [process for process in new if "farm.cli.main" in process.cmdline()]
        with open_database(url) as db:
            keys.make_tenant(db, "Load", IDLE, tenant_id="load")
            made = [keys.make_key(db, "load", f"load {number}", SCOPES).secret for number in range(KEYS)]
        assert processes
        yield Served(int(address.rsplit(":", 1)[1]), made, processes, way == "serve")
