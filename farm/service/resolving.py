"""From what a tenant ordered to what the driver is told: uploads become paths, addresses stay."""

from __future__ import annotations

import itertools
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import sqlalchemy as sql

from core.errors import InputError
from core.records import JobSpec
from farm.castform import cast_data
from farm.service import tables
from farm.service.database import Database
from farm.service.errors import NotFound
from farm.service.places import ServicePlaces
from farm.service.records import UPLOAD_SCHEME, JobOrder

UPLOAD = re.compile(rf'(["\']){UPLOAD_SCHEME}(upl_[0-9a-z]{{26}})\1')
FAR = "s3://"


def cast_places(toml: str) -> tuple[str, ...]:
    """The pictures that a cast.toml names, once each. `InputError` where it is no TOML, or names a file: a cast of the
    service names uploads, as "upload:upl_...", and addresses."""
    found = tuple(dict.fromkeys(_sources(cast_data(toml))))
    for text in found:
        if not text.startswith((UPLOAD_SCHEME, FAR)):
            raise InputError(
                "a source of the cast is neither an upload nor an address",
                where=text[:80],
                hint=f"upload the picture, and write {UPLOAD_SCHEME}ID",
            )
    return found


def cast_uploads(toml: str) -> tuple[str, ...]:
    """The ids of the uploads that a cast.toml names."""
    return tuple(text.removeprefix(UPLOAD_SCHEME) for text in cast_places(toml) if text.startswith(UPLOAD_SCHEME))


def _sources(value: Any, inside: bool = False) -> Iterator[str]:
    """Every text under a key `source`, at any depth: the one key of a cast that names files to read."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _sources(inner, inside or key == "source")
    elif isinstance(value, list):
        for inner in value:
            yield from _sources(inner, inside)
    elif inside and value and isinstance(value, str):
        yield value


def resolve_cast(toml: str, files: Mapping[str, str]) -> str:
    """The cast.toml with paths in place of uploads where it names its sources; `files` are those of the job, by id.

    An upload's address that stands elsewhere, as a person's name or in a comment, stays as it is: a path would tell
    where the server's files lie. To know which is which, each is exchanged for a word of its own, and the words that
    the document has under `source` are those of sources.
    """
    cast_places(toml)
    prefix = secrets.token_hex(8)
    count = itertools.count()
    marked = UPLOAD.sub(lambda _: f'"{prefix}.{next(count)}"', toml)
    sources = {text for text in _sources(cast_data(marked)) if text.startswith(prefix)}
    again = itertools.count()

    def path_of(found: re.Match[str]) -> str:
        if f"{prefix}.{next(again)}" not in sources:
            return found.group()
        path = files.get(found.group(2))
        if path is None:
            raise NotFound("no such upload", where=found.group(2), hint="upload the picture again, and put the cast")
        return '"' + path.replace("\\", "\\\\").replace('"', '\\"') + '"'

    return UPLOAD.sub(path_of, toml)


def resolve(db: Database, places: ServicePlaces, job_id: str, order: JobOrder) -> JobSpec:
    """The JobSpec to render, without a cast. `NotFound` where a file is gone."""
    files = uploads_of_job(db, job_id)

    def path_of(text: str) -> str:
        if not text.startswith(UPLOAD_SCHEME):
            return text
        path = files.get(text.removeprefix(UPLOAD_SCHEME))
        if path is None:
            raise NotFound("a file of this job was removed", where=text, hint="upload it again, submit a new job")
        return path

    spec = order.spec
    source = spec.source
    if source is not None:
        source = replace(source, path=path_of(source.path), more=tuple(map(path_of, source.more)))
    return replace(
        spec,
        target=path_of(spec.target),
        output=str(places.result(job_id, spec.output)),
        source=source,
        reference=path_of(spec.reference) if spec.reference is not None else None,
    )


def uploads_of_job(db: Database, job_id: str) -> dict[str, str]:
    """Upload id -> where its file lies, of those that the job needs and that are ready."""
    upload, bound = tables.uploads.c, tables.job_uploads.c
    asked = sql.select(upload.id, upload.place).join(tables.job_uploads, bound.upload == upload.id)
    with db.look() as connection:
        needed = [bound.job == job_id, bound.unused_ms.is_(None), upload.state == "ready"]
        rows = connection.execute(asked.where(*needed)).all()
    return {row.id: row.place for row in rows}
