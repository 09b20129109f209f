"""A job's body as the order of the service; what can be refused without opening a film is refused here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import PurePosixPath
from typing import Any, cast

from fastapi import Header

from core.errors import InputError, PolicyError
from core.media.containers import BY_SUFFIX
from core.records import EncodeSpec, JobSpec, SourceSpec, SwapOptions
from farm.api.context import ApiSettings
from farm.api.schemas import Encode, NewJob, Place, Source, Swap
from farm.options import check_swapper
from farm.seconds import seconds_of
from farm.service import uploads
from farm.service.database import Database
from farm.service.records import UPLOAD_SCHEME, JobOrder, UploadRow
from farm.stages import LABEL_CONTAINERS

LONGEST_SEGMENT_S = 3600
DEFAULT_ENDING = ".mp4"
MOST_NAME_BYTES = 200
KEY_PATTERN = r"^[\x21-\x7e]{1,200}$"  # of an Idempotency-Key


def idempotent(what: str) -> Any:
    """The header Idempotency-Key of a request that makes a `what`, for `Annotated`; the parameter's name is the
    header's."""
    return Header(pattern=KEY_PATTERN, description=f"The same key and body give the same {what}, for seven days.")


def place_text(place: Place, settings: ApiSettings) -> str:
    """The place in a JobOrder; `PolicyError` for an address that the operator does not allow."""
    if place.upload is not None:
        return f"{UPLOAD_SCHEME}{place.upload}"
    return check_url(cast(str, place.url), settings)


def check_url(url: str, settings: ApiSettings) -> str:
    """`url` where the operator allows it."""
    parts = PurePosixPath(url.removeprefix("s3:/")).parts
    plain = ".." not in parts and "." not in parts and "//" not in url.removeprefix("s3://")
    if not plain or not any(url.startswith(start) for start in settings.allowed_urls):
        raise PolicyError(
            "addresses there may not be read by jobs",
            hint="upload the file to /v1/uploads, or ask the operator to allow the bucket",
        )
    return url


def source_spec(source: Source | None, settings: ApiSettings) -> SourceSpec | None:
    if source is None:
        return None
    first, *more = [place_text(place, settings) for place in source.images]
    return SourceSpec(first, source.face, tuple(more))


def swap_options(swap: Swap) -> SwapOptions:
    top, right, bottom, left = (float(side) for side in swap.mask_padding)
    return SwapOptions(
        boost=swap.boost,
        strength=swap.strength,
        masks=tuple(dict.fromkeys(swap.masks)),
        mask_blur=swap.mask_blur,
        mask_padding=(top, right, bottom, left),
        occlusion_model=swap.occlusion_model,
        region_model=swap.region_model,
        paste=swap.paste,
        colour=swap.colour,
        enhancer=swap.enhancer,
        enhancer_blend=swap.enhancer_blend,
        enhancer_may_go=swap.enhancer_may_go,
        enhancer_weight=swap.enhancer_weight,
        precision=swap.precision,
    )


def encode_spec(encode: Encode) -> EncodeSpec:
    return EncodeSpec(encode.codec, encode.crf, encode.preset)


def segment_seconds(text: str) -> Fraction:
    value = seconds_of(text)
    if value is None or value > LONGEST_SEGMENT_S:
        raise InputError(
            f"segment_seconds: {text!r} is no number of seconds from 0 to {LONGEST_SEGMENT_S}",
            hint='write "10", "1.5" or "1001/30"',
        )
    return value


def result_name(asked: str | None, target: str, *, replaces: bool) -> str:
    """The result's file name: as asked, or the film's with its ending, or .mp4 where that cannot hold the label."""
    if asked is None:
        film = PurePosixPath(target)
        kept = BY_SUFFIX.get(film.suffix.lower(), "") in (LABEL_CONTAINERS if replaces else set(BY_SUFFIX.values()))
        ending = f".swapped{film.suffix.lower() if kept else DEFAULT_ENDING}"
        return plain_stem(film.stem, MOST_NAME_BYTES - len(ending)) + ending
    container = BY_SUFFIX.get(PurePosixPath(asked).suffix.lower())
    if container is None:
        raise InputError(f"output: no container for the name {asked}", hint=f"end it with {', '.join(BY_SUFFIX)}")
    if replaces and container not in LABEL_CONTAINERS:
        raise InputError(f"output: {container} cannot hold the label", hint="end the name with .mp4, .mov or .mkv")
    return asked


def plain_stem(stem: str, most_bytes: int) -> str:
    """`stem` as a file may be called anywhere: what cannot be printed is a space or gone, as much of it as there is
    room for."""
    shown = "".join(letter if letter.isprintable() else " " if letter.isspace() else "" for letter in stem)
    shown = shown.replace("\\", " ").strip(" .").encode("utf-8", "ignore")[:most_bytes].decode("utf-8", "ignore")
    return shown.strip(" .") or "film"


def job_order(body: NewJob, db: Database, tenant: str, settings: ApiSettings) -> JobOrder:
    """The order that `body` asks for; `InputError`, `PolicyError` or `NotFound` in one line, of what it names first."""
    target, source = place_text(body.target, settings), source_spec(body.source, settings)
    if body.target.upload is not None:
        name = upload_of(db, tenant, body.target.upload, "target", "film").name
    else:
        name = PurePosixPath(target).name
    replaces = body.swapper != "none"
    swap = swap_options(body.swap)
    check_swapper(body.swapper, swap, lambda name: name if name == "swapper" else f"swap.{name}")
    if replaces and body.source is None and not body.wait_for_cast:
        raise InputError("no source face given", hint="give a source, or wait_for_cast to cast the people first")
    if not replaces and body.wait_for_cast:
        raise InputError("swapper none replaces nobody: there is no cast to wait for", hint="leave one of them out")
    if (body.select == "reference") != (body.reference is not None):
        raise InputError("select reference and a reference image go together", hint="give both or neither")
    if body.reference is not None and body.reference.upload is not None:
        upload_of(db, tenant, body.reference.upload, "reference", "picture")
    spec = JobSpec(
        target=target,
        output=result_name(body.output, name, replaces=replaces),
        source=source,
        swapper=body.swapper,
        swap=swap,
        detector=body.detector,
        recogniser=body.recogniser,
        detect_every=body.detect_every,
        select=body.select,
        reference=place_text(body.reference, settings) if body.reference is not None else None,
        least_face_px=body.min_face,
        smart=body.smart,
        encode=encode_spec(body.encode),
        segment_s=segment_seconds(body.segment_seconds),
        on_damage=body.on_damage,
    )
    return JobOrder(
        spec=spec,
        title=body.title or name,
        wait_for_cast=body.wait_for_cast,
        quality=body.quality,
        priority=body.priority,
        labels=dict(body.labels),
    )


def upload_of(db: Database, tenant: str, upload_id: str, field: str, kind: str) -> UploadRow:
    """The upload that a field names; `InputError` where it was looked at and is no `kind`."""
    row = uploads.get(db, tenant, upload_id)
    found = row.media.get("kind", kind)
    if found != kind:
        raise InputError(f"{field}: this upload is a {found}, not a {kind}", hint=f"send a {kind}, and name its upload")
    return row


def request_hash(body: NewJob) -> str:
    """What an idempotency key stands for: the body, however it was written."""
    data = json.dumps(body.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(data.encode()).hexdigest()


def check_places(texts: Sequence[str], settings: ApiSettings) -> None:
    """`PolicyError` where a cast names an address that the operator does not allow."""
    for text in texts:
        if not text.startswith(UPLOAD_SCHEME):
            check_url(text, settings)
