"""What tests of the table begin with: a clock to turn by hand, a tenant, an order, a job in a state."""

from __future__ import annotations

from dataclasses import dataclass

from core.records import EncodeSpec, JobReport, JobSpec
from farm.service import held, jobs, keys, leasing, uploads
from farm.service.database import Database
from farm.service.records import Held, JobOrder, JobRow, Problem, Result, TenantQuota
from farm.service.states import JobState

START_MS = 1_795_000_000_000
ACME, OTHER = "acme", "other"
FAILED = Problem("InputError", "the film is damaged", "film.mp4", "give another", 2)
DONE = Result("out.mp4", "/farm/out.mp4", "0" * 64, 12345)
COORDINATOR = "coordinator-1"


@dataclass
class Hand:
    """A clock that somebody turns."""

    now_ms: int = START_MS

    def __call__(self) -> int:
        return self.now_ms

    def forward(self, seconds: float) -> None:
        self.now_ms += round(seconds * 1000)


def order(title: str = "a film", **changes: object) -> JobOrder:
    spec = JobSpec("s3://films/a.mp4", "out.mp4", swapper="none", encode=EncodeSpec("h264", 30))
    return JobOrder(**{"spec": spec, "title": title, **changes})  # type: ignore[arg-type]


def tenants(db: Database, quota: TenantQuota | None = None) -> None:
    for name in (ACME, OTHER):
        keys.make_tenant(db, name.title(), quota or TenantQuota(), tenant_id=name)


def submit(db: Database, tenant: str = ACME, **changes: object) -> JobRow:
    return jobs.submit(db, tenant, order(**changes)).job  # type: ignore[arg-type]


def take(db: Database, holder: str = COORDINATOR, places: int = 1) -> list[Held]:
    return [taken.held for taken in leasing.take(db, holder, places)]


def job_in(db: Database, state: JobState) -> tuple[str, Held | None]:
    """A job of ACME's that came into `state` as jobs do, and who holds it."""
    made = submit(db, wait_for_cast=True).id
    if state is JobState.queued:
        return made, None
    if state is JobState.paused:
        jobs.pause(db, ACME, made)
        return made, None
    if state is JobState.cancelled:
        jobs.cancel(db, ACME, made)
        return made, None
    (mine,) = take(db)
    match state:
        case JobState.indexing:
            return made, mine
        case JobState.casting:
            held.wait_for_cast(db, mine)
        case JobState.succeeded:
            held.succeed(db, mine, DONE, report())
        case JobState.failed | JobState.refused:
            held.fail(db, mine, FAILED, refused=state is JobState.refused)
        case _:
            held.stage(db, mine, state)
            return made, mine
    return made, None


def begin(db: Database, size_bytes: int = 10, tenant: str = ACME) -> str:
    row = uploads.begin(
        db, tenant, purpose="target", name="a.mp4", size_bytes=size_bytes, place=lambda made: f"/x/{made}"
    )
    assert (row.state, row.place) == ("open", f"/x/{row.id}")
    return row.id


def finish(db: Database, name: str, size_bytes: int = 10, tenant: str = ACME) -> None:
    uploads.finish(db, tenant, name, size_bytes=size_bytes, sha256="0" * 64, media={"width": 4})


def report() -> JobReport:
    return JobReport(
        target="a.mp4",
        output="out.mp4",
        swapper="none",
        source=None,
        codec="h264",
        encoder="libx264",
        frames=10,
        frames_replaced=0,
        faces=0,
        faces_skipped={},
        segments=1,
        segments_rendered=1,
        segments_reused=0,
        seconds_by_stage={},
        seconds=1.0,
        frames_per_second=10.0,
        workers=1,
        workers_lost=0,
        provider="cpu",
        device="cpu",
        checks_passed=0,
        checks=(),
        damage=(),
        output_sha256="0" * 64,
        output_bytes=12345,
        labelled=False,
        notes=(),
    )
