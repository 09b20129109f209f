"""What the service's tables hold, as records: frozen, typed, without SQL and without HTTP.

Times are milliseconds since 1970 UTC by the database's clock (`_ms`); sizes are bytes; money is in millionths of its
currency's unit (`_micros`). Ids are strings with a kind in front: job_, upl_, hook_, dlv_; they sort by when they were
made, to the millisecond, and hold 80 random bits.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

from core.records import JobSpec
from farm.service.states import ENDED, WAITING, WORKING, JobState, Wish

T = TypeVar("T")

Scope = Literal["jobs:write", "jobs:read", "consent:issue", "consent:review", "admin"]
SCOPES: tuple[Scope, ...] = ("jobs:write", "jobs:read", "consent:issue", "consent:review", "admin")

EventKind = Literal["state", "wish", "segments", "note", "cast"]
UploadState = Literal["open", "ready", "refused", "gone"]
UploadPurpose = Literal["target", "source", "reference"]
DeliveryState = Literal["waiting", "delivered", "dead"]
SegmentState = Literal["waiting", "working", "done", "reused", "failed"]
SegmentStage = Literal["analyse", "render"]

UPLOAD_SCHEME = "upload:"
"""`upload:upl_...` in a JobOrder's spec is the file of that upload."""

__all__ = [
    "ENDED",
    "SCOPES",
    "UPLOAD_SCHEME",
    "WAITING",
    "WORKING",
    "AuditRow",
    "DeliveryRow",
    "Event",
    "EventRow",
    "Held",
    "JobOrder",
    "JobRow",
    "JobState",
    "KeyRow",
    "NewKey",
    "Page",
    "Problem",
    "Progress",
    "Result",
    "Scope",
    "SegmentRow",
    "Spent",
    "Submitted",
    "TenantQuota",
    "TenantRow",
    "TenantUse",
    "UploadRow",
    "WebhookRow",
    "Wish",
]


@dataclass(frozen=True)
class JobOrder:
    """What a tenant asks for. `spec` is a JobSpec whose places are `upload:ID` or addresses the service allows.

    `spec.output` is the result's file name alone, whose ending says the container; the server chooses where it lies.
    `spec.cast` is not set here: a cast comes by `put_cast`. `wait_for_cast`: after the analysis the job waits in
    `casting` until one is put. `quality`: measure how good the faces are. `priority` -100 to 100, higher goes first.
    """

    spec: JobSpec
    title: str = ""
    wait_for_cast: bool = False
    quality: bool = False
    priority: int = 0
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class AskedSpec:
    """Of a JobSpec, with its defaults."""

    target: str
    output: str
    swapper: str = JobSpec.swapper


@dataclass(frozen=True)
class Asked:
    """Of a JobOrder, with its defaults: what its tenant is told of a job. JSON of an order is JSON of this, with more
    fields."""

    spec: AskedSpec
    wait_for_cast: bool = False
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Problem:
    """Why a job failed, was refused or waits: a FarmError's parts. `kind` is the class, `exit_code` the command's."""

    kind: str
    what: str
    where: str = ""
    hint: str = ""
    exit_code: int = 4


@dataclass(frozen=True)
class Progress:
    """How far a job is; counts of the stage that runs. ETA is a range in seconds, None where nothing is known yet."""

    stage: str = ""
    frames_done: int = 0
    frames_total: int = 0
    segments_done: int = 0
    segments_total: int = 0
    segments_running: int = 0
    faces_done: int = 0
    frames_per_s: float = 0.0
    eta_low_s: float | None = None
    eta_high_s: float | None = None


@dataclass(frozen=True)
class Spent:
    """What a job has used so far, over all its attempts. `cost_micros` is None where no price is known."""

    gpu_ms: int = 0
    core_ms: int = 0
    cost_micros: int | None = None
    currency: str = ""


@dataclass(frozen=True)
class Result:
    """The finished film: `place` is a path or address of the server's, never shown to a tenant."""

    name: str
    place: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class JobRow:
    """One job. `version` grows with every change of the row (an ETag); `last_seq` is its newest event's number.

    `epoch` grows with every lease, and whenever a job is taken from its coordinator: one whose epoch is not the row's
    has lost the job. `attempt` counts leases since the job was submitted or retried, `losses` the runs that
    ended with the pool or too many of its renderers since it got on. `wish` is what its owner asked
    for and the coordinator has not done yet. `asked` is what most want to know of the order, above all who looks at a
    whole page of jobs: None where it was erased, or that part cannot be read. `order_json` is all of it as it is kept
    (`rows.order_of`).
    """

    id: str
    tenant: str
    state: JobState
    wish: Wish
    epoch: int
    attempt: int
    losses: int
    version: int
    last_seq: int
    title: str
    priority: int
    asked: Asked | None = field(repr=False)
    order_json: str | None = field(repr=False)
    progress: Progress
    spent: Spent
    problem: Problem | None
    result: Result | None
    has_cast: bool
    created_ms: int
    changed_ms: int
    started_ms: int | None
    finished_ms: int | None
    erased_ms: int | None
    key_id: str

    @property
    def ended(self) -> bool:
        return self.state in ENDED


@dataclass(frozen=True)
class Submitted:
    """The job of a submission; `new` is False where the idempotency key had made it before."""

    job: JobRow
    new: bool


@dataclass(frozen=True)
class SegmentRow:
    """One segment of one map of a job, as last told by the coordinator."""

    stage: SegmentStage
    index: int
    state: SegmentState
    frames: int
    frames_done: int = 0
    faces: int = 0
    attempt: int = 0
    slot: str = ""
    node: str = ""


@dataclass(frozen=True)
class Event:
    """What is to be told of a job; `data` is JSON-able and small."""

    kind: EventKind
    data: dict[str, object]


@dataclass(frozen=True)
class EventRow:
    """An event of the outbox. `seq` counts from 1 in each job, without gaps, in commit order: whoever has read up to
    n has missed nothing below n."""

    job: str
    seq: int
    at_ms: int
    kind: EventKind
    data: dict[str, object]


@dataclass(frozen=True)
class UploadRow:
    """A file of a tenant. `size_bytes` is what was announced or, once ready, what it is; `received_bytes` how much is
    there. `place` is a path or address of the server's; `upload_ref` is the id of what takes the parts of one that is
    sent in such (a bucket's own), until they are put together (farm.service.uploads.whole), and `head_sha256` the
    SHA-256 of the first bytes, which the service is sent before the parts; "" where it was not."""

    id: str
    tenant: str
    state: UploadState
    purpose: UploadPurpose
    name: str
    place: str
    size_bytes: int
    received_bytes: int
    sha256: str
    media: dict[str, object]
    upload_ref: str
    problem: Problem | None
    created_ms: int
    changed_ms: int
    head_sha256: str


@dataclass(frozen=True)
class TenantQuota:
    """What a tenant may have at once or a month; None is without limit.

    `segments`: rendered at the same time, also the share that fairness guarantees. `jobs_waiting`: queued, casting or
    paused. `gpu_ms`: of a calendar month (UTC). `stored_bytes`: uploads and results. `film_s`: the longest
    film that is uploaded.
    """

    segments: int | None = None
    jobs_running: int | None = None
    jobs_waiting: int | None = 1000
    gpu_ms: int | None = None
    stored_bytes: int | None = None
    film_s: int | None = None


@dataclass(frozen=True)
class TenantRow:
    id: str
    name: str
    quota: TenantQuota
    created_ms: int


@dataclass(frozen=True)
class TenantUse:
    """What counts against the quota now."""

    segments: int
    jobs_running: int
    jobs_waiting: int
    gpu_ms: int
    stored_bytes: int


@dataclass(frozen=True)
class KeyRow:
    """An API key, without its secret: `id` is the public prefix."""

    id: str
    tenant: str
    name: str
    scopes: tuple[Scope, ...]
    created_ms: int
    expires_ms: int | None
    revoked_ms: int | None
    used_ms: int | None

    def may(self, scope: Scope) -> bool:
        """`admin` may everything in its own tenant."""
        return scope in self.scopes or "admin" in self.scopes


@dataclass(frozen=True)
class NewKey:
    """A key at its birth: `secret` is the whole text a client sends, shown once and kept nowhere."""

    row: KeyRow
    secret: str


@dataclass(frozen=True)
class WebhookRow:
    """Where a tenant wants to hear of its jobs. `job` "" is all of them; `states` () is every state."""

    id: str
    tenant: str
    url: str
    job: str
    states: tuple[JobState, ...]
    created_ms: int
    off_ms: int | None


@dataclass(frozen=True)
class DeliveryRow:
    """One event for one webhook; `id` is the same in every try."""

    id: str
    webhook: str
    tenant: str
    job: str
    seq: int
    state: DeliveryState
    tries: int
    next_ms: int
    last_status: int | None
    last_error: str


@dataclass(frozen=True)
class AuditRow:
    """An append-only line: `hash` is the SHA-256 of the line with `prev_hash`, so that an edit shows."""

    seq: int
    at_ms: int
    actor: str
    action: str
    object: str
    decision: str
    reasons: tuple[str, ...]
    prev_hash: str
    hash: str


@dataclass(frozen=True)
class Held:
    """A job that a coordinator holds. All it writes of the job carries `epoch`; with an old one nothing is written."""

    job: str
    tenant: str
    epoch: int


@dataclass(frozen=True)
class Page(Generic[T]):
    """A piece of a list; `cursor` asks for the next one, None at the end. It is opaque and bound to its filter."""

    items: tuple[T, ...]
    cursor: str | None
