"""A coordinator at work in this process: films of a tenant, orders of them, and waiting for what becomes of them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from actors.local import LocalPool
from core.records import EncodeSpec, JobSpec
from farm.desk import worker_settings
from farm.service import jobs, uploads
from farm.service.coordinator import Coordinator, Rhythm
from farm.service.database import Database
from farm.service.events import after
from farm.service.places import ServicePlaces
from farm.service.records import JobOrder, JobRow, UploadPurpose
from farm.service.states import JobState
from farm.settings import RunOptions, Settings
from tests.farm.service.farmhouse import ACME

RUN = RunOptions(local=True)
FAST = Rhythm(tick_s=0.05, tell_s=0.05, quota_s=0.1, clear_s=0.1)
DEADLINE_S = 120.0


@dataclass
class Farm:
    """A service without HTTP."""

    db: Database
    places: ServicePlaces
    settings: Settings

    @contextmanager
    def working(self, rhythm: Rhythm = FAST, *, most_jobs: int = 8, parallel: int = 2) -> Iterator[Coordinator]:
        """A coordinator with a pool of its own."""
        pool = LocalPool(worker_settings(RUN, self.settings), parallel=parallel)
        coordinator = Coordinator(self.db, pool, self.places, self.settings, RUN, most_jobs=most_jobs, rhythm=rhythm)
        coordinator.start()
        try:
            yield coordinator
        finally:
            coordinator.close()
            pool.close()

    def upload(self, file: Path, purpose: UploadPurpose = "target", tenant: str = ACME) -> str:
        """The id of an upload with the content of `file`."""
        data = file.read_bytes()
        row = uploads.begin(
            self.db,
            tenant,
            purpose=purpose,
            name=file.name,
            size_bytes=len(data),
            place=lambda made: str(self.places.upload(tenant, made)),
        )
        Path(row.place).parent.mkdir(parents=True, exist_ok=True)
        Path(row.place).write_bytes(data)
        uploads.finish(self.db, tenant, row.id, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest(), media={})
        return row.id

    def submit(self, order: JobOrder, tenant: str = ACME) -> str:
        return jobs.submit(self.db, tenant, order).job.id

    def row(self, job: str, tenant: str = ACME) -> JobRow:
        return jobs.get(self.db, tenant, job)

    def states(self, job: str, tenant: str = ACME) -> list[str]:
        """The states that the job went through."""
        told = after(self.db, tenant, job, 0, limit=100_000)
        assert [event.seq for event in told] == list(range(1, len(told) + 1))
        return [str(event.data["state"]) for event in told if event.kind == "state"]

    def until(self, job: str, states: Collection[JobState], tenant: str = ACME) -> JobRow:
        """The job as soon as it is in one of `states`."""
        wait_for(lambda: self.row(job, tenant).state in states)
        return self.row(job, tenant)

    def ended(self, job: str, tenant: str = ACME) -> JobRow:
        wait_for(lambda: self.row(job, tenant).ended)
        return self.row(job, tenant)


def wait_for(true: Callable[[], bool]) -> None:
    end_s = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < end_s, "waited in vain"
        time.sleep(0.02)


def order_of(upload: str, **changes: object) -> JobOrder:
    """A pass-through of an uploaded film in segments of a second."""
    encode = EncodeSpec("h264", 30, "ultrafast")
    spec = JobSpec(f"upload:{upload}", "out.mp4", swapper="none", encode=encode, segment_s=Fraction(1), smart=False)
    return JobOrder(replace(spec, **changes))  # type: ignore[arg-type]
