"""Whether the service lives, whether it can work, and what it counts."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse
from prometheus_client import CollectorRegistry, Gauge, generate_latest

from farm.api.auth import Ctx
from farm.api.schemas import Health
from farm.service import jobs

router = APIRouter(tags=["probes"])


@router.get("/healthz", operation_id="health")
def health() -> Health:
    """The process answers."""
    return Health(status="ok")


@router.get("/readyz", operation_id="ready")
def ready(ctx: Ctx) -> Health:
    """The database answers too; else 503."""
    ctx.db.ping()
    return Health(status="ok")


@router.get("/metrics", operation_id="metrics", response_class=PlainTextResponse)
def metrics(ctx: Ctx) -> PlainTextResponse:
    """Counts over all tenants, without names, for Prometheus."""
    registry = CollectorRegistry()
    by_state = Gauge("farm_service_jobs", "Jobs by state", ["state"], registry=registry)
    for state, count in jobs.jobs_by_state(ctx.db).items():
        by_state.labels(state=state.value).set(count)
    Gauge("farm_service_watchers", "Open event streams", registry=registry).set(ctx.hub.watchers)
    return PlainTextResponse(generate_latest(registry).decode(), media_type="text/plain; version=0.0.4; charset=utf-8")
