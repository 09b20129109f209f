"""What makes the tables, step by step: numbered, never changed once released, a new step for every change.

A step is SQL that both databases take; `{text}` is the type of what is compared and sorted, by bytes and not by a
language's rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from core.errors import InputError


@dataclass(frozen=True)
class Step:
    number: int
    name: str
    statements: tuple[str, ...]


FIRST = (
    "CREATE TABLE tenants (id {text} PRIMARY KEY, name TEXT NOT NULL, quota TEXT NOT NULL, created_ms BIGINT NOT NULL)",
    """CREATE TABLE api_keys (
        id {text} PRIMARY KEY, tenant {text} NOT NULL REFERENCES tenants (id), name TEXT NOT NULL,
        sha256 TEXT NOT NULL, scopes TEXT NOT NULL, created_ms BIGINT NOT NULL, expires_ms BIGINT,
        revoked_ms BIGINT, used_ms BIGINT)""",
    "CREATE INDEX api_keys_of_tenant ON api_keys (tenant)",
    """CREATE TABLE jobs (
        id {text} PRIMARY KEY, tenant {text} NOT NULL REFERENCES tenants (id), state {text} NOT NULL,
        wish {text} NOT NULL, epoch BIGINT NOT NULL, attempt BIGINT NOT NULL, lapses BIGINT NOT NULL,
        version BIGINT NOT NULL, last_seq BIGINT NOT NULL, owner {text} NOT NULL, lease_ms BIGINT NOT NULL,
        not_before_ms BIGINT NOT NULL,
        title TEXT NOT NULL, priority BIGINT NOT NULL, job_order TEXT, progress TEXT NOT NULL,
        segments_running BIGINT NOT NULL, gpu_ms BIGINT NOT NULL, core_ms BIGINT NOT NULL,
        epoch_gpu_ms BIGINT NOT NULL, epoch_core_ms BIGINT NOT NULL, cost_micros BIGINT,
        epoch_cost_micros BIGINT NOT NULL, currency TEXT NOT NULL, problem TEXT, result TEXT,
        result_bytes BIGINT NOT NULL, has_cast BIGINT NOT NULL, created_ms BIGINT NOT NULL, changed_ms BIGINT NOT NULL,
        started_ms BIGINT, finished_ms BIGINT, erased_ms BIGINT, files_gone_ms BIGINT, key_id {text} NOT NULL)""",
    "CREATE INDEX jobs_of_tenant ON jobs (tenant, id)",
    "CREATE INDEX jobs_by_state ON jobs (state, tenant, priority DESC, id)",
    "CREATE INDEX jobs_to_clear ON jobs (erased_ms) WHERE erased_ms IS NOT NULL AND files_gone_ms IS NULL",
    """CREATE TABLE documents (
        job {text} NOT NULL, name {text} NOT NULL, content TEXT NOT NULL, PRIMARY KEY (job, name))""",
    """CREATE TABLE events (
        job {text} NOT NULL, seq BIGINT NOT NULL, at_ms BIGINT NOT NULL, kind TEXT NOT NULL, data TEXT NOT NULL,
        PRIMARY KEY (job, seq))""",
    """CREATE TABLE segments (
        job {text} NOT NULL, stage {text} NOT NULL, position BIGINT NOT NULL, state {text} NOT NULL,
        frames BIGINT NOT NULL, frames_done BIGINT NOT NULL, faces BIGINT NOT NULL, attempt BIGINT NOT NULL,
        slot TEXT NOT NULL, node TEXT NOT NULL, PRIMARY KEY (job, stage, position))""",
    """CREATE TABLE idempotency (
        tenant {text} NOT NULL, name {text} NOT NULL, request_sha256 TEXT NOT NULL, job {text} NOT NULL,
        created_ms BIGINT NOT NULL, PRIMARY KEY (tenant, name))""",
    "CREATE INDEX idempotency_by_age ON idempotency (created_ms)",
    "CREATE INDEX idempotency_of_job ON idempotency (job)",
    """CREATE TABLE uploads (
        id {text} PRIMARY KEY, tenant {text} NOT NULL REFERENCES tenants (id), state {text} NOT NULL,
        purpose TEXT NOT NULL, name TEXT NOT NULL, place TEXT NOT NULL, size_bytes BIGINT NOT NULL,
        received_bytes BIGINT NOT NULL, sha256 TEXT NOT NULL, media TEXT NOT NULL, upload_ref TEXT NOT NULL,
        problem TEXT, created_ms BIGINT NOT NULL, changed_ms BIGINT NOT NULL, files_gone_ms BIGINT)""",
    "CREATE INDEX uploads_of_tenant ON uploads (tenant, id)",
    "CREATE INDEX uploads_by_state ON uploads (state, changed_ms)",
    "CREATE TABLE job_uploads (job {text} NOT NULL, upload {text} NOT NULL, PRIMARY KEY (job, upload))",
    "CREATE INDEX job_uploads_by_upload ON job_uploads (upload)",
    """CREATE TABLE usage (
        tenant {text} NOT NULL, month {text} NOT NULL, gpu_ms BIGINT NOT NULL, core_ms BIGINT NOT NULL,
        PRIMARY KEY (tenant, month))""",
    """CREATE TABLE webhooks (
        id {text} PRIMARY KEY, tenant {text} NOT NULL REFERENCES tenants (id), url TEXT NOT NULL, secret TEXT NOT NULL,
        job {text} NOT NULL, states TEXT NOT NULL, created_ms BIGINT NOT NULL, off_ms BIGINT)""",
    "CREATE INDEX webhooks_of_tenant ON webhooks (tenant, id)",
    """CREATE TABLE deliveries (
        id {text} PRIMARY KEY, webhook {text} NOT NULL, tenant {text} NOT NULL, job {text} NOT NULL,
        seq BIGINT NOT NULL, body TEXT NOT NULL, state {text} NOT NULL, tries BIGINT NOT NULL, next_ms BIGINT NOT NULL,
        created_ms BIGINT NOT NULL, last_status BIGINT, last_error TEXT NOT NULL)""",
    "CREATE INDEX deliveries_of_tenant ON deliveries (tenant, id)",
    "CREATE INDEX deliveries_due ON deliveries (next_ms) WHERE state = 'waiting'",
    "CREATE INDEX deliveries_of_job ON deliveries (job)",
    """CREATE TABLE audit (
        seq BIGINT PRIMARY KEY, at_ms BIGINT NOT NULL, actor TEXT NOT NULL, action TEXT NOT NULL, object TEXT NOT NULL,
        decision TEXT NOT NULL, reasons TEXT NOT NULL, prev_hash TEXT NOT NULL, hash TEXT NOT NULL)""",
    """CREATE TABLE leases (
        name {text} PRIMARY KEY, holder {text} NOT NULL, epoch BIGINT NOT NULL, until_ms BIGINT NOT NULL)""",
)

LOSSES = ("ALTER TABLE jobs ADD COLUMN losses BIGINT NOT NULL DEFAULT 0",)

LETTERS = (
    "CREATE INDEX deliveries_in_turn ON deliveries (tenant, next_ms, id) WHERE state = 'waiting'",
    "CREATE INDEX deliveries_waiting ON deliveries (webhook) WHERE state = 'waiting'",
)

HEADS = ("ALTER TABLE uploads ADD COLUMN head_sha256 TEXT NOT NULL DEFAULT ''",)

STORES = (
    "ALTER TABLE jobs ADD COLUMN store_gone_ms BIGINT",
    """CREATE INDEX jobs_with_stores ON jobs (finished_ms)
        WHERE state = 'succeeded' AND store_gone_ms IS NULL AND erased_ms IS NULL""",
)

UNUSED = ("ALTER TABLE job_uploads ADD COLUMN unused_ms BIGINT",)

CLEARING = (  # every few seconds, so that each reads what is to go and not what is there
    "DROP INDEX jobs_to_clear",
    "CREATE INDEX jobs_to_clear ON jobs (id) WHERE erased_ms IS NOT NULL AND files_gone_ms IS NULL",
    "DROP INDEX jobs_with_stores",
    "CREATE INDEX jobs_with_stores ON jobs (state, id) WHERE store_gone_ms IS NULL AND erased_ms IS NULL",
    "CREATE INDEX jobs_ended ON jobs (finished_ms) WHERE finished_ms IS NOT NULL AND erased_ms IS NULL",
    "CREATE INDEX uploads_to_clear ON uploads (state, id) WHERE files_gone_ms IS NULL",
    "DROP INDEX job_uploads_by_upload",
    "CREATE INDEX job_uploads_by_upload ON job_uploads (upload, unused_ms)",
    "CREATE INDEX webhooks_of_job ON webhooks (job)",
    "CREATE INDEX webhooks_live ON webhooks (job) WHERE off_ms IS NULL",
    "CREATE INDEX deliveries_by_age ON deliveries (created_ms)",
)

STEPS = (
    Step(1, "the tables", FIRST),
    Step(2, "losses of renderers", LOSSES),
    Step(3, "letters by tenant and by webhook", LETTERS),
    Step(4, "how files in a bucket begin", HEADS),
    Step(5, "stores of jobs that succeeded", STORES),
    Step(6, "uploads that a job does not need any more", UNUSED),
    Step(7, "what clearing up looks for", CLEARING),
)

LOCK = 0x6661726D  # "farm": PostgreSQL's advisory lock around a migration


def migrate(connection: Connection, *, where: str, steps: Sequence[Step] = STEPS) -> None:
    """Carry out the steps that the database has not seen, in the transaction of `connection`.

    Two services that start at once: one migrates, the other waits for it. `InputError` where the database is of a
    newer farm.
    """
    postgres = connection.dialect.name == "postgresql"
    if postgres:
        # An index over millions of rows takes longer than any call may, and another service waits as long for its turn.
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
        connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")
        # Whoever waits for a table for ever lets all calls wait behind it.
        connection.exec_driver_sql("SET LOCAL lock_timeout TO DEFAULT")
    connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS farm_schema (number BIGINT PRIMARY KEY, name TEXT NOT NULL)")
    known = {int(row[0]) for row in connection.exec_driver_sql("SELECT number FROM farm_schema")}
    newer = known - {step.number for step in steps}
    if newer:
        raise InputError(
            f"the database is of a newer farm (schema {max(newer)}, this one knows {steps[-1].number})",
            where=where,
            hint="run the newer farm, or name another database",
        )
    text = 'TEXT COLLATE "C"' if postgres else "TEXT"
    for step in steps:
        if step.number not in known:
            for statement in step.statements:
                connection.exec_driver_sql(statement.replace("{text}", text))
            told = step.name.replace("'", "''")
            connection.exec_driver_sql(f"INSERT INTO farm_schema (number, name) VALUES ({step.number}, '{told}')")
