"""Films and pictures that come in: announced, sent (again from where it broke off), looked at, ready."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, ParamSpec, TypeVar

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi import Path as InPath
from starlette.concurrency import run_in_threadpool

from core.errors import InputError
from farm.api.auth import Ctx, Reader, Writer
from farm.api.context import Context
from farm.api.counting import Counts
from farm.api.folders import receive_part, too_long
from farm.api.orders import idempotent
from farm.api.parting import (
    MOST_PARTS,
    PART_BYTES,
    PartStore,
    StillSent,
    head_bytes_of,
    in_parts,
    is_far,
    part_of,
    parts_of,
)
from farm.api.receiving import check_first, check_room, problem_of, receive
from farm.api.schemas import Cursor, EndOfUpload, Id, NewUpload, PartList, PartView, UploadList, UploadView
from farm.api.statuses import refuses
from farm.api.views import upload_view
from farm.paths import place as path_of
from farm.service import uploads
from farm.service.errors import Conflict, NotFound, Unreachable
from farm.service.places import remove_object
from farm.service.records import KeyRow, UploadRow

router = APIRouter(prefix="/v1/uploads", tags=["uploads"])
MOST_A_PAGE = 200
MOST_PARTS_A_PAGE = 1000
P = ParamSpec("P")
Answer = TypeVar("Answer")
OCTETS = {"requestBody": {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}}


@router.post("", status_code=HTTPStatus.CREATED, operation_id="announceUpload", responses=refuses(HTTPStatus.CONFLICT))
async def announce(
    body: NewUpload,
    ctx: Ctx,
    key: Writer,
    response: Response,
    idempotency_key: Annotated[str | None, idempotent("upload")] = None,
) -> UploadView:
    """Say which file is to come. Then send it to `links.data`; where there is `links.head` in its place, send that the
    first `head_bytes`, put the parts that `links.parts` lists where it says, and end with `links.finish`."""
    if body.size_bytes > ctx.settings.most_upload_bytes:
        told = f"size_bytes: at most {ctx.settings.most_upload_bytes} bytes are taken"
        raise InputError(told, hint="send a smaller file, or ask the operator")
    row = await waited(ctx, key.tenant, ctx.places.far, announced, ctx, key, body, idempotency_key or "")
    response.headers["Location"] = f"{ctx.settings.prefix}/v1/uploads/{row.id}"
    return upload_view(row, ctx.settings.prefix)


@router.get("", operation_id="listUploads")
def listed(
    ctx: Ctx,
    key: Reader,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=MOST_A_PAGE)] = 50,
) -> UploadList:
    page = uploads.listed(ctx.db, key.tenant, cursor=cursor, limit=limit)
    return UploadList(items=[upload_view(row, ctx.settings.prefix) for row in page.items], next=page.cursor)


@router.get("/{upload_id}", operation_id="getUpload", responses=refuses(HTTPStatus.CONFLICT))
async def get(upload_id: Id, ctx: Ctx, key: Reader, response: Response) -> UploadView:
    """One upload; how much of it is here is in `received_bytes`."""
    row = await run_in_threadpool(uploads.get, ctx.db, key.tenant, upload_id)
    if row.state == "open":
        row = await waited(ctx, key.tenant, is_far(row.place), with_file, ctx, row)
    response.headers["Upload-Offset"] = str(row.received_bytes)
    return upload_view(row, ctx.settings.prefix)


@router.put(
    "/{upload_id}/data", operation_id="sendUpload", responses=refuses(HTTPStatus.CONFLICT), openapi_extra=OCTETS
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
    if in_parts(row):
        hint = "send its first bytes to `head`, put the parts that `parts` lists, then `finish`"
        raise Conflict("this file comes in parts", hint=hint)
    data = counted(request.stream(), ctx.counts)
    with ctx.sending.slot(key.tenant):
        row = await receive(ctx.db, row, upload_offset, data, ctx.settings.silence_s, ctx.decoding)
    return upload_view(row, ctx.settings.prefix)


@router.put("/{upload_id}/head", operation_id="sendHead", responses=refuses(HTTPStatus.CONFLICT), openapi_extra=OCTETS)
async def begin(upload_id: Id, request: Request, ctx: Ctx, key: Writer) -> UploadView:
    """The first `head_bytes` of a file that comes in parts. One that begins as neither film nor picture does is
    refused, before any of its parts is put."""
    row = await run_in_threadpool(uploads.get, ctx.db, key.tenant, upload_id)
    if row.problem is None:
        opened(row)
    data = await request.body()
    return upload_view(await run_in_threadpool(looked_at, ctx, row, data), ctx.settings.prefix)


@router.post("/{upload_id}/parts", operation_id="signParts", responses=refuses(HTTPStatus.CONFLICT))
async def parts(
    upload_id: Id,
    ctx: Ctx,
    key: Writer,
    cursor: Annotated[str | None, Query(pattern=r"^[0-9]{1,5}$", description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=MOST_PARTS_A_PAGE)] = 100,
) -> PartList:
    """What is not there yet, and where to PUT it: plain bytes, into a bucket without a key. What is listed again is to
    be sent again, whatever became of it before."""
    row = seen(opened(await run_in_threadpool(uploads.get, ctx.db, key.tenant, upload_id)))
    return await waited(ctx, key.tenant, is_far(row.place), missing_parts, ctx, row, int(cursor or 0), limit)


@router.put(
    "/{upload_id}/parts/{number}",
    operation_id="sendPart",
    responses=refuses(HTTPStatus.CONFLICT),
    openapi_extra=OCTETS,
)
async def send_part(
    upload_id: Id, number: Annotated[int, InPath(ge=1, le=MOST_PARTS)], request: Request, ctx: Ctx, key: Writer
) -> UploadView:
    """One part, of those that `parts` lists with an address of the service: in any order, several at once, and again
    where its end was not heard of."""
    row = seen(opened(await run_in_threadpool(uploads.get, ctx.db, key.tenant, upload_id)))
    if is_far(row.place):
        raise Conflict("this part goes into a bucket", hint="PUT it at the `url` that `parts` lists")
    part = part_of(row.size_bytes, number)
    if part is None:
        raise NotFound("no such part", hint="see what `parts` lists")
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > part.size:
        raise too_long(part)
    data = counted(request.stream(), ctx.counts)
    with ctx.sending.slot(key.tenant):
        row = await receive_part(ctx.db, row, part, data, ctx.settings.silence_s)
    return upload_view(row, ctx.settings.prefix)


def missing_parts(ctx: Context, row: UploadRow, after: int, limit: int) -> PartList:
    """What is not there yet, of the parts after number `after`."""
    if is_whole(row):
        return PartList(items=[], next=None, received_bytes=row.size_bytes, size_bytes=row.size_bytes)
    store, wanted = store_of(ctx, row), parts_of(row.size_bytes)
    there = store.there(row.place, row.upload_ref, row.size_bytes)
    got = sum(part.size for part in wanted if part.number in there)
    if got > row.received_bytes:
        uploads.received(ctx.db, row.tenant, row.id, got)
    missing = [part for part in wanted[after:] if part.number not in there]
    items = [
        PartView(
            number=part.number,
            first_byte=part.first,
            size_bytes=part.size,
            url=store.address(row.place, row.upload_ref, part),
        )
        for part in missing[:limit]
    ]
    more = str(items[-1].number) if len(missing) > limit else None
    return PartList(items=items, next=more, received_bytes=got, size_bytes=row.size_bytes)


@router.post(
    "/{upload_id}/finish",
    operation_id="finishUpload",
    response_model=UploadView,
    responses={
        **refuses(HTTPStatus.CONFLICT),
        202: {"model": UploadView, "description": "The file is still looked at; ask again."},
    },
)
async def finish(
    upload_id: Id, ctx: Ctx, key: Writer, response: Response, body: EndOfUpload | None = None
) -> UploadView:
    """All parts are put: the file is put together and looked at. 202 says that this goes on; call it again then."""
    row = await run_in_threadpool(uploads.get, ctx.db, key.tenant, upload_id)
    if row.state == "open":
        seen(opened(row))
        if not is_whole(row):
            with suppress(StillSent):
                row = await waited(ctx, key.tenant, is_far(row.place), put_together, ctx, row)
        if row.state != "open" or is_whole(row):
            row = await ctx.looks.at(row, (body.sha256 if body is not None else None) or "", ctx.settings.look_s)
    if row.state == "open":
        response.status_code = HTTPStatus.ACCEPTED
        response.headers["Retry-After"] = "2"
    told(row)
    return upload_view(row, ctx.settings.prefix)


@router.delete(
    "/{upload_id}",
    status_code=HTTPStatus.NO_CONTENT,
    operation_id="deleteUpload",
    responses=refuses(HTTPStatus.CONFLICT),
)
def remove(upload_id: Id, ctx: Ctx, key: Writer) -> None:
    """Take the file away. A job that is not ended keeps it."""
    uploads.remove(ctx.db, key.tenant, upload_id, actor=key.id)


async def waited(
    ctx: Context, tenant: str, far: bool, work: Callable[P, Answer], *arguments: P.args, **named: P.kwargs
) -> Answer:
    """What `work` answers, from a thread; where it asks a bucket (`far`), in turn with all else that does."""
    if far:
        return await ctx.buckets.send(tenant, lambda: work(*arguments, **named))
    return await run_in_threadpool(work, *arguments, **named)


def announced(ctx: Context, key: KeyRow, body: NewUpload, idempotency: str) -> UploadRow:
    """The upload that `body` announces, or announced before with the same key; what takes its parts knows of it."""
    if not ctx.places.far:
        check_room(ctx.places.root, body.size_bytes)
    row = uploads.begin(
        ctx.db,
        key.tenant,
        purpose=body.purpose,
        name=body.name,
        size_bytes=body.size_bytes,
        place=lambda upload_id: str(ctx.places.upload(key.tenant, upload_id)),
        actor=key.id,
        idempotency=idempotency,
    )
    cut = is_far(row.place) or (ctx.settings.in_parts and row.size_bytes > PART_BYTES)
    if cut and row.state == "open" and not row.upload_ref:
        return begin_parts(ctx, row, key.id)
    return row


def begin_parts(ctx: Context, row: UploadRow, actor: str) -> UploadRow:
    """`row` with the id of what takes its parts. The same announcement may be here twice, where the first was
    not answered in time: the id that is kept first is that of both, and neither takes away what the other began."""
    store = store_of(ctx, row)
    try:
        ref = store.begin(row.place)
    except BaseException:
        uploads.give_up(ctx.db, row.tenant, row.id, actor=actor)  # else it counts against the quota for a day
        raise
    try:
        kept = uploads.set_ref(ctx.db, row.tenant, row.id, ref)
    except NotFound:
        store.end(row.place, ref)
        raise Unreachable("the announcement was given up meanwhile", hint="announce the file again") from None
    if kept.upload_ref != ref or kept.state != "open":
        store.end(row.place, ref)
    return kept


def looked_at(ctx: Context, row: UploadRow, head: bytes) -> UploadRow:
    """Keep how the file of `row` begins, by its hash: what its parts are in the end is to begin so. `InputError`,
    and the upload is refused for good, where nothing that begins so can be what it is for."""
    told(row)
    wanted = head_bytes_of(row.size_bytes)
    if len(head) != wanted:
        raise InputError(
            f"{len(head)} bytes came", where=row.name, hint=f"send the first {wanted}, neither more nor less"
        )
    try:
        check_first(row, head)
    except InputError as error:
        uploads.refuse(ctx.db, row.tenant, row.id, problem_of(row, error))
        raise
    return uploads.begins(ctx.db, row.tenant, row.id, hashlib.sha256(head).hexdigest())


def told(row: UploadRow) -> None:
    """`InputError` where the upload was refused, with what it was refused for."""
    if row.problem is not None:
        raise InputError(row.problem.what, where=row.problem.where, hint=row.problem.hint)


def put_together(ctx: Context, row: UploadRow) -> UploadRow:
    """Make one file of the parts. An object whose upload was removed meanwhile goes."""
    try:
        return _put_together(ctx, row)
    except Conflict:
        now = uploads.get(ctx.db, row.tenant, row.id)
        if now.state != "open" or is_whole(now):  # another call did it meanwhile
            return now
        raise


def _put_together(ctx: Context, row: UploadRow) -> UploadRow:
    far = is_far(row.place)
    with store_of(ctx, row).finishing(row.place, row.upload_ref, row.size_bytes):
        if far:
            ctx.counts.bytes_came(row.size_bytes)
        try:
            return uploads.whole(ctx.db, row.tenant, row.id, row.upload_ref)
        except NotFound:
            if far:
                remove_object(path_of(row.place))
            raise


def store_of(ctx: Context, row: UploadRow) -> PartStore:
    """Where the parts of this upload go."""
    return ctx.buckets if is_far(row.place) else ctx.folders


def opened(row: UploadRow) -> UploadRow:
    """`row`, of an upload whose parts may come; `Conflict` for any other."""
    if not in_parts(row):
        raise Conflict("this file is sent as it is", hint="PUT it to the upload's `data`")
    if row.state != "open":
        raise Conflict(f"this upload is {row.state}", hint="begin a new one with POST /v1/uploads")
    if not row.upload_ref:
        raise Conflict("this upload was not begun whole", hint="begin a new one with POST /v1/uploads")
    return row


def seen(row: UploadRow) -> UploadRow:
    """`row`, of an upload that begins as what it is for; `Conflict` where nobody knows how it begins."""
    if not row.head_sha256 and not is_whole(row):
        hint = f"PUT its first {head_bytes_of(row.size_bytes)} bytes to the upload's `head`"
        raise Conflict("nobody has seen how this file begins", hint=hint)
    return row


def is_whole(row: UploadRow) -> bool:
    """Whether the parts of an upload are put together."""
    return row.upload_ref in (uploads.WHOLE, uploads.LOOKED_AT)


def with_file(ctx: Context, row: UploadRow) -> UploadRow:
    """`row` with what is in the file or the bucket: the table may know of less."""
    if row.state != "open":
        return row
    if in_parts(row):
        if is_whole(row) or not row.upload_ref:
            return row
        there = store_of(ctx, row).there(row.place, row.upload_ref, row.size_bytes)
        return replace(row, received_bytes=sum(part.size for part in parts_of(row.size_bytes) if part.number in there))
    file = Path(row.place)
    return replace(row, received_bytes=min(file.stat().st_size if file.exists() else 0, row.size_bytes))


async def counted(stream: AsyncIterator[bytes], counts: Counts) -> AsyncIterator[bytes]:
    async for piece in stream:
        counts.bytes_came(len(piece))
        yield piece
