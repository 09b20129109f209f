"""The finished film, and pictures out of it and out of its source."""

from __future__ import annotations

import hashlib
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from core import codec
from core.errors import InputError
from farm.api import links
from farm.api.auth import Ctx, Reader
from farm.api.context import Context
from farm.api.parting import is_far
from farm.api.ranges import wanted
from farm.api.schemas import Id, ResultLink
from farm.api.statuses import refuses
from farm.api.still import still
from farm.api.turns import to_its_end
from farm.service import audit, jobs, uploads
from farm.service.errors import Conflict, NotFound
from farm.service.records import UPLOAD_SCHEME, JobRow, Result
from farm.service.resolving import cast_uploads
from farm.service.rows import order_of
from farm.versions import version_of

router = APIRouter(tags=["results"])
PREVIEW_WAIT_S = 10.0
# An hour, so that a browser does not hold faces much longer than the service does. `Vary`: what one key was shown, a
# browser asks for again with another.
KEPT = {"Cache-Control": "private, max-age=3600, immutable", "Vary": "Authorization"}
MAY_CHANGE = {"Cache-Control": "private, max-age=900", "Vary": "Authorization"}
MADE_BY = " ".join(version_of(name) for name in ("face-farm", "av", "opencv-python-headless"))
TAG_DIGITS = 32
FILMS = {
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mov": "video/quicktime",
    ".mkv": "video/x-matroska",
    ".webm": "video/webm",
}


def result_of(row: JobRow) -> Result:
    if row.result is None:
        raise Conflict(f"the job is {row.state}: it has no result", hint="wait until it has succeeded")
    return row.result


@router.get(
    "/v1/jobs/{job_id}/result",
    operation_id="getResult",
    status_code=HTTPStatus.TEMPORARY_REDIRECT,
    response_class=RedirectResponse,
    responses={
        **refuses(HTTPStatus.CONFLICT),
        200: {"model": ResultLink, "description": "The address, with `redirect=false`."},
        307: {"description": "Where the film can be had for the next quarter of an hour, without a key."},
    },
)
def result(
    job_id: Id,
    ctx: Ctx,
    key: Reader,
    redirect: Annotated[bool, Query(description="Whether to be sent there, or to be told the address.")] = True,
) -> Response:
    """The finished film."""
    row = jobs.get(ctx.db, key.tenant, job_id)
    made, seconds = result_of(row), ctx.settings.link_s
    if is_far(made.place):
        url = ctx.buckets.link(made.place, made.name, media_type(made.place), seconds)
    else:
        token = links.sign(ctx.settings.secret, row.tenant, row.id, int(time.time()) + seconds)
        url = f"{ctx.settings.prefix}/v1/files/{token}"
    audit.note(ctx.db, key.id, "result.link", row.id)
    if redirect:
        return RedirectResponse(url, headers=NO_STORE)
    return JSONResponse(ResultLink(url=url, expires_in_s=seconds).model_dump(), headers=NO_STORE)


NO_STORE = {"Cache-Control": "no-store"}


def media_type(place: str) -> str:
    return FILMS.get(PurePosixPath(place).suffix.lower(), "application/octet-stream")


@router.get(
    "/v1/files/{token}",
    operation_id="getFile",
    response_class=FileResponse,
    responses={
        **refuses(HTTPStatus.CONFLICT, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE),
        200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}},
        206: {"description": "The ranges of the film that were asked for."},
        307: {"description": "The film was moved into a bucket, where it can be had without a key."},
    },
)
def file(
    token: Annotated[str, "from the result's redirect"], request: Request, ctx: Ctx, download: bool = True
) -> Response:
    """The file of a signed link; ranges work. With `download` a browser saves it instead of playing it."""
    tenant, job_id = links.read(ctx.settings.secret, token, time.time())
    made = result_of(jobs.get(ctx.db, tenant, job_id))
    if is_far(made.place):  # was moved into a bucket since
        url = ctx.buckets.link(made.place, made.name, media_type(made.place), ctx.settings.link_s, download=download)
        return RedirectResponse(url, headers=NO_STORE)
    path = Path(made.place)
    if not path.is_file():
        raise NotFound("the result is not there any more", hint="render it again")
    answer = FileResponse(
        path,
        media_type=media_type(made.place),
        filename=made.name,
        content_disposition_type="attachment" if download else "inline",
        headers={"Cache-Control": "private, max-age=900"},
        stat_result=path.stat(),
    )
    set_range(request, answer, int(answer.headers["content-length"]))
    return answer


def set_range(request: Request, answer: FileResponse, size: int) -> None:
    """Leave the ranges of the call to `answer` that mean something of a file of `size` bytes; 416 where none does."""
    header = request.headers.get("range")
    if header is None:
        return
    same = request.headers.get("if-range")
    as_it_was = same is None or same in (answer.headers["etag"], answer.headers["last-modified"])
    ranges = wanted(header, size) if as_it_was else None
    others = [(name, value) for name, value in request.scope["headers"] if name != b"range"]
    request.scope["headers"] = others if ranges is None else [*others, (b"range", ranges.encode())]


@router.get(
    "/v1/jobs/{job_id}/report",
    operation_id="getReport",
    responses=refuses(HTTPStatus.CONFLICT),
    response_class=Response,
)
def report(job_id: Id, ctx: Ctx, key: Reader) -> Response:
    """What was done and checked, as `farm render --json` tells it, without the server's places."""
    row = jobs.get(ctx.db, key.tenant, job_id)
    told = jobs.report_of(ctx.db, key.tenant, job_id)
    names = upload_names(ctx, row)

    def shown(place: str) -> str:
        return ", ".join(names.get(Path(one).name, Path(one).name) for one in place.split(", "))

    told = replace(
        told,
        target=shown(told.target),
        output=row.result.name if row.result is not None else Path(told.output).name,
        source=shown(told.source) if told.source else None,
        cast=Path(told.cast).name if told.cast else None,
        quality=None,
        roles=tuple(replace(role, source=shown(role.source)) for role in told.roles),
    )
    return Response(codec.encode(told), media_type="application/json")


def upload_names(ctx: Context, row: JobRow) -> dict[str, str]:
    """What the tenant calls the uploads of a job, by their ids."""
    try:
        order = order_of(row)
    except InputError:  # what became of the job can be told without
        order = None
    if order is None:
        return {}
    known = {}
    cast = jobs.cast_of(ctx.db, row.tenant, row.id)
    for upload in (*jobs.uploads_of(order), *(cast_uploads(cast) if cast is not None else ())):
        with suppress(NotFound):
            known[upload] = uploads.get(ctx.db, row.tenant, upload).name
    return known


@router.get(
    "/v1/jobs/{job_id}/preview.jpg",
    operation_id="getPreview",
    response_class=Response,
    responses={
        **refuses(HTTPStatus.CONFLICT),
        200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}},
        304: {"description": "The picture is as it was."},
    },
)
async def preview(
    job_id: Id,
    ctx: Ctx,
    key: Reader,
    at: Annotated[float, Query(ge=0, le=10_000_000, allow_inf_nan=False, description="Seconds into the film.")] = 0.0,
    side: Literal["before", "after"] = "after",
    width: Annotated[int, Query(ge=16, le=3840)] = 960,
    if_none_match: Annotated[str | None, Header(max_length=1000)] = None,
) -> Response:
    """The frame that is shown at a time, of the film as it was or as it is now. Where the service keeps the film, the
    ETag is known without decoding."""
    film = await run_in_threadpool(film_of, ctx, key.tenant, job_id, side)
    tag = still_tag(film.sha256, at, width) if film.sha256 else ""
    if tag and is_known(if_none_match, tag):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers={"ETag": tag, **KEPT})
    async with ctx.previews.turn(key.tenant, PREVIEW_WAIT_S):
        made = await to_its_end(still, film.place, at, width)
    if tag:
        return Response(made, media_type="image/jpeg", headers={"ETag": tag, **KEPT})
    tag = f'"{hashlib.sha256(made).hexdigest()[:TAG_DIGITS]}"'
    if is_known(if_none_match, tag):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers={"ETag": tag, **MAY_CHANGE})
    return Response(made, media_type="image/jpeg", headers={"ETag": tag, **MAY_CHANGE})


@dataclass(frozen=True)
class Film:
    """Where a film lies. `sha256` is that of one which the service keeps, so that it stays what it is; "" of one that
    lies elsewhere, whose owner may put another in its place."""

    place: str
    sha256: str


def still_tag(sha256: str, at_s: float, width: int) -> str:
    """The ETag of a frame: of the film, what was asked of it, and the versions that make the picture."""
    text = f"{MADE_BY} {sha256} {at_s!r} {width}"
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:TAG_DIGITS]}"'


def is_known(if_none_match: str | None, tag: str) -> bool:
    """Whether a client that sends this header has what `tag` stands for (RFC 9110, 13.1.2)."""
    known = [one.strip().removeprefix("W/") for one in (if_none_match or "").split(",")]
    return tag in known


def film_of(ctx: Context, tenant: str, job_id: str, side: str) -> Film:
    """The film of a side."""
    row = jobs.get(ctx.db, tenant, job_id)
    if side == "after":
        made = result_of(row)
        return Film(made.place, made.sha256)
    if row.asked is None:
        raise NotFound("what the job asked for cannot be read any more")
    target = row.asked.spec.target
    if not target.startswith(UPLOAD_SCHEME):
        return Film(target, "")
    upload = uploads.get(ctx.db, row.tenant, target.removeprefix(UPLOAD_SCHEME))
    return Film(upload.place, upload.sha256)
