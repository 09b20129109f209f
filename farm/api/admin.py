"""Keys and quotas of the tenant whose key asks."""

from __future__ import annotations

import time
from http import HTTPStatus

from fastapi import APIRouter

from farm.api.auth import Admin, Anyone, Ctx
from farm.api.schemas import Id, KeyView, Me, NewKey, View
from farm.api.views import key_view, use_view
from farm.service import keys

router = APIRouter(prefix="/v1", tags=["keys"])


class KeyList(View):
    items: list[KeyView]


@router.get("/me", operation_id="whoAmI")
def me(ctx: Ctx, key: Anyone) -> Me:
    """Whose key this is, what it may, and what is used of the quota."""
    tenant = keys.tenant(ctx.db, key.tenant)
    use = use_view(keys.use_of(ctx.db, key.tenant), tenant.quota)
    return Me(tenant=tenant.name, key=key.id, scopes=list(key.scopes), use=use)


@router.post("/keys", status_code=HTTPStatus.CREATED, operation_id="makeKey")
def make(body: NewKey, ctx: Ctx, key: Admin) -> KeyView:
    """A key of the same tenant. It is shown once."""
    expires_ms = None if body.expires_in_s is None else int((time.time() + body.expires_in_s) * 1000)
    made = keys.make_key(ctx.db, key.tenant, body.name, tuple(body.scopes), expires_ms=expires_ms, actor=key.id)
    return key_view(made.row, made.secret)


@router.get("/keys", operation_id="listKeys")
def listed(ctx: Ctx, key: Admin) -> KeyList:
    return KeyList(items=[key_view(row) for row in keys.listed(ctx.db, key.tenant)])


@router.delete("/keys/{key_id}", operation_id="revokeKey")
def revoke(key_id: Id, ctx: Ctx, key: Admin) -> KeyView:
    """The key is worth nothing from now on."""
    return key_view(keys.revoke(ctx.db, key.tenant, key_id, actor=key.id))
