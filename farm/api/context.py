"""What every call works with: the database, the places of files, and what the operator allows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, cast

from fastapi import Request

from farm.service.database import Database
from farm.service.places import ServicePlaces

if TYPE_CHECKING:
    from farm.api.stream import Hub

GIB = 1 << 30


class Buckets(Protocol):
    """Presigned uploads and results, where the service keeps files in a bucket; see farm.api.buckets."""

    def begin(self, place: str, size_bytes: int) -> tuple[str, list[str], int]:
        """Begin a multipart upload to `place`: its id there, where to PUT each part, and bytes a part."""

    def finish(self, place: str, upload_ref: str) -> None:
        """Put the parts together; `InputError` where some are missing."""

    def abandon(self, place: str, upload_ref: str) -> None: ...

    def link(self, place: str, name: str, seconds: int) -> str:
        """An address from which `place` can be read as `name` for so long."""


@dataclass(frozen=True)
class ApiSettings:
    """What the operator says of the HTTP side.

    `prefix`: where a proxy mounts the service ("/farm"), "" at the root. `allowed_urls`: beginnings of s3:// addresses
    that jobs may read, none by default. `link_s`: how long a result's address is good. `open_jobs`: whether SSE
    connections are limited to so many a tenant. `metrics_public`: /metrics without a key.
    """

    prefix: str = ""
    allowed_urls: tuple[str, ...] = ()
    most_upload_bytes: int = 512 * GIB
    link_s: int = 900
    keep_alive_s: float = 15.0
    poll_s: float = 0.5
    watchers_a_tenant: int = 200
    silence_s: float = 30.0
    metrics_public: bool = True
    secret: bytes = field(default=b"", repr=False)


@dataclass
class Context:
    db: Database
    places: ServicePlaces
    settings: ApiSettings
    hub: Hub
    buckets: Buckets | None = None


def context_of(request: Request) -> Context:
    return cast("Context", request.app.state.context)
