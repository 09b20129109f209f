"""The application: the calls, what surrounds them, and the page."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from farm.api import admin, casts, jobs, probes, quality, results, uploads, webhooks
from farm.api.context import ApiSettings, Buckets, Context
from farm.api.limits import Limits
from farm.api.problems import MEDIA_TYPE, add_handlers
from farm.api.schemas import NewCast, View
from farm.api.stream import Hub
from farm.service.database import Database
from farm.service.places import ServicePlaces
from farm.versions import versions

PAGE = Path(__file__).with_name("page")
SECRET_BYTES = 32
DESCRIPTION = """Films with other faces, made by a farm of machines.

Announce a film and the faces with `POST /v1/uploads`, send them, ask for a job with `POST /v1/jobs`, watch its events,
and fetch the result. Every error is `application/problem+json` and says in `next_step` what to do."""


class ProblemBody(View):
    """What every refused call answers (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    next_step: str
    faults: list[dict[str, str]] | None = None


def make_app(db: Database, places: ServicePlaces, settings: ApiSettings, buckets: Buckets | None = None) -> FastAPI:
    """The app on an open database; whoever opened that closes it after the app."""

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        yield
        await app.state.context.hub.close()

    app = FastAPI(
        title="Face farm",
        version=versions()["farm"],
        description=DESCRIPTION,
        docs_url=None,  # its page would be loaded from somewhere else
        redoc_url=None,
        root_path=settings.prefix,
        lifespan=life,
        responses={
            status: {"model": ProblemBody, "content": {MEDIA_TYPE: {}}, "description": text}
            for status, text in (
                (401, "no valid key"),
                (403, "the key may not"),
                (404, "not there, or another tenant's"),
                (409, "not as things are now"),
                (422, "the request is not valid"),
            )
        },
    )
    hub = Hub(db, settings.poll_s, settings.watchers_a_tenant)
    app.state.context = Context(db, places, settings, hub, buckets)
    add_handlers(app)
    for part in (jobs, uploads, results, quality, casts, webhooks, admin, probes):
        app.include_router(part.router)
    app.add_middleware(Limits, silence_s=settings.silence_s)
    describe_by_hand(app)
    app.mount("/", StaticFiles(directory=PAGE, html=True), name="page")
    return app


def describe_by_hand(app: FastAPI) -> None:
    """Give the description the bodies that calls read themselves: a cast comes as JSON or as TOML."""
    plain = app.openapi

    def described() -> dict[str, Any]:
        made = plain()
        body = NewCast.model_json_schema(ref_template="#/components/schemas/{model}")
        parts = made["components"]["schemas"]
        for name, part in {**body.pop("$defs", {}), "NewCast": body}.items():
            parts.setdefault(name, part)
        return made

    app.openapi = described  # type: ignore[method-assign]


def secret_of(root: Path) -> bytes:
    """What signs links: made once, kept beside the files that it opens, for all replicas."""
    file = root / "links.key"
    root.mkdir(parents=True, exist_ok=True)
    fresh = root / f".links.{os.getpid()}.{secrets.token_hex(4)}"
    if not file.exists():
        fresh.touch(0o600)
        fresh.write_bytes(secrets.token_bytes(SECRET_BYTES))
        try:
            os.link(fresh, file)  # the first one wins
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    return file.read_bytes()
