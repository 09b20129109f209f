"""What every call works with: the database, the places of files, and what the operator allows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, ParamSpec, TypeVar, cast

from fastapi import Request

from farm.service.database import Database
from farm.service.errors import Unreachable
from farm.service.guard import STRICT, Rules
from farm.service.places import ServicePlaces

if TYPE_CHECKING:
    from farm.api.buckets import Buckets
    from farm.api.counting import Counts
    from farm.api.folders import Folders
    from farm.api.looking import Looks
    from farm.api.strangers import Strangers
    from farm.api.stream import Hub
    from farm.api.turns import Rates, Slots, Turns

GIB = 1 << 30
THREADS = 16  # each waits for one of the connections to the database, of which there are about as many

P = ParamSpec("P")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class ApiSettings:
    """What the operator says of the HTTP side.

    `prefix`: where a proxy mounts the service ("/farm"), "" at the root. `allowed_urls`: beginnings of s3:// addresses
    that jobs may read, none by default. `link_s`: how long a result's address is good. `keep_alive_s`: how often a
    stream of events says that it lives, and its key is looked at again; `stream_s`: when it ends, and who watches
    comes back. `watchers`: how many streams this process has at once, and `uploads`: how many files come in through
    it. `look_s`: how long a call waits while an upload is looked at. `decodes`: how many uploads are opened at once,
    and how many previews are made. `calls_a_second`, and `calls_at_once` after a pause: what a key may ask, and how
    often keys that are not valid may come from one address. `metrics`: whether /metrics is here. `rules`: which
    addresses webhooks may have. `bucket_endpoint`: the S3 server as clients reach it, "" as the service does.
    `in_parts`: large files come in parts into a folder too, and no call has a larger body than a part, because a proxy
    stands before the service that keeps what it has read of a body in memory.
    """

    prefix: str = ""
    allowed_urls: tuple[str, ...] = ()
    most_upload_bytes: int = 512 * GIB
    link_s: int = 900
    keep_alive_s: float = 15.0
    stream_s: float = 3600.0
    poll_s: float = 0.5
    watchers_a_tenant: int = 200
    watchers: int = 1000
    uploads_a_tenant: int = 16
    uploads: int = 400
    silence_s: float = 30.0
    look_s: float = 20.0
    decodes: int = 4
    decodes_a_tenant: int = 2
    calls_a_second: float = 100.0
    calls_at_once: float = 400.0
    metrics: bool = True
    rules: Rules = STRICT
    bucket_endpoint: str = ""
    in_parts: bool = False
    secret: bytes = field(default=b"", repr=False)


@dataclass
class Context:
    db: Database
    places: ServicePlaces
    settings: ApiSettings
    hub: Hub
    buckets: Buckets
    folders: Folders
    looks: Looks
    counts: Counts
    decoding: Turns
    previews: Turns
    parsing: Turns
    sending: Slots
    rates: Rates
    strangers: Strangers
    threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(THREADS, "calls"))

    async def ask(self, work: Callable[P, Answer], *arguments: P.args, **named: P.kwargs) -> Answer:
        """`work`, which waits for the database, on a thread. For what every call does: anyio's threads go from hand to
        hand by way of all tasks of the loop, and end with the call where that has no first task, as Ray's has not."""
        made = partial(work, *arguments, **named)
        try:
            answer = asyncio.get_running_loop().run_in_executor(self.threads, made)
        except RuntimeError:  # they were shut down
            raise Unreachable("the service is about to end", hint="try again in a few seconds") from None
        return await answer


def context_of(request: Request) -> Context:
    return cast("Context", request.app.state.context)


async def context(request: Request) -> Context:
    """The same for FastAPI, which would call what does not await on a thread."""
    return context_of(request)
