"""Who calls: clients that poll, pages that list, watchers of events, and one who submits, pauses and erases."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.load.wire import Line, request

STATUS_S = 2.0  # between two looks of one client at its job: what the service's streams ask of who comes back
LIST_S = 3.0  # as the page does
SUBMIT_S = 0.5
WISH_S = 0.5
KEPT_S = 10.0  # between a job's submission and its erasure
PAGE = 50
Calls = dict[str, list[float]]


@dataclass
class Crowd:
    """`seconds` holds how long every call took, by its kind; `wrong` what was not answered as it should be."""

    port: int
    keys: list[str]
    upload: str
    jobs: list[str]
    seconds: Calls = field(default_factory=dict)
    wrong: dict[str, int] = field(default_factory=dict)
    lag_s: list[float] = field(default_factory=list)
    told: int = 0
    _changes: dict[tuple[str, int], tuple[str, float]] = field(default_factory=dict)

    def note(self, kind: str, seconds: float) -> None:
        self.seconds.setdefault(kind, []).append(seconds)

    def fault(self, what: str) -> None:
        self.wrong[what] = self.wrong.get(what, 0) + 1

    def change(self, job: str, number: int, what: str, at_s: float) -> None:
        """An event was `asked` for, or `came`, at this moment; how long it took when both are known."""
        other = self._changes.pop((job, number), None)
        if other is None:
            self._changes[job, number] = (what, at_s)
        elif other[0] != what:
            self.note("event", abs(at_s - other[1]))

    async def polls(self, number: int, kind: str, data: bytes, every_s: float) -> None:
        """One client: the same call again and again, at moments of its own."""
        line = Line(self.port)
        next_s = time.perf_counter() + random.Random(number).random() * every_s
        try:
            while True:
                await asyncio.sleep(max(0.0, next_s - time.perf_counter()))
                late_s = time.perf_counter() - next_s
                self.lag_s.append(late_s)
                next_s += every_s * (1 + int(late_s / every_s))  # a client that waited long does not make up for it
                answer = await line.call(data)
                self.note(kind, answer.seconds)
                if answer.status != 200:
                    self.fault(f"{kind}: {answer.status}")
        finally:
            line.close()

    async def watches(self, job: str) -> None:
        """One watcher: events in order, and how long after a change each came."""
        line = Line(self.port)
        last = 0
        kind = ""
        try:
            reader = await line.stream(request("GET", f"/v1/jobs/{job}/events", self.key, Last_Event_ID="0"))
            while text := await reader.readline():
                if text.startswith(b"id: "):
                    number = int(text[4:])
                    if number != last + 1:
                        self.fault(f"event {number} after {last}")
                    last = number
                    self.told += 1
                    self.change(job, number, "came", time.perf_counter())
                elif text.startswith(b"event: "):
                    kind = text[7:].strip().decode()
            self.fault(f"a stream ended after {kind}")
        finally:
            line.close()

    async def wishes(self, watched: list[str]) -> None:
        """Somebody pauses and resumes the jobs that are watched, one after another."""
        line = Line(self.port)
        number = 0
        try:
            while True:
                await asyncio.sleep(WISH_S)
                job = watched[number // 2 % len(watched)]
                what = "pause" if number % 2 == 0 else "resume"
                number += 1
                began_s = time.perf_counter()
                answer = await line.call(request("POST", f"/v1/jobs/{job}/{what}", self.key))
                self.note("pause, resume", answer.seconds)
                if answer.status != 200:
                    self.fault(f"{what}: {answer.status}")
                else:
                    self.change(job, int(json.loads(answer.body)["last_event"]), "asked", began_s)
        finally:
            line.close()

    async def submits(self) -> None:
        """Somebody submits, and erases what was submitted a while ago: so many jobs are queued as there were."""
        line, number = Line(self.port), 0
        made: deque[tuple[float, str]] = deque()
        try:
            while True:
                await asyncio.sleep(SUBMIT_S)
                number += 1
                answer = await line.call(self.submission(f"load-{id(self)}-{number}"))
                self.note("submit", answer.seconds)
                if answer.status != 202:
                    self.fault(f"submit: {answer.status}")
                    continue
                made.append((time.perf_counter(), str(json.loads(answer.body)["id"])))
                while made[0][0] < time.perf_counter() - KEPT_S:
                    gone = await line.call(request("DELETE", f"/v1/jobs/{made.popleft()[1]}", self.key))
                    self.note("erase", gone.seconds)
                    if gone.status != 204:
                        self.fault(f"erase: {gone.status}")
        finally:
            line.close()

    def submission(self, name: str) -> bytes:
        body = json.dumps({"target": {"upload": self.upload}, "swapper": "none", "title": name}).encode()
        return request("POST", "/v1/jobs", self.key, body, Idempotency_Key=name)

    def status_of(self, job: str, client: int = 0) -> bytes:
        return request("GET", f"/v1/jobs/{job}", self.keys[client % len(self.keys)])

    def list_of(self, client: int = 0) -> bytes:
        return request("GET", f"/v1/jobs?limit={PAGE}", self.keys[client % len(self.keys)])

    @property
    def key(self) -> str:
        """The key of whoever is one alone; the others share all keys, each of which may call so often a second."""
        return self.keys[0]


async def queue(crowd: Crowd, count: int) -> None:
    """Submit `count` jobs, over a few connections."""
    left = iter(range(count))

    async def some() -> None:
        line = Line(crowd.port)
        for number in left:
            answer = await line.call(crowd.submission(f"queued-{number}"))
            assert answer.status == 202, answer
            crowd.jobs.append(str(json.loads(answer.body)["id"]))
        line.close()

    await asyncio.gather(*(some() for _ in range(4)))


async def alone(crowd: Crowd, times: int) -> Calls:
    """The floor: what one client sees who is alone, call after call."""
    line = Line(crowd.port)
    found: Calls = {"status": [], "list": [], "submit": []}
    for number in range(times):
        calls = {
            "status": crowd.status_of(crowd.jobs[number % len(crowd.jobs)]),
            "list": crowd.list_of(),
            "submit": crowd.submission(f"alone-{number}"),
        }
        for kind, data in calls.items():
            answer = await line.call(data)
            assert answer.status in {200, 202}, answer
            found[kind].append(answer.seconds)
            if kind == "submit":
                gone = await line.call(request("DELETE", f"/v1/jobs/{json.loads(answer.body)['id']}", crowd.key))
                assert gone.status == 204, gone
    line.close()
    return found


@asynccontextmanager
async def rush(crowd: Crowd, *, clients: int, watchers: int) -> AsyncIterator[None]:
    """Everybody at once, as long as the context lasts."""
    pages = clients // 4
    watched = crowd.jobs[:watchers]
    others = crowd.jobs[watchers:]
    async with asyncio.TaskGroup() as tasks:
        all_of_them = [
            *(tasks.create_task(crowd.watches(job)) for job in watched),
            *(tasks.create_task(crowd.polls(one, "list", crowd.list_of(one), LIST_S)) for one in range(pages)),
            *(
                tasks.create_task(crowd.polls(one, "status", crowd.status_of(others[one % len(others)], one), STATUS_S))
                for one in range(pages, clients)
            ),
            tasks.create_task(crowd.submits()),
            tasks.create_task(crowd.wishes(watched)),
        ]
        yield
        for task in all_of_them:
            task.cancel()
