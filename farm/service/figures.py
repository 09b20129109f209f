"""The service's own metrics: names, units, labels. docs/watching.md is held to this list. Those of the jobs are
farm.watching.figures; no label names a tenant, a job or a key.

`OF_DATABASE` are read from the tables when somebody asks, at most every few seconds, so every replica tells the same.
`OF_PROCESS` are counted by each process for itself, and are to be summed over processes.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import sqlalchemy as sql
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from core.errors import FarmError
from farm.service import tables
from farm.service.database import Database
from farm.service.leasing import OFFICE
from farm.service.states import WORKING, JobState
from farm.watching.figures import Figure

job, upload, delivery, lease = tables.jobs.c, tables.uploads.c, tables.deliveries.c, tables.leases.c
UPLOAD_STATES = ("open", "ready", "refused")
KEPT_S = 5.0  # anybody may ask, as often as he likes, and the answer counts over whole tables
DELIVERY_STATES = ("waiting", "delivered", "dead")

UP = Figure("farm_service_database_up", "gauge", (), "Whether the database answers: 1 or 0.")
JOBS = Figure("farm_service_jobs", "gauge", ("state",), "Jobs by state, those that ended too, until they are erased.")
QUEUE_AGE = Figure("farm_service_queue_age_seconds", "gauge", (), "How long the job waits that was queued first.")
SEGMENTS = Figure("farm_service_segments_running", "gauge", (), "Segments that render or are looked at.")
COORDINATOR = Figure("farm_service_coordinator_up", "gauge", (), "Whether a coordinator works: 1 or 0.")
UPLOADS = Figure("farm_service_uploads", "gauge", ("state",), "Uploads by state.")
STORED = Figure("farm_service_stored_bytes", "gauge", ("kind",), "Bytes of uploads and of results.")
DELIVERIES = Figure(
    "farm_service_deliveries", "gauge", ("state",), "What webhooks are told: waiting, delivered, dead, of 30 days."
)
OF_DATABASE = (UP, JOBS, QUEUE_AGE, SEGMENTS, COORDINATOR, UPLOADS, STORED, DELIVERIES)

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
REQUESTS = Figure("farm_service_requests_total", "counter", ("route", "method", "status"), "Calls that were answered.")
REQUEST_SECONDS = Figure(
    "farm_service_request_seconds",
    "histogram",
    ("route", "method"),
    "Seconds until the answer of a call began; of an upload, until the file was here.",
    SECONDS,
)
WATCHERS = Figure("farm_service_watchers", "gauge", (), "Open streams of events.")
UPLOAD_BYTES = Figure("farm_service_upload_bytes_total", "counter", (), "Bytes of uploads that came in.")
TRIES = Figure(
    "farm_service_webhook_tries_total", "counter", ("outcome",), "Calls of webhooks: taken, failed (tried again), dead."
)
OF_PROCESS = (REQUESTS, REQUEST_SECONDS, WATCHERS, UPLOAD_BYTES, TRIES)


@dataclass(frozen=True)
class Sample:
    figure: Figure
    labels: tuple[str, ...]
    value: float


def figures_of(db: Database) -> Iterator[Sample]:
    """All of `OF_DATABASE`, each with all values of its label. Raises what the database says."""
    with db.read() as connection:
        now_ms = db.now_ms(connection)
        there = job.erased_ms.is_(None)
        by_state = sql.select(job.state, sql.func.count()).where(there).group_by(job.state)
        states = {str(state): int(count) for state, count in connection.execute(by_state)}
        queued = sql.select(sql.func.min(job.created_ms)).where(there, job.state == JobState.queued)
        first_ms = connection.execute(queued).scalar()
        running = sql.select(sql.func.sum(job.segments_running)).where(job.state.in_(sorted(WORKING)))
        segments = connection.execute(running).scalar() or 0
        office = sql.select(lease.until_ms).where(lease.name == OFFICE)
        until_ms = connection.execute(office).scalar() or 0
        kept = sql.select(upload.state, sql.func.count(), sql.func.sum(upload.size_bytes)).group_by(upload.state)
        files = {str(row[0]): (int(row[1]), int(row[2] or 0)) for row in connection.execute(kept)}
        results = connection.execute(sql.select(sql.func.sum(job.result_bytes)).where(there)).scalar() or 0
        told = sql.select(delivery.state, sql.func.count()).group_by(delivery.state)
        letters = {str(state): int(count) for state, count in connection.execute(told)}
    yield Sample(UP, (), 1)
    for state in JobState:
        yield Sample(JOBS, (state.value,), states.get(state.value, 0))
    yield Sample(QUEUE_AGE, (), max(0, now_ms - int(first_ms)) / 1000 if first_ms is not None else 0)
    yield Sample(SEGMENTS, (), int(segments))
    yield Sample(COORDINATOR, (), int(int(until_ms) >= now_ms))
    for name in UPLOAD_STATES:
        yield Sample(UPLOADS, (name,), files.get(name, (0, 0))[0])
    yield Sample(STORED, ("uploads",), sum(files.get(name, (0, 0))[1] for name in ("open", "ready")))
    yield Sample(STORED, ("results",), int(results))
    for name in DELIVERY_STATES:
        yield Sample(DELIVERIES, (name,), letters.get(name, 0))


class OfDatabase(Collector):
    """What Prometheus is told of the tables, read when it asks and what was read is older than `kept_s`; without a
    database, that alone. Who asks while somebody reads is told what was read before. `clock` in seconds."""

    def __init__(self, db: Database, kept_s: float = KEPT_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._db, self._kept_s, self._clock = db, kept_s, clock
        self._reading = threading.Lock()
        self._read: tuple[list[Sample], float] | None = None  # what, and until when it is told

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Nothing: so the registry does not ask the database to know the names."""
        return ()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        samples = self._samples()
        for figure in OF_DATABASE:
            mine = [sample for sample in samples if sample.figure is figure]
            if mine:
                family = GaugeMetricFamily(figure.name, figure.help, labels=list(figure.labels))
                for sample in mine:
                    family.add_metric(list(sample.labels), sample.value)
                yield family

    def _samples(self) -> list[Sample]:
        before = self._read
        if before is not None and self._clock() < before[1]:
            return before[0]
        if not self._reading.acquire(blocking=before is None):
            assert before is not None
            return before[0]
        try:
            now = self._read
            if now is not None and now is not before:  # somebody read while this one waited
                return now[0]
            try:
                samples = list(figures_of(self._db))
            except FarmError as error:
                logging.getLogger("farm.api").warning("metrics: %s", error)
                samples = [Sample(UP, (), 0)]
            self._read = samples, self._clock() + self._kept_s
            return samples
        finally:
            self._reading.release()
