"""Whether the service lives, whether it can work, and what it counts."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from farm.api.auth import Ctx
from farm.api.schemas import Health
from farm.api.statuses import refuses
from farm.service.errors import NotFound

router = APIRouter(tags=["probes"])


@router.get("/healthz", operation_id="health")
async def health() -> Health:
    """The process answers, however many calls its threads are busy with."""
    return Health(status="ok")


@router.get("/readyz", operation_id="ready")
async def ready(ctx: Ctx) -> Health:
    """The database answers too; else 503."""
    await asyncio.to_thread(ctx.db.ping)  # not one of the threads that calls wait for
    return Health(status="ok")


@router.get(
    "/metrics",
    operation_id="metrics",
    response_class=PlainTextResponse,
    responses={**refuses(HTTPStatus.NOT_FOUND), 200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def metrics(ctx: Ctx) -> PlainTextResponse:
    """Counts over all tenants, without names, for Prometheus; docs/watching.md lists them."""
    if not ctx.settings.metrics:
        raise NotFound("the metrics are elsewhere", hint="ask the operator at which port")
    return PlainTextResponse(generate_latest(ctx.counts.registry).decode(), media_type=CONTENT_TYPE_LATEST)
