"""Addresses that want to hear of jobs."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from farm.api.auth import Ctx, Reader, Writer
from farm.api.schemas import Cursor, DeliveryView, Id, NewWebhook, View, WebhookView
from farm.api.statuses import refuses
from farm.api.views import moment, webhook_view
from farm.service import webhooks

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"])


class WebhookList(View):
    items: list[WebhookView]


class DeliveryList(View):
    items: list[DeliveryView]
    next: str | None = Field(description="Ask with it for what comes after; null at the end.")


@router.post(
    "",
    status_code=HTTPStatus.CREATED,
    operation_id="makeWebhook",
    responses=refuses(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
)
def make(body: NewWebhook, ctx: Ctx, key: Writer) -> WebhookView:
    """Tell `url` of every change of state, of one job or of all; signed with the secret of the answer."""
    row, secret = webhooks.make(
        ctx.db,
        key.tenant,
        body.url,
        job=body.job or "",
        states=tuple(body.states),
        rules=ctx.settings.rules,
        actor=key.id,
    )
    return webhook_view(row, secret)


@router.get("", operation_id="listWebhooks")
def listed(ctx: Ctx, key: Reader) -> WebhookList:
    return WebhookList(items=[webhook_view(row) for row in webhooks.listed(ctx.db, key.tenant)])


@router.delete("/{webhook_id}", status_code=HTTPStatus.NO_CONTENT, operation_id="removeWebhook")
def remove(webhook_id: Id, ctx: Ctx, key: Writer) -> None:
    webhooks.remove(ctx.db, key.tenant, webhook_id, actor=key.id)


@router.get("/deliveries", operation_id="listDeliveries")
def deliveries(
    ctx: Ctx,
    key: Reader,
    webhook: Id | None = None,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> DeliveryList:
    """What was sent, what waits, and what was given up."""
    page = webhooks.deliveries(ctx.db, key.tenant, webhook=webhook, cursor=cursor, limit=limit)
    items = [
        DeliveryView(
            id=row.id,
            webhook=row.webhook,
            job=row.job,
            event=row.seq,
            state=row.state,
            tries=row.tries,
            next=moment(row.next_ms),
            last_status=row.last_status,
            last_error=row.last_error,
        )
        for row in page.items
    ]
    return DeliveryList(items=items, next=page.cursor)
