"""How much of the service one tenant, and one key, may hold at a time."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import ParamSpec, TypeVar

from starlette.concurrency import run_in_threadpool

from farm.service.errors import TooFast

FORGET_AT = 10_000  # keys that were seen

P = ParamSpec("P")
Answer = TypeVar("Answer")


async def to_its_end(work: Callable[P, Answer], *arguments: P.args, **named: P.kwargs) -> Answer:
    """`work` on a thread. Whoever is cancelled meanwhile waits for its end: a thread cannot be stopped, and what it
    works with, a turn or a file, is to be given back after it and not before."""
    running = asyncio.ensure_future(run_in_threadpool(work, *arguments, **named))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        while not running.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([running])
        if not running.cancelled():
            running.exception()  # nobody is there to be told
        raise


class Turns:
    """Work that takes a processor for seconds, as decoding what somebody sent: so much of it at once, and so much of
    one tenant, whose further calls wait without holding a thread. For one event loop."""

    def __init__(self, most: int, most_a_tenant: int) -> None:
        self._all = asyncio.Semaphore(most)
        self._most_a_tenant = most_a_tenant
        self._tenants: dict[str, asyncio.Semaphore] = {}
        self._waiting: Counter[str] = Counter()

    @asynccontextmanager
    async def turn(self, tenant: str, wait_s: float | None = None) -> AsyncIterator[None]:
        """A turn, from when it comes to the end of the context; `TooFast` where none comes within `wait_s`."""
        own = self._tenants.setdefault(tenant, asyncio.Semaphore(self._most_a_tenant))
        self._waiting[tenant] += 1
        try:
            try:
                async with asyncio.timeout(wait_s):
                    await own.acquire()
                    try:
                        await self._all.acquire()
                    except BaseException:
                        own.release()
                        raise
            except TimeoutError:
                raise TooFast("too much of this is asked for at once", hint="wait for some of it to end") from None
            try:
                yield
            finally:
                self._all.release()
                own.release()
        finally:
            self._waiting[tenant] -= 1
            if not self._waiting[tenant]:
                del self._waiting[tenant], self._tenants[tenant]


class Slots:
    """Calls that last as long as their client likes, as one that sends a film: so many at once, so many of one tenant,
    and a further one is refused at once. For one event loop. `what` names them in a refusal."""

    def __init__(self, most: int, most_a_tenant: int, what: str) -> None:
        self._most, self._most_a_tenant, self._what = most, most_a_tenant, what
        self._tenants: Counter[str] = Counter()

    def enter(self, tenant: str) -> None:
        """`TooFast` where the tenant, or all together, have as many as they may."""
        own = self._tenants.get(tenant, 0)
        if own >= self._most_a_tenant:
            raise TooFast(f"{own} {self._what} already", hint="wait for some of them to end")
        if self._tenants.total() >= self._most:
            raise TooFast(f"the service is full: too many {self._what}", hint="wait, and try again")
        self._tenants[tenant] += 1

    def leave(self, tenant: str) -> None:
        self._tenants[tenant] -= 1
        if not self._tenants[tenant]:
            del self._tenants[tenant]

    @contextmanager
    def slot(self, tenant: str) -> Iterator[None]:
        """From `enter` to `leave`."""
        self.enter(tenant)
        try:
            yield
        finally:
            self.leave(tenant)


class Rates:
    """How often a key may call: `a_second` in the long run, `at_once` after a pause. `clock` in seconds; `told` and
    `hint` are what a refusal says."""

    def __init__(
        self,
        a_second: float,
        at_once: float,
        clock: Callable[[], float] = time.monotonic,
        *,
        told: str = "",
        hint: str = "wait, and watch a job's events in place of asking for it again and again",
    ) -> None:
        self._a_second, self._at_once, self._clock = a_second, at_once, clock
        self._told, self._hint = told or f"this key calls more than {a_second:g} times a second", hint
        self._known: dict[str, tuple[float, float]] = {}  # how many calls are left, as of when
        self._lock = threading.Lock()

    def call(self, key: str) -> None:
        """Count a call; `TooFast` where it is one too many."""
        with self._lock:
            now_s = self._clock()
            if len(self._known) >= FORGET_AT:
                self._known = {
                    one: known for one, known in self._known.items() if self._left(known, now_s) < self._at_once
                }
            left = self._left(self._known.get(key, (self._at_once, now_s)), now_s)
            self._known[key] = (max(left - 1, 0.0) if left >= 1 else left, now_s)
        if left < 1:
            raise TooFast(self._told, hint=self._hint)

    def give_back(self, key: str) -> None:
        """A call that was counted is to count for nothing."""
        with self._lock:
            if key in self._known:
                left, at_s = self._known[key]
                self._known[key] = (min(self._at_once, left + 1), at_s)

    def _left(self, known: tuple[float, float], now_s: float) -> float:
        left, at_s = known
        return min(self._at_once, left + (now_s - at_s) * self._a_second)
