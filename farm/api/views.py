"""Rows of the service as bodies: what a tenant may see of them, and where to go from there."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from fastapi import Response
from pydantic import BaseModel

from farm.api.parting import head_bytes_of, in_parts, part_bytes_of
from farm.api.schemas import (
    JobView,
    KeyView,
    ProblemView,
    ProgressView,
    ResultView,
    SegmentView,
    SpentView,
    UploadView,
    UseView,
    WebhookView,
)
from farm.service.records import (
    UPLOAD_SCHEME,
    JobRow,
    JobState,
    KeyRow,
    Problem,
    SegmentRow,
    TenantQuota,
    TenantUse,
    UploadRow,
    WebhookRow,
)

MICROS = 1_000_000


def written(body: BaseModel, headers: Mapping[str, str] | None = None) -> Response:
    """The answer that says `body`, for calls that come all the time: FastAPI would check it once more, on a thread."""
    return Response(body.model_dump_json(by_alias=True), headers=headers, media_type="application/json")


def moment(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def maybe(ms: int | None) -> datetime | None:
    return None if ms is None else moment(ms)


def problem_view(problem: Problem | None) -> ProblemView | None:
    """Without the place: it is one of the server's."""
    return None if problem is None else ProblemView(kind=problem.kind, detail=problem.what, next_step=problem.hint)


def job_view(row: JobRow, prefix: str) -> JobView:
    asked = row.asked
    progress, spent = row.progress, row.spent
    here = f"{prefix}/v1/jobs/{row.id}"
    links = {"self": here, "events": f"{here}/events", "segments": f"{here}/segments", "log": f"{here}/log"}
    if row.result is not None:
        links["result"] = f"{here}/result"
    if row.state is JobState.casting or row.has_cast:
        links["cast"] = f"{here}/cast"
    result = row.result
    return JobView(
        id=row.id,
        state=row.state,
        wish=row.wish,
        attempt=row.attempt,
        version=row.version,
        title=row.title,
        priority=row.priority,
        labels=asked.labels if asked is not None else {},
        target=asked.spec.target.removeprefix(UPLOAD_SCHEME) if asked is not None else "",
        swapper=asked.spec.swapper if asked is not None else "",
        wait_for_cast=asked is not None and asked.wait_for_cast,
        has_cast=row.has_cast,
        progress=ProgressView(
            stage=progress.stage,
            frames_done=progress.frames_done,
            frames_total=progress.frames_total,
            segments_done=progress.segments_done,
            segments_total=progress.segments_total,
            segments_running=progress.segments_running,
            faces_done=progress.faces_done,
            frames_per_s=progress.frames_per_s,
            eta_low_s=progress.eta_low_s,
            eta_high_s=progress.eta_high_s,
        ),
        spent=SpentView(
            gpu_s=spent.gpu_ms / 1000,
            core_s=spent.core_ms / 1000,
            cost=None if spent.cost_micros is None else spent.cost_micros / MICROS,
            currency=spent.currency,
        ),
        problem=problem_view(row.problem),
        result=None
        if result is None
        else ResultView(name=result.name, sha256=result.sha256, size_bytes=result.size_bytes),
        created=moment(row.created_ms),
        changed=moment(row.changed_ms),
        started=maybe(row.started_ms),
        finished=maybe(row.finished_ms),
        last_event=row.last_seq,
        links=links,
    )


def segment_view(row: SegmentRow) -> SegmentView:
    return SegmentView(
        stage=row.stage,
        index=row.index,
        state=row.state,
        frames=row.frames,
        frames_done=row.frames_done,
        faces=row.faces,
        attempt=row.attempt,
        slot=row.slot,
        node=row.node,
    )


def upload_view(row: UploadRow, prefix: str) -> UploadView:
    here = f"{prefix}/v1/uploads/{row.id}"
    links = {"self": here}
    cut = in_parts(row)
    wanted = cut and row.state == "open" and not row.head_sha256
    if row.state == "open":
        links |= {"parts": f"{here}/parts", "finish": f"{here}/finish"} if cut else {"data": f"{here}/data"}
    if wanted:
        links["head"] = f"{here}/head"
    return UploadView(
        id=row.id,
        state=row.state,
        purpose=row.purpose,
        name=row.name,
        size_bytes=row.size_bytes,
        received_bytes=row.received_bytes,
        sha256=row.sha256,
        media=row.media,
        problem=problem_view(row.problem),
        created=moment(row.created_ms),
        links=links,
        part_bytes=part_bytes_of(row.size_bytes) if cut and row.state == "open" else None,
        head_bytes=head_bytes_of(row.size_bytes) if wanted else None,
    )


def webhook_view(row: WebhookRow, secret: str | None = None) -> WebhookView:
    return WebhookView(
        id=row.id,
        url=row.url,
        job=row.job,
        states=list(row.states),
        created=moment(row.created_ms),
        off=maybe(row.off_ms),
        secret=secret,
    )


def key_view(row: KeyRow, secret: str | None = None) -> KeyView:
    return KeyView(
        id=row.id,
        name=row.name,
        scopes=list(row.scopes),
        created=moment(row.created_ms),
        expires=maybe(row.expires_ms),
        revoked=maybe(row.revoked_ms),
        used=maybe(row.used_ms),
        secret=secret,
    )


def use_view(use: TenantUse, quota: TenantQuota) -> UseView:
    return UseView(
        segments=use.segments,
        jobs_running=use.jobs_running,
        jobs_waiting=use.jobs_waiting,
        gpu_s=use.gpu_ms / 1000,
        stored_bytes=use.stored_bytes,
        quota={
            "segments": quota.segments,
            "jobs_running": quota.jobs_running,
            "jobs_waiting": quota.jobs_waiting,
            "gpu_s": None if quota.gpu_ms is None else quota.gpu_ms // 1000,
            "stored_bytes": quota.stored_bytes,
            "film_s": quota.film_s,
        },
    )
