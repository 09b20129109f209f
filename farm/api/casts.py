"""Who is in a film, and who becomes whom: the cast sheet's people, and the cast that a person makes of them."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi import Path as InPath
from fastapi.responses import Response

from core.errors import InputError, PlanError
from farm.api.auth import Ctx, Reader, Writer
from farm.api.buckets import soon
from farm.api.context import Context
from farm.api.orders import check_places, place_text
from farm.api.problems import Refused
from farm.api.results import MAY_CHANGE
from farm.api.schemas import CastView, Id, JobView, NewCast, PersonView
from farm.api.statuses import refuses
from farm.api.turns import to_its_end
from farm.api.views import job_view
from farm.castedit import PersonEdit, recast
from farm.castform import MOST_BYTES, cast_people
from farm.service import jobs
from farm.service.errors import Conflict, NotFound
from farm.service.records import KeyRow
from farm.service.resolving import cast_places

router = APIRouter(prefix="/v1/jobs/{job_id}/cast", tags=["cast"])
CAST = "cast.toml"
PEOPLE = "people"  # farm.sheet.job.PICTURES, which loads OpenCV
PICTURE_TYPES = {".jpg": "image/jpeg", ".png": "image/png"}
TOML, JSON = "application/toml", "application/json"
PARSE_WAIT_S = 30.0
Picture = Annotated[str, InPath(pattern=r"^[A-Za-z0-9_.-]{1,100}$")]


def sheet_text(ctx: Context, tenant: str, job_id: str) -> str:
    """The cast.toml of the job: the one that was put, else the one of its analysis."""
    row = jobs.get(ctx.db, tenant, job_id)
    put = jobs.cast_of(ctx.db, tenant, job_id)
    if put is not None:
        return put
    try:
        return (soon(ctx.places.cast_folder(row.id)) / CAST).read_bytes().decode()
    except FileNotFoundError:
        if row.asked is not None and row.asked.wait_for_cast and not row.ended:
            what, hint = f"the job is {row.state}: nobody was looked for yet", "wait until the state is casting"
        else:
            what, hint = "this job has no cast", "submit one with wait_for_cast: true"
        raise Conflict(what, hint=hint) from None


def person_view(entry: dict[str, Any], here: str) -> PersonView:
    """What `entry`, which farm.castform checked, says of a person."""
    source = entry.get("source", "")
    sources = [source] if isinstance(source, str) else source
    sources = [one for one in sources if one]
    return PersonView(
        id=str(entry["id"]),
        name=str(entry.get("name", "")),
        thumbnail=f"{here}/{Path(str(entry['thumbnail'])).name}" if entry.get("thumbnail") else None,
        screen_time_s=float(entry.get("screen_time_s", 0)),
        frames=int(entry.get("frames", 0)),
        first=str(entry.get("first", "")),
        last=str(entry.get("last", "")),
        source=", ".join(sources),
        sources=sources,
        source_face=entry.get("source_face"),
        same_as=str(entry.get("same_as", "")),
    )


@router.get("", operation_id="getCast", responses=refuses(HTTPStatus.CONFLICT))
async def get(job_id: Id, ctx: Ctx, key: Reader) -> CastView:
    """The people of the film with their pictures, and the whole cast.toml."""
    text = await ctx.buckets.read(key.tenant, lambda: sheet_text(ctx, key.tenant, job_id))
    async with ctx.parsing.turn(key.tenant, PARSE_WAIT_S):
        return await to_its_end(cast_view, ctx, job_id, text)


def cast_view(ctx: Context, job_id: str, text: str) -> CastView:
    here = f"{ctx.settings.prefix}/v1/jobs/{job_id}/cast"
    return CastView(people=[person_view(entry, here) for entry in cast_people(text)], toml=text)


@router.put(
    "",
    operation_id="putCast",
    responses=refuses(HTTPStatus.CONFLICT),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"$ref": "#/components/schemas/NewCast"}},
                TOML: {"schema": {"type": "string", "maxLength": MOST_BYTES}},
            },
        }
    },
)
async def put(job_id: Id, request: Request, ctx: Ctx, key: Writer) -> JobView:
    """Who becomes whom. As application/toml the whole cast.toml, as application/json all people who get a face."""
    data = await request.body()
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    sheet = await ctx.buckets.read(key.tenant, lambda: sheet_text(ctx, key.tenant, job_id)) if kind == JSON else ""
    async with ctx.parsing.turn(key.tenant, PARSE_WAIT_S):
        return await to_its_end(kept, ctx, key, job_id, kind, data, sheet)


def kept(ctx: Context, key: KeyRow, job_id: str, kind: str, data: bytes, sheet: str) -> JobView:
    """Keep the cast that was sent: `data` as TOML, or as JSON what it changes of `sheet`. Parsing it takes time, so
    nothing else is done in this thread, and a job that is not there is told before."""
    jobs.get(ctx.db, key.tenant, job_id)
    if kind == TOML:
        try:
            text = data.decode()
        except UnicodeDecodeError:
            raise InputError("the cast is not UTF-8", hint="save it as UTF-8") from None
    elif kind == JSON:
        text = edited(ctx, sheet, parsed(data))
    else:
        raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"{kind or 'no type'} is no cast", hint=f"send {TOML} or JSON")
    cast_people(text)
    check_places(cast_places(text), ctx.settings)
    return job_view(jobs.put_cast(ctx.db, key.tenant, job_id, text, actor=key.id), ctx.settings.prefix)


def parsed(data: bytes) -> NewCast:
    from fastapi.exceptions import RequestValidationError  # noqa: PLC0415
    from pydantic import ValidationError  # noqa: PLC0415

    try:
        return NewCast.model_validate_json(data)
    except ValidationError as error:
        faults = [{**fault, "loc": ("body", *fault["loc"])} for fault in error.errors()]
        raise RequestValidationError(faults) from None


def edited(ctx: Context, sheet: str, body: NewCast) -> str:
    """The job's cast `sheet` with the faces of `body` and no others. `Conflict` where its text cannot be changed so."""
    edits = {}
    for person, entry in body.people.items():
        places = [place_text(place, ctx.settings) for place in entry.source.images] if entry.source else []
        face = entry.source.face if entry.source else None
        edits[person] = PersonEdit(tuple(places), face, entry.name, entry.swapper, entry.same_as)
    try:
        return recast(sheet, edits)
    except PlanError as error:
        raise Conflict(error.what, hint=error.hint) from None


@router.get(
    "/{picture}",
    operation_id="getCastPicture",
    response_class=Response,
    responses={200: {"content": {"image/*": {"schema": {"type": "string", "format": "binary"}}}}},
)
async def picture(job_id: Id, picture: Picture, ctx: Ctx, key: Reader) -> Response:
    """A person's picture."""
    return await ctx.buckets.read(key.tenant, lambda: picture_of(ctx, key.tenant, job_id, picture))


def picture_of(ctx: Context, tenant: str, job_id: str, picture: str) -> Response:
    row = jobs.get(ctx.db, tenant, job_id)
    folder, kind = soon(ctx.places.cast_folder(row.id)), PICTURE_TYPES.get(PurePosixPath(picture).suffix)
    for file in (folder / PEOPLE / picture, folder / picture) if kind is not None else ():
        try:
            data = file.read_bytes()
        except (FileNotFoundError, IsADirectoryError):
            continue
        return Response(data, media_type=kind, headers=MAY_CHANGE)
    raise NotFound("no such picture", where=picture)
