"""Every call of the service as data: method, path, body; and its answer as a model, or the error it tells."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ValidationError

from core.errors import FarmError, InputError, PolicyError, StorageError
from core.records import JobSpec
from farm.api.problems import TYPES
from farm.api.schemas import (
    CastView,
    DeliveryView,
    JobView,
    KeyView,
    Me,
    PartList,
    PartView,
    SegmentView,
    UploadView,
    WebhookView,
)
from farm.client import given
from farm.service.records import JobState

M = TypeVar("M", bound=BaseModel)
UNAUTHORIZED, FORBIDDEN, NOT_FOUND, CONFLICT, TOO_MANY = 401, 403, 404, 409, 429
SERVER = 500
PARTS_AT_ONCE = 32  # asked for
A_PAGE, SEGMENTS_A_PAGE = 200, 2000
Side = Literal["before", "after"]
FINAL = frozenset({JobState.succeeded, JobState.failed, JobState.cancelled, JobState.refused})


@dataclass(frozen=True)
class Call:
    """One request. `safe`: to send it twice does no harm, so it may be tried again."""

    method: str
    path: str
    json: Any = None
    content: bytes | None = None
    query: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    safe: bool = True


@dataclass(frozen=True)
class JobEvent:
    """An event of a job; `number` is None for a snapshot, which is `job`."""

    number: int | None
    kind: str
    data: dict[str, Any]
    job: JobView | None = None


class Items(BaseModel, Generic[M]):
    """A page of a list; `next` asks for what comes after."""

    items: list[M]
    next: str | None = None


class ServiceError(FarmError):
    """The service has a fault, or does not answer."""


def job(job_id: str) -> str:
    return f"/v1/jobs/{given.part_of_path(job_id)}"


def page(path: str, cursor: str | None, limit: int, *more: tuple[str, str]) -> Call:
    """A page of a list: the one that `cursor` asks for, else the first."""
    query = (*more, ("limit", str(limit)), *((("cursor", cursor),) if cursor else ()))
    return Call("GET", path, query=query)


def list_jobs(states: Sequence[str], cursor: str | None, limit: int) -> Call:
    return page("/v1/jobs", cursor, limit, *(("state", str(state)) for state in states))


def list_segments(job_id: str, stage: str | None, cursor: str | None) -> Call:
    return page(f"{job(job_id)}/segments", cursor, SEGMENTS_A_PAGE, *((("stage", stage),) if stage else ()))


def list_deliveries(webhook: str | None, cursor: str | None) -> Call:
    return page("/v1/webhooks/deliveries", cursor, A_PAGE, *((("webhook", webhook),) if webhook else ()))


def preview(job_id: str, at: float, side: Side, width: int) -> Call:
    query = (("at", str(at)), ("side", side), ("width", str(width)))
    return Call("GET", f"{job(job_id)}/preview.jpg", query=query)


def make_webhook(url: str, job_id: str | None, states: Sequence[str]) -> Call:
    """Made again it would be another one, with another secret: it is not sent twice."""
    body = {"url": url, "states": [str(state) for state in states]} | ({"job": job_id} if job_id is not None else {})
    return Call("POST", "/v1/webhooks", json=body, safe=False)


def make_key(name: str, scopes: Sequence[str], expires_in_s: int | None) -> Call:
    """As `make_webhook`: a key that nobody was told of would be good all the same."""
    ends = {"expires_in_s": expires_in_s} if expires_in_s is not None else {}
    body = {"name": name, "scopes": list(scopes)} | ends
    return Call("POST", "/v1/keys", json=body, safe=False)


def submit_job(body: Mapping[str, Any], key: str) -> Call:
    return Call("POST", "/v1/jobs", json=dict(body), headers=given.idempotency(key))


def ask(job_id: str, what: str) -> Call:
    """cancel, pause, resume or retry."""
    return Call("POST", f"{job(job_id)}/{what}")


def announce(purpose: str, path: Path) -> Call:
    """An upload to come. One that is announced again because nothing was heard of the first is that one, by its key."""
    body = {"purpose": purpose, "name": given.plain_name(path), "size_bytes": path.stat().st_size}
    return Call("POST", "/v1/uploads", json=body, headers=given.idempotency(secrets.token_hex(16)))


def list_uploads(cursor: str | None) -> Call:
    return page("/v1/uploads", cursor, A_PAGE)


def list_parts(upload_id: str) -> Call:
    """What is still to be put; addresses of a bucket are long, and good for an hour."""
    return Call("POST", f"/v1/uploads/{upload_id}/parts", query=(("limit", str(PARTS_AT_ONCE)),))


def part_path(upload_id: str, part: PartView) -> str | None:
    """Where the service itself takes this part, with the key; None for one that goes into its bucket."""
    return f"/v1/uploads/{upload_id}/parts/{part.number}" if part.url.startswith("/") else None


def send_head(upload_id: str, data: bytes) -> Call:
    """The first bytes of a file that comes in parts."""
    headers = {"Content-Type": "application/octet-stream"}
    return Call("PUT", f"/v1/uploads/{upload_id}/head", content=data, headers=headers)


def finish_upload(upload_id: str, sha256: str) -> Call:
    return Call("POST", f"/v1/uploads/{upload_id}/finish", json={"sha256": sha256})


# ---------------------------------------------------------------- answers


def read(model: type[M], data: bytes) -> M:
    """The answer as a model; a field that is new to this client is no fault."""
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        raise ServiceError(
            f"the service answers what this client does not know: {'.'.join(map(str, first['loc']))}: {first['msg']}",
            hint="use the client of the service's version",
        ) from None


def refusal(status: int, data: bytes, where: str) -> FarmError:
    """What a call with this status is told as: the problem's own words."""
    import json  # noqa: PLC0415

    try:
        told = json.loads(data)
    except ValueError:
        told = {}
    told = told if isinstance(told, dict) else {}
    what = str(told.get("detail") or told.get("title") or f"the service answers {status}")
    hint = str(told.get("next_step") or "check the address of the service")
    kinds: dict[int, type[FarmError]] = {
        UNAUTHORIZED: PolicyError,
        FORBIDDEN: PolicyError,
        TOO_MANY: PolicyError,
    }
    kind = kinds.get(status, ServiceError if status >= SERVER else InputError)
    slug = str(told.get("type", "")).removeprefix(TYPES)
    if slug == "unreachable":
        kind = StorageError
    return kind(what, where=where if slug == "" else "", hint=hint)


# ---------------------------------------------------------------- a job's body


def job_body(spec: JobSpec, uploaded: Mapping[str, str], **more: Any) -> dict[str, Any]:
    """The body of a job for `spec`, whose files are the uploads `uploaded` (path -> id); s3:// stays as it is."""

    def place(path: str) -> dict[str, str]:
        return {"url": path} if path.startswith("s3://") else {"upload": uploaded[path]}

    swap = spec.swap
    body: dict[str, Any] = {
        "target": place(spec.target),
        "select": spec.select,
        "swapper": spec.swapper,
        "swap": {
            "boost": swap.boost,
            "strength": swap.strength,
            "masks": list(swap.masks),
            "mask_blur": swap.mask_blur,
            "mask_padding": list(swap.mask_padding),
            "occlusion_model": swap.occlusion_model,
            "region_model": swap.region_model,
            "paste": swap.paste,
            "colour": swap.colour,
            "enhancer": swap.enhancer,
            "enhancer_blend": swap.enhancer_blend,
            "enhancer_may_go": swap.enhancer_may_go,
            "enhancer_weight": swap.enhancer_weight,
            "precision": swap.precision,
        },
        "detector": spec.detector,
        "recogniser": spec.recogniser,
        "detect_every": spec.detect_every,
        "min_face": spec.least_face_px,
        "smart": spec.smart,
        "encode": {"codec": spec.encode.codec, "crf": spec.encode.crf, "preset": spec.encode.preset},
        "segment_seconds": str(spec.segment_s),
        "on_damage": spec.on_damage,
        "output": Path(spec.output).name or None,
    }
    if spec.source is not None:
        images = [place(path) for path in (spec.source.path, *spec.source.more)]
        body["source"] = {"images": images, "face": spec.source.face}
    if spec.reference is not None:
        body["reference"] = place(spec.reference)
    return body | more


def files_of(spec: JobSpec) -> list[tuple[str, str]]:
    """(purpose, path) of the files of this machine that `spec` names."""
    sources = (spec.source.path, *spec.source.more) if spec.source is not None else ()
    named = [("target", spec.target), *(("source", path) for path in sources)]
    named += [("reference", spec.reference)] if spec.reference is not None else []
    return list(dict.fromkeys((purpose, path) for purpose, path in named if not path.startswith("s3://")))


__all__ = [
    "FINAL",
    "Call",
    "CastView",
    "DeliveryView",
    "Items",
    "JobEvent",
    "JobView",
    "KeyView",
    "Me",
    "PartList",
    "PartView",
    "SegmentView",
    "ServiceError",
    "Side",
    "UploadView",
    "WebhookView",
]
