"""What the calls count: how many were answered and how fast, by route and never by what is in it."""

from __future__ import annotations

import time
from typing import Any

from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from farm.service.figures import OF_PROCESS, REQUEST_SECONDS, REQUESTS, UPLOAD_BYTES, WATCHERS, OfDatabase
from farm.watching.figures import FIGURES, Instruments
from farm.watching.instruments import PrometheusInstruments

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})
PAGE = "page"  # all files of the page, and addresses at which nothing is


class Counts:
    """The figures of this process. `registry` is what /metrics shows of them; None where they go elsewhere."""

    def __init__(self, to: Instruments, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._to = to

    def bytes_came(self, count: int) -> None:
        self._to.add(UPLOAD_BYTES, count)

    def watchers(self, count: int) -> None:
        self._to.set(WATCHERS, count)

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        self._to.add(REQUESTS, 1, route, method, str(status))
        self._to.observe(REQUEST_SECONDS, seconds, route, method)


def counts_here(db: Any) -> tuple[Counts, PrometheusInstruments]:
    """Figures of calls, jobs and tables in one registry: the service is one process."""
    made = PrometheusInstruments(figures=(*FIGURES, *OF_PROCESS))
    made.registry.register(OfDatabase(db))
    return Counts(made, made.registry), made


class Counted:
    """ASGI middleware, around all others."""

    def __init__(self, app: ASGIApp, *, counts: Counts) -> None:
        self._app = app
        self._counts = counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_s = time.monotonic()
        status = 0

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
                self._note(scope, status, time.monotonic() - began_s)
            await send(message)

        try:
            await self._app(scope, receive, sent)
        finally:
            if not status:  # nobody was there any more, or what went wrong has no answer
                self._note(scope, 499, time.monotonic() - began_s)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "") or PAGE
        method = scope["method"] if scope["method"] in METHODS else "OTHER"
        self._counts.answered(route, method, status, seconds)
