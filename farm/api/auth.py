"""Who asks, and what may he: `Authorization: Bearer <key>`, a scope for every call.

A missing, unknown, expired or revoked key is one and the same 401; what belongs to another tenant is 404.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPBearer
from fastapi.security.http import HTTPAuthorizationCredentials

from farm.api.context import Context, context, context_of
from farm.service import keys
from farm.service.errors import NotAllowed
from farm.service.records import KeyRow, Scope

MOST_KEY = 200  # what is longer is no key, and is not hashed whole
bearer = HTTPBearer(auto_error=False, description="An API key of the service, made by `farm serve` or POST /v1/keys.")


async def key_of(request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]) -> KeyRow:
    """The key of a call; `NoKey` where there is none that is valid, `TooFast` where it calls too often, or keys that
    are not valid come from its address too often."""
    ctx = context_of(request)
    secret = given.credentials[:MOST_KEY] if given is not None else ""
    address = request.client.host if request.client is not None else ""
    key = await ctx.ask(ctx.strangers.key, ctx.db, secret, address)
    ctx.rates.call(key.id)
    request.state.secret = secret
    return key


def again(request: Request) -> Callable[[], KeyRow]:
    """Looks at the key of a call once more, as it is then; `NoKey` where it is worth nothing any more."""
    db, secret = context_of(request).db, str(request.state.secret)
    return lambda: keys.check_key(db, secret)


def needs(scope: Scope) -> Callable[[KeyRow], Awaitable[KeyRow]]:
    """A dependency: the key of a call that may `scope`. It waits for nothing, and so takes no thread."""

    async def checked(key: Annotated[KeyRow, Depends(key_of)]) -> KeyRow:
        if not key.may(scope):
            raise NotAllowed(f"this key may not {scope}", hint="use a key with that scope")
        return key

    return checked


Reader = Annotated[KeyRow, Depends(needs("jobs:read"))]
Writer = Annotated[KeyRow, Depends(needs("jobs:write"))]
Admin = Annotated[KeyRow, Depends(needs("admin"))]
Anyone = Annotated[KeyRow, Depends(key_of)]
Ctx = Annotated[Context, Depends(context)]
