"""The service's system of record: jobs, their events and all that belongs to tenants, in SQL. No HTTP in here.

records, states, errors: the vocabulary. Every function below takes an open `Database` first, may be called from any
thread, and raises farm.service.errors or `Unreachable`. One that writes is one transaction. A `tenant` argument is a
border: what is another tenant's is `NotFound`.

    from farm.service.database import Database, open_database
    open_database(url) -> Database      # sqlite:///path.db, postgresql://...; migrates; a context manager
        .ping() -> None                 # raises Unreachable

    from farm.service import jobs
    submit(db, tenant, order: JobOrder, *, key_id="", idempotency="", request_sha256="") -> Submitted
        # KeyReused (same key, other request_sha256), OverQuota, NotFound / Conflict (an upload that is not ready)
    get(db, tenant, job_id) -> JobRow
    listed(db, tenant, *, states=(), cursor=None, limit=50) -> Page[JobRow]          # newest first
    cancel(db, tenant, job_id, *, actor="") -> JobRow           # idempotent; Conflict where it succeeded or failed
    pause / resume / retry(db, tenant, job_id, *, actor="") -> JobRow                # idempotent
    put_cast(db, tenant, job_id, toml: str, *, actor="") -> JobRow                   # casting -> queued
    cast_of(db, tenant, job_id) -> str | None                   # the cast.toml that was put
    report_of(db, tenant, job_id) -> JobReport                  # NotFound before the job succeeded
    erase(db, tenant, job_id, *, actor="") -> None              # idempotent; NotFound afterwards
    jobs_by_state(db) -> dict[JobState, int]                    # of all tenants, for /metrics

    from farm.service import events
    after(db, tenant, job_id, seq: int, *, limit=500) -> tuple[EventRow, ...]        # seq order
    heads(db, job_ids) -> dict[str, tuple[int, int]]            # job -> (version, last_seq): one query for all watchers

    from farm.service import segments
    listed(db, tenant, job_id, *, stage=None, cursor=None, limit=500) -> Page[SegmentRow]

    from farm.service import uploads
    begin(db, tenant, *, purpose, name, size_bytes, place: Callable[[str], str], upload_ref="") -> UploadRow
        # OverQuota; place(upload_id) says where the file will lie
    received(db, tenant, upload_id, received_bytes) -> UploadRow
    finish(db, tenant, upload_id, *, size_bytes, sha256, media) -> UploadRow
    refuse(db, tenant, upload_id, problem: Problem) -> UploadRow
    get(db, tenant, upload_id) -> UploadRow
    listed(db, tenant, *, cursor=None, limit=50) -> Page[UploadRow]
    remove(db, tenant, upload_id, *, actor="") -> UploadRow     # Conflict while an unfinished job uses it

    from farm.service import keys
    make_tenant(db, name, quota=TenantQuota(), *, tenant_id=None) -> TenantRow
    tenant(db, tenant_id) -> TenantRow;  set_quota(db, tenant_id, quota) -> TenantRow;  tenants(db) -> tuple
    use_of(db, tenant_id) -> TenantUse
    make_key(db, tenant, name, scopes, *, expires_ms=None, actor="") -> NewKey
    check_key(db, secret: str) -> KeyRow                        # NoKey, in constant time
    listed(db, tenant) -> tuple[KeyRow, ...];  revoke(db, tenant, key_id, *, actor="") -> KeyRow

    from farm.service import webhooks
    make(db, tenant, url, *, job="", states=()) -> tuple[WebhookRow, str]   # the signing secret, shown once; InputError
    listed(db, tenant) -> tuple[WebhookRow, ...];  remove(db, tenant, webhook_id) -> None
    deliveries(db, tenant, *, webhook=None, cursor=None, limit=50) -> Page[DeliveryRow]

    from farm.service import audit
    listed(db, *, cursor=None, limit=100) -> Page[AuditRow]
    check(db) -> None                                           # StorageError where a line was edited

    from farm.service.places import ServicePlaces
    ServicePlaces(root)                                         # where files lie: uploads, results, jobs' stores
        .upload(tenant, upload_id) -> Path;  .job(job_id) -> Path;  .result(job_id, name) -> Path
        .cast_folder(job_id) -> Path                            # index.html, cast.toml, pictures after the analysis

    from farm.service.coordinator import Coordinator
    Coordinator(db, pool, places, settings, run_options).start() / .close(*, finish=False)   # runs jobs on the pool

    from farm.service.posting import Postman
    Postman(db).start() / .close()                              # tells webhooks; any number of them may work

What coordinators alone call: leasing (take, renew, lead, resign), held (what they write of the jobs they hold),
clearing. What holds them together: moves (one statement a transition, and its event), states (the law).
"""
