"""Jobs: submitted once, listed, watched, stopped, gone on with, erased."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import PlainTextResponse, StreamingResponse

from core.errors import FarmError
from farm.api.auth import Ctx, JobReads, Reader, Writer
from farm.api.orders import idempotent, job_order, request_hash
from farm.api.schemas import EVENT, Cursor, Id, JobList, JobView, NewJob, SegmentList
from farm.api.statuses import refuses
from farm.api.stream import Stream, Watcher, follow
from farm.api.views import job_view, moment, segment_view, written
from farm.service import events, jobs, segments
from farm.service.records import JobState, KeyRow, SegmentStage, Submitted

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])
MOST_A_PAGE = 200
MOST_SEGMENTS = 2000
LOG_LINES = 10_000


@router.post(
    "",
    status_code=HTTPStatus.ACCEPTED,
    operation_id="submitJob",
    responses=refuses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
)
def submit(
    body: NewJob,
    ctx: Ctx,
    key: Writer,
    response: Response,
    idempotency_key: Annotated[str | None, idempotent("job")] = None,
) -> JobView:
    """Ask for a film."""
    sha256 = request_hash(body) if idempotency_key else ""
    named = idempotency_key or ""
    try:
        order = job_order(body, ctx.db, key.tenant, ctx.settings)
    except FarmError:  # of a request that is made again, the uploads may have been removed since
        made = jobs.submitted(ctx.db, key.tenant, named, sha256) if named else None
        if made is None:
            raise
        done = Submitted(made, new=False)
    else:
        done = jobs.submit(ctx.db, key.tenant, order, key_id=key.id, idempotency=named, request_sha256=sha256)
    response.headers["Location"] = f"{ctx.settings.prefix}/v1/jobs/{done.job.id}"
    if not done.new:
        response.headers["Idempotent-Replayed"] = "true"
    return job_view(done.job, ctx.settings.prefix)


@router.get("", operation_id="listJobs", response_model=JobList)
async def listed(
    reads: JobReads,
    state: Annotated[list[JobState] | None, Query(description="Only jobs in one of these states.")] = None,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=MOST_A_PAGE)] = 50,
) -> Response:
    """The tenant's jobs, newest first."""

    def page(key: KeyRow) -> Response:
        found = jobs.listed(reads.ctx.db, key.tenant, states=tuple(state or ()), cursor=cursor, limit=limit)
        prefix = reads.ctx.settings.prefix
        return written(JobList(items=[job_view(row, prefix) for row in found.items], next=found.cursor))

    return await reads(page)


@router.get(
    "/{job_id}",
    operation_id="getJob",
    response_model=JobView,
    responses={304: {"description": "The job is as it was."}},
)
async def get(job_id: Id, reads: JobReads, if_none_match: Annotated[str | None, Header()] = None) -> Response:
    def found(key: KeyRow) -> Response:
        row = jobs.get(reads.ctx.db, key.tenant, job_id)
        tag = f'"{row.id}-{row.version}"'
        if if_none_match == tag:
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers={"ETag": tag})
        headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
        return written(job_view(row, reads.ctx.settings.prefix), headers)

    return await reads(found)


@router.get(
    "/{job_id}/events",
    operation_id="watchJob",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def watch(
    job_id: Id, reads: JobReads, last_event_id: Annotated[str, Header(pattern=EVENT)] = ""
) -> StreamingResponse:
    """Events as they happen (text/event-stream), from the one after Last-Event-ID on."""
    ctx = reads.ctx
    row = await reads(lambda key: jobs.get(ctx.db, key.tenant, job_id))
    watcher = Watcher(row.tenant, job_id)
    made = follow(ctx, watcher, int(last_event_id or 0), check=reads.caller.again)
    ctx.hub.enter(watcher)
    return Stream(ctx.hub, watcher, made)


@router.get("/{job_id}/segments", operation_id="listSegments")
def segments_of(
    job_id: Id,
    ctx: Ctx,
    key: Reader,
    stage: SegmentStage | None = None,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=MOST_SEGMENTS)] = 500,
) -> SegmentList:
    page = segments.listed(ctx.db, key.tenant, job_id, stage=stage, cursor=cursor, limit=limit)
    return SegmentList(items=[segment_view(row) for row in page.items], next=page.cursor)


@router.get(
    "/{job_id}/log",
    operation_id="getLog",
    response_class=PlainTextResponse,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def log(job_id: Id, ctx: Ctx, key: Reader) -> PlainTextResponse:
    """What happened, a line an event; the last ten thousand."""
    row = jobs.get(ctx.db, key.tenant, job_id)
    lines: list[str] = []
    last = max(0, row.last_seq - LOG_LINES)
    while rows := events.after(ctx.db, key.tenant, job_id, last):
        for event in rows:
            last = event.seq
            said = " ".join(f"{name}={value}" for name, value in event.data.items())
            lines.append(f"{moment(event.at_ms).isoformat(timespec='milliseconds')} {event.kind} {said}")
    return PlainTextResponse("".join(f"{line}\n" for line in lines))


@router.post("/{job_id}/cancel", operation_id="cancelJob", responses=refuses(HTTPStatus.CONFLICT))
def cancel(job_id: Id, ctx: Ctx, key: Writer) -> JobView:
    """Stop the job; what was finished is kept for a retry. Again is the same as once."""
    return job_view(jobs.cancel(ctx.db, key.tenant, job_id, actor=key.id), ctx.settings.prefix)


@router.post("/{job_id}/pause", operation_id="pauseJob", responses=refuses(HTTPStatus.CONFLICT))
def pause(job_id: Id, ctx: Ctx, key: Writer) -> JobView:
    """Set the job aside until it is resumed."""
    return job_view(jobs.pause(ctx.db, key.tenant, job_id, actor=key.id), ctx.settings.prefix)


@router.post("/{job_id}/resume", operation_id="resumeJob", responses=refuses(HTTPStatus.CONFLICT))
def resume(job_id: Id, ctx: Ctx, key: Writer) -> JobView:
    """Go on with a paused job, from what is finished."""
    return job_view(jobs.resume(ctx.db, key.tenant, job_id, actor=key.id), ctx.settings.prefix)


@router.post("/{job_id}/retry", operation_id="retryJob", responses=refuses(HTTPStatus.CONFLICT))
def retry(job_id: Id, ctx: Ctx, key: Writer) -> JobView:
    """Try a failed, refused or cancelled job again, from what is finished."""
    return job_view(jobs.retry(ctx.db, key.tenant, job_id, actor=key.id), ctx.settings.prefix)


@router.delete("/{job_id}", status_code=HTTPStatus.NO_CONTENT, operation_id="eraseJob")
def erase(job_id: Id, ctx: Ctx, key: Writer) -> None:
    """Erase the job's uploads, faces and result; a line in the audit stays. Erased is erased: again is the same."""
    jobs.erase(ctx.db, key.tenant, job_id, actor=key.id)
