"""The tables as SQLAlchemy knows them. farm.service.migrations makes them; a test holds the two to one another.

Times are milliseconds since 1970 by the database's clock, JSON is text that core.codec wrote.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, MetaData, Table, Text


def _text(name: str, *, key: bool = False, null: bool = False) -> Column[str]:
    return Column(name, Text, primary_key=key, nullable=null)


def _number(name: str, *, key: bool = False, null: bool = False) -> Column[int]:
    return Column(name, BigInteger, primary_key=key, nullable=null)


metadata = MetaData()

tenants = Table(
    "tenants",
    metadata,
    _text("id", key=True),
    _text("name"),
    _text("quota"),  # TenantQuota
    _number("created_ms"),
)

api_keys = Table(
    "api_keys",
    metadata,
    _text("id", key=True),  # the public prefix
    _text("tenant"),
    _text("name"),
    _text("sha256"),
    _text("scopes"),
    _number("created_ms"),
    _number("expires_ms", null=True),
    _number("revoked_ms", null=True),
    _number("used_ms", null=True),
)

jobs = Table(
    "jobs",
    metadata,
    _text("id", key=True),
    _text("tenant"),
    _text("state"),
    _text("wish"),
    _number("epoch"),
    _number("attempt"),
    _number("lapses"),  # leases that ran out since it got on
    _number("version"),
    _number("last_seq"),
    _text("owner"),  # the coordinator, "" where nobody holds it
    _number("lease_ms"),  # until when
    _number("not_before_ms"),  # a queued job is not begun earlier
    _text("title"),
    _number("priority"),
    _text("job_order", null=True),  # JobOrder; NULL once erased
    _text("progress"),  # Progress
    _number("segments_running"),
    _number("gpu_ms"),
    _number("core_ms"),
    _number("epoch_gpu_ms"),  # of the above, in this epoch
    _number("epoch_core_ms"),
    _number("cost_micros", null=True),
    _number("epoch_cost_micros"),
    _text("currency"),
    _text("problem", null=True),  # Problem
    _text("result", null=True),  # Result
    _number("result_bytes"),
    _number("has_cast"),
    _number("created_ms"),
    _number("changed_ms"),
    _number("started_ms", null=True),
    _number("finished_ms", null=True),
    _number("erased_ms", null=True),
    _number("files_gone_ms", null=True),
    _text("key_id"),
    _number("losses"),  # runs that ended with their renderers since it got on
    _number("store_gone_ms", null=True),  # what a retry would go on with was removed, as it is once the job succeeded
)

documents = Table(
    "documents",
    metadata,
    _text("job", key=True),
    _text("name", key=True),
    _text("content"),
)

events = Table(
    "events",
    metadata,
    _text("job", key=True),
    _number("seq", key=True),
    _number("at_ms"),
    _text("kind"),
    _text("data"),
)

segments = Table(
    "segments",
    metadata,
    _text("job", key=True),
    _text("stage", key=True),
    _number("position", key=True),
    _text("state"),
    _number("frames"),
    _number("frames_done"),
    _number("faces"),
    _number("attempt"),
    _text("slot"),
    _text("node"),
)

idempotency = Table(
    "idempotency",
    metadata,
    _text("tenant", key=True),
    _text("name", key=True),
    _text("request_sha256"),
    _text("job"),
    _number("created_ms"),
)

uploads = Table(
    "uploads",
    metadata,
    _text("id", key=True),
    _text("tenant"),
    _text("state"),
    _text("purpose"),
    _text("name"),
    _text("place"),
    _number("size_bytes"),
    _number("received_bytes"),
    _text("sha256"),
    _text("media"),
    _text("upload_ref"),
    _text("problem", null=True),
    _number("created_ms"),
    _number("changed_ms"),
    _number("files_gone_ms", null=True),
    _text("head_sha256"),  # of the first bytes of a file that goes into a bucket, "" until they were seen
)

job_uploads = Table(
    "job_uploads",
    metadata,
    _text("job", key=True),
    _text("upload", key=True),
    _number("unused_ms", null=True),  # since when the job does not need it; it goes with the job all the same
)

usage = Table(
    "usage",
    metadata,
    _text("tenant", key=True),
    _text("month", key=True),  # 2026-11, UTC
    _number("gpu_ms"),
    _number("core_ms"),
)

webhooks = Table(
    "webhooks",
    metadata,
    _text("id", key=True),
    _text("tenant"),
    _text("url"),
    _text("secret"),
    _text("job"),
    _text("states"),
    _number("created_ms"),
    _number("off_ms", null=True),
)

deliveries = Table(
    "deliveries",
    metadata,
    _text("id", key=True),
    _text("webhook"),
    _text("tenant"),
    _text("job"),
    _number("seq"),
    _text("body"),
    _text("state"),
    _number("tries"),
    _number("next_ms"),
    _number("created_ms"),
    _number("last_status", null=True),
    _text("last_error"),
)

audit = Table(
    "audit",
    metadata,
    _number("seq", key=True),
    _number("at_ms"),
    _text("actor"),
    _text("action"),
    _text("object"),
    _text("decision"),
    _text("reasons"),
    _text("prev_hash"),
    _text("hash"),
)

leases = Table(
    "leases",
    metadata,
    _text("name", key=True),
    _text("holder"),
    _number("epoch"),
    _number("until_ms"),
)
