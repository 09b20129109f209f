"""Films and pictures that come in: announced, sent (again from where it broke off), looked at, ready."""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from farm.api.auth import Ctx, Reader, Writer
from farm.api.problems import Refused
from farm.api.receiving import receive
from farm.api.schemas import Id, NewUpload, UploadList, UploadView
from farm.api.views import upload_view
from farm.service import uploads
from farm.service.records import UploadRow

router = APIRouter(prefix="/v1/uploads", tags=["uploads"])
MOST_A_PAGE = 200


@router.post("", status_code=HTTPStatus.CREATED, operation_id="announceUpload")
def announce(body: NewUpload, ctx: Ctx, key: Writer, response: Response) -> UploadView:
    """Say which file is to come. Send it to `links.data`, or its parts to `parts` where the service uses a bucket."""
    if body.size_bytes > ctx.settings.most_upload_bytes:
        raise Refused(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"at most {ctx.settings.most_upload_bytes} bytes are taken",
            hint="send a smaller file, or ask the operator",
        )
    row = uploads.begin(
        ctx.db,
        key.tenant,
        purpose=body.purpose,
        name=body.name,
        size_bytes=body.size_bytes,
        place=lambda upload_id: str(ctx.places.upload(key.tenant, upload_id)),
    )
    response.headers["Location"] = f"{ctx.settings.prefix}/v1/uploads/{row.id}"
    return upload_view(row, ctx.settings.prefix)


@router.get("", operation_id="listUploads")
def listed(
    ctx: Ctx,
    key: Reader,
    cursor: Annotated[str | None, Query(max_length=500)] = None,
    limit: Annotated[int, Query(ge=1, le=MOST_A_PAGE)] = 50,
) -> UploadList:
    page = uploads.listed(ctx.db, key.tenant, cursor=cursor, limit=limit)
    return UploadList(items=[upload_view(row, ctx.settings.prefix) for row in page.items], next=page.cursor)


@router.get("/{upload_id}", operation_id="getUpload")
def get(upload_id: Id, ctx: Ctx, key: Reader, response: Response) -> UploadView:
    """One upload; how much of it is here is in `received_bytes`."""
    row = with_file(uploads.get(ctx.db, key.tenant, upload_id))
    response.headers["Upload-Offset"] = str(row.received_bytes)
    return upload_view(row, ctx.settings.prefix)


@router.put(
    "/{upload_id}/data",
    operation_id="sendUpload",
    openapi_extra={
        "requestBody": {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
    },
)
async def send(
    upload_id: Id,
    request: Request,
    ctx: Ctx,
    key: Writer,
    upload_offset: Annotated[int, Header(ge=0, description="The first byte that is sent; what is here already.")] = 0,
) -> UploadView:
    """The file's bytes, as they are. What is neither film nor picture is refused after the first megabyte."""
    row = await run_in_threadpool(uploads.get, ctx.db, key.tenant, upload_id)
    row = await receive(ctx.db, row, upload_offset, request.stream(), ctx.settings.silence_s)
    return upload_view(row, ctx.settings.prefix)


@router.delete("/{upload_id}", status_code=HTTPStatus.NO_CONTENT, operation_id="deleteUpload")
def remove(upload_id: Id, ctx: Ctx, key: Writer) -> None:
    """Take the file away. A job that is not ended keeps it."""
    uploads.remove(ctx.db, key.tenant, upload_id, actor=key.id)


def with_file(row: UploadRow) -> UploadRow:
    """`row` with what is in the file: after a crash the table may know of less."""
    if row.state != "open" or row.upload_ref:
        return row
    file = Path(row.place)
    return replace(row, received_bytes=min(file.stat().st_size if file.exists() else 0, row.size_bytes))
