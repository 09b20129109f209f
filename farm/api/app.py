"""The application: the calls, what surrounds them, and the page."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from farm.api import admin, casts, jobs, probes, quality, results, uploads, webhooks
from farm.api.bare import Bare
from farm.api.buckets import Buckets
from farm.api.context import ApiSettings, Context
from farm.api.counting import Counted, Counts, counts_here
from farm.api.folders import Folders
from farm.api.limits import Limits
from farm.api.looking import Looks
from farm.api.methods import Methods
from farm.api.parting import PART_BYTES
from farm.api.problems import add_handlers
from farm.api.schemas import NewCast
from farm.api.statuses import describe
from farm.api.strangers import Strangers
from farm.api.stream import Hub
from farm.api.turns import Rates, Slots, Turns
from farm.service.database import Database
from farm.service.places import ServicePlaces
from farm.versions import versions

PARTS = (jobs, uploads, results, quality, casts, webhooks, admin, probes)
PAGE = Path(__file__).with_name("page")
SECRET_BYTES = 32
PARSES = 2  # casts at once: a second each where they are as long as they may be
LINKS = "links.secret"
DESCRIPTION = """Films with other faces, made by a farm of machines.

Announce a film and the faces with `POST /v1/uploads`, send them, ask for a job with `POST /v1/jobs`, watch its events,
and fetch the result. Every error is `application/problem+json` and says in `next_step` what to do."""


class Mounted:
    """ASGI middleware: what a proxy put before every path is no part of the service's own, whether it took it off or
    left it."""

    def __init__(self, app: ASGIApp, *, prefix: str) -> None:
        self._app = app
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope["root_path"] = self._prefix
        await self._app(scope, receive, send)


def make_app(db: Database, places: ServicePlaces, settings: ApiSettings, counts: Counts | None = None) -> FastAPI:
    """The app on an open database; whoever opened that closes it after the app. Without `counts` it counts for
    itself."""

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        yield
        try:
            await app.state.context.hub.close()
        finally:
            app.state.context.looks.close()
            app.state.context.threads.shutdown(wait=False)

    app = FastAPI(
        title="Face farm",
        version=versions()["farm"],
        description=DESCRIPTION,
        docs_url=None,  # its page would be loaded from somewhere else
        redoc_url=None,
        lifespan=life,
    )
    counts = counts or counts_here(db)[0]
    hub = Hub(db, settings.poll_s, settings.watchers_a_tenant, counts.watchers, most=settings.watchers)
    sending = Slots(settings.uploads, settings.uploads_a_tenant, "files are being sent")
    buckets = Buckets(settings.bucket_endpoint)
    decoding, previews = (Turns(settings.decodes, settings.decodes_a_tenant) for _ in range(2))
    parsing = Turns(PARSES, 1)
    paces = settings.calls_a_second, settings.calls_at_once
    rates, strangers = Rates(*paces), Strangers(*paces)
    app.state.context = Context(
        db=db,
        places=places,
        settings=settings,
        hub=hub,
        buckets=buckets,
        folders=Folders(settings.prefix),
        looks=Looks(db),
        counts=counts,
        decoding=decoding,
        previews=previews,
        parsing=parsing,
        sending=sending,
        rates=rates,
        strangers=strangers,
    )
    for part in PARTS:
        app.include_router(part.router)
    describe_by_hand(app, settings)
    add_handlers(app)
    app.add_middleware(Bare)
    app.add_middleware(Methods, paths=paths_of(app))
    origins = (buckets.origin(places.root),) if places.far else ()
    most_data = PART_BYTES if settings.in_parts else None
    app.add_middleware(Limits, data_bytes=most_data, silence_s=settings.silence_s, origins=origins)
    app.add_middleware(Counted, counts=counts)
    if settings.prefix:
        app.add_middleware(Mounted, prefix=settings.prefix)
    app.mount("/", StaticFiles(directory=PAGE, html=True), name="page")
    return app


def describe_by_hand(app: FastAPI, settings: ApiSettings) -> None:
    """Give the description the bodies that calls read themselves (a cast comes as JSON or as TOML), what this
    operator takes, and what calls may be refused with."""
    plain = app.openapi
    routes = {
        str(route.operation_id): route for part in PARTS for route in part.router.routes if isinstance(route, APIRoute)
    }

    def described() -> dict[str, Any]:
        made = plain()
        body = NewCast.model_json_schema(ref_template="#/components/schemas/{model}")
        parts = made["components"]["schemas"]
        for name, part in {**body.pop("$defs", {}), "NewCast": body}.items():
            parts.setdefault(name, part)
        parts["NewUpload"]["properties"]["size_bytes"]["maximum"] = settings.most_upload_bytes
        describe(made, routes)
        return made

    app.openapi = described  # type: ignore[method-assign]


def paths_of(app: FastAPI) -> dict[str, set[str]]:
    """Every path that something is at, with its methods: the calls, the description, the page and its files."""
    calls = {path: set(methods) for path, methods in app.openapi()["paths"].items()}
    files = ("", *(file.relative_to(PAGE).as_posix() for file in PAGE.rglob("*") if file.is_file()))
    return {**calls, **{f"/{name}": {"get"} for name in (*files, "openapi.json")}}


def secret_of(places: ServicePlaces) -> bytes:
    """What signs links: made once, kept beside the files that it opens, for all replicas."""
    return bytes.fromhex(places.keep_secret(LINKS, secrets.token_hex(SECRET_BYTES)))
