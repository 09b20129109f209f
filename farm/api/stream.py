"""Events of jobs as they happen: server-sent events with replay, from one look at the table for all who watch.

A watcher who comes back with the number of the last event that he saw (Last-Event-ID) gets all after it: numbers are
without gaps (farm.service.events). Between events the job's row is sent whenever it changed, without a number: it is
what it is now, nothing to be replayed.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any, TypeVar

from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from core.errors import FarmError
from farm.api.context import THREADS, Context
from farm.api.views import job_view, moment
from farm.service import events, jobs
from farm.service.database import Database
from farm.service.errors import NotFound, TooFast, Unreachable
from farm.service.records import EventRow, JobRow

RETRY_MS = 2000
MOST_WATCHERS = 1000
MOST_READING = THREADS // 4  # watchers at once; the other threads are left to all other calls
Head = tuple[int, int]
Answer = TypeVar("Answer")
GONE: Head = (-1, -1)  # of a job that was erased


class Stream(StreamingResponse):
    """The events of a watcher who has entered; he leaves when it ends, however it does, begun or not."""

    def __init__(self, hub: Hub, watcher: Watcher, made: AsyncIterator[str]) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(made, media_type="text/event-stream", headers=headers)
        self._hub, self._watcher = hub, watcher

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._hub.leave(self._watcher)


class Hub:
    """Wakes those who watch a job when its row or its events changed; asks the table once for all of them."""

    def __init__(
        self,
        db: Database,
        poll_s: float,
        most_a_tenant: int,
        counted: Callable[[int], None] = lambda _: None,
        *,
        most: int = MOST_WATCHERS,
    ) -> None:
        """`counted` hears how many watch, whenever that changes; `most` may, of all tenants together."""
        self._counted = counted
        self._db = db
        self._poll_s = poll_s
        self._most, self._most_a_tenant = most, most_a_tenant
        self._watchers: dict[str, set[Watcher]] = {}
        self._tenants: Counter[str] = Counter()
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        self._reading = asyncio.Semaphore(MOST_READING)

    @property
    def watchers(self) -> int:
        return sum(self._tenants.values())

    def enter(self, watcher: Watcher) -> None:
        """`TooFast` where the tenant watches as much as it may, `Unreachable` where the service is about to end."""
        if self._closed:
            raise Unreachable("the service is about to end", hint="try again in a few seconds")
        if self._tenants.get(watcher.tenant, 0) >= self._most_a_tenant:
            raise TooFast(f"{self._most_a_tenant} connections watch already", hint="end some of them, or poll instead")
        if self.watchers >= self._most:
            raise TooFast("as many connections watch as the service can serve", hint="poll instead")
        self._tenants[watcher.tenant] += 1
        self._watchers.setdefault(watcher.job, set()).add(watcher)
        self._counted(self.watchers)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._look())

    def leave(self, watcher: Watcher) -> None:
        self._tenants[watcher.tenant] -= 1
        if not self._tenants[watcher.tenant]:
            del self._tenants[watcher.tenant]
        there = self._watchers.get(watcher.job, set())
        there.discard(watcher)
        if not there:
            self._watchers.pop(watcher.job, None)
        self._counted(self.watchers)

    async def close(self) -> None:
        """End all streams, so that the server can stop; nobody comes in any more."""
        self._closed = True
        for watcher in [watcher for there in self._watchers.values() for watcher in there]:
            watcher.over = True
            watcher.news.set()
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def read(self, ctx: Context, work: Callable[[], Answer]) -> Answer:
        """`work` on one of the threads of which streams may have some. One whose watcher left has it until it is done;
        `Unreachable` where the service is about to end."""
        await self._reading.acquire()
        if self._closed:
            self._reading.release()
            raise Unreachable("the service is about to end", hint="try again in a few seconds")
        running = asyncio.ensure_future(ctx.ask(work))
        running.add_done_callback(self._has_read)
        return await asyncio.shield(running)

    def _has_read(self, running: asyncio.Future[Any]) -> None:
        self._reading.release()
        if not running.cancelled():
            running.exception()  # perhaps nobody is there to be told

    async def _look(self) -> None:
        """As long as somebody watches."""
        while self._watchers:
            asked = frozenset(self._watchers)
            try:
                heads = await run_in_threadpool(events.heads, self._db, asked)
            except FarmError as error:  # the database is away for a while: it is asked again
                logging.getLogger("farm.api").warning("events: %s", error)
            else:
                for job, there in self._watchers.items():
                    if job in asked:
                        for watcher in there:
                            watcher.see(heads.get(job, GONE))
            await asyncio.sleep(self._poll_s)


class Watcher:
    """One who watches one job."""

    def __init__(self, tenant: str, job: str) -> None:
        self.tenant = tenant
        self.job = job
        self.news = asyncio.Event()
        self.over = False
        self._head: Head | None = None

    def see(self, head: Head) -> None:
        if head != self._head:
            self._head = head
            self.news.set()


def message(event: EventRow) -> str:
    data = {"job": event.job, "at": moment(event.at_ms).isoformat(), "kind": event.kind, **event.data}
    return f"id: {event.seq}\nevent: {event.kind}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n"


def snapshot(row: JobRow, prefix: str) -> str:
    """The job as it is now; without an id, so that it is not what a client comes back with."""
    return f"event: job\ndata: {job_view(row, prefix).model_dump_json()}\n\n"


async def follow(ctx: Context, watcher: Watcher, last: int, *, check: Callable[[], object]) -> AsyncIterator[str]:
    """The events of a job after number `last`, then what comes, until the job has ended or is gone.

    `check` is asked whenever the job is looked at, which it is at every keep-alive; the stream ends where it raises
    `NoKey`. After `stream_s` it ends too: who watches comes back, and is looked at as any other.
    """
    version = -1
    clock = asyncio.get_running_loop().time
    end_s = clock() + ctx.settings.stream_s

    def looked() -> tuple[JobRow, tuple[EventRow, ...]]:
        check()
        # The row first: what its last event says is in the table by then, and is sent before the end.
        row = jobs.get(ctx.db, watcher.tenant, watcher.job)
        return row, unseen() if row.last_seq > last else ()

    def unseen() -> tuple[EventRow, ...]:
        return events.after(ctx.db, watcher.tenant, watcher.job, last)

    def more() -> tuple[EventRow, ...]:
        check()
        return unseen()

    yield f"retry: {RETRY_MS}\n\n"
    while not watcher.over and clock() < end_s:
        watcher.news.clear()
        try:
            row, rows = await ctx.hub.read(ctx, looked)
            while rows:
                for event in rows:
                    last = event.seq
                    yield message(event)
                if watcher.over or clock() >= end_s:
                    return
                rows = await ctx.hub.read(ctx, more) if row.last_seq > last else ()
        except NotFound:
            yield "event: gone\ndata: {}\n\n"
            return
        except FarmError:  # the client comes back, and by then the table may be too
            return
        if row.version != version:
            version = row.version
            yield snapshot(row, ctx.settings.prefix)
        if row.ended and last >= row.last_seq:
            yield "event: end\ndata: {}\n\n"
            return
        try:
            await asyncio.wait_for(watcher.news.wait(), ctx.settings.keep_alive_s)
        except TimeoutError:
            yield ": still here\n\n"
