"""Who asks, and what may he: `Authorization: Bearer <key>`, a scope for every call.

A missing, unknown, expired or revoked key is one and the same 401; what belongs to another tenant is 404.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated, TypeVar

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from farm.api.context import Context, context, context_of
from farm.service import keys
from farm.service.errors import NotAllowed
from farm.service.records import KeyRow, Scope

MOST_KEY = 200  # what is longer is no key, and is not hashed whole
Answer = TypeVar("Answer")
DESCRIPTION = "An API key of the service, made by `farm serve` or POST /v1/keys."


@dataclass(frozen=True)
class Caller:
    """Who came with `secret` from `address`. Whose key that is, nobody has asked yet."""

    ctx: Context = field(repr=False)
    secret: str = field(repr=False)
    address: str

    def key(self) -> KeyRow:
        """The key; `NoKey` where there is none that is valid, `TooFast` where it calls too often, or keys that are not
        valid come from its address too often. Waits for the database."""
        key = self.ctx.strangers.key(self.ctx.db, self.secret, self.address)
        self.ctx.rates.call(key.id)
        return key

    def again(self) -> KeyRow:
        """The key once more, as it is then; `NoKey` where it is worth nothing any more."""
        return keys.check_key(self.ctx.db, self.secret)


class Bearer(HTTPBearer):
    """A dependency: who calls, before anything is asked."""

    def __init__(self) -> None:
        super().__init__(scheme_name=HTTPBearer.__name__, auto_error=False, description=DESCRIPTION)

    async def __call__(self, request: Request) -> Caller:  # type: ignore[override]
        given = await super().__call__(request)
        secret = given.credentials[:MOST_KEY] if given is not None else ""
        found = Caller(context_of(request), secret, request.client.host if request.client is not None else "")
        request.state.caller = found
        return found


caller_of = Bearer()


async def key_of(caller: Annotated[Caller, Depends(caller_of)]) -> KeyRow:
    """The key of a call, as `Caller.key` finds it."""
    return await caller.ctx.ask(caller.key)


def needs(scope: Scope) -> Callable[[KeyRow], Awaitable[KeyRow]]:
    """A dependency: the key of a call that may `scope`."""

    async def checked(key: Annotated[KeyRow, Depends(key_of)]) -> KeyRow:
        return allowed(key, scope)

    return checked


@dataclass(frozen=True)
class Reads:
    """What reads the database with the key of a call, on the one way to a thread that looks the key up: each way more
    is a wait for other threads, which calls that come all the time can do without."""

    caller: Caller
    scope: Scope

    @property
    def ctx(self) -> Context:
        return self.caller.ctx

    async def __call__(self, work: Callable[[KeyRow], Answer]) -> Answer:
        """`work` with the key, once it is known that it may. Once a call: each counts."""
        return await self.ctx.ask(lambda: work(allowed(self.caller.key(), self.scope)))


def reads(scope: Scope) -> Callable[[Request, Caller], Awaitable[Reads]]:
    """A dependency: `Reads` for keys that may `scope`. A call with faults is told of its key first, as it is where
    that is looked up before anything else (`key_first`)."""

    async def made(request: Request, caller: Annotated[Caller, Depends(caller_of)]) -> Reads:
        found = Reads(caller, scope)
        request.state.first = lambda: found(lambda _: None)
        return found

    return made


async def key_first(request: Request, *, of_body: bool) -> None:
    """Before a call is told of its faults, `of_body` or of something else: what is told of its key comes before that,
    and a call counts whatever is wrong with it. Nobody asked for the key where it is looked up together with what it
    reads, or where a body is no JSON: that is found before all else, and no call that is open to all has a body."""
    if hasattr(request.state, "first"):
        await request.state.first()
    elif of_body and not hasattr(request.state, "caller"):
        await key_of(await caller_of(request))


def allowed(key: KeyRow, scope: Scope) -> KeyRow:
    """The key, where it may `scope`; else `NotAllowed`."""
    if not key.may(scope):
        raise NotAllowed(f"this key may not {scope}", hint="use a key with that scope")
    return key


Reader = Annotated[KeyRow, Depends(needs("jobs:read"))]
JobReads = Annotated[Reads, Depends(reads("jobs:read"))]
Writer = Annotated[KeyRow, Depends(needs("jobs:write"))]
Admin = Annotated[KeyRow, Depends(needs("admin"))]
Anyone = Annotated[KeyRow, Depends(key_of)]
Ctx = Annotated[Context, Depends(context)]
