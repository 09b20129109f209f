"""Twenty jobs while parts of the service die, and what must be true in the end.

Every job finishes once: one `succeeded`, the film of the undisturbed run byte for byte, its file put under its name
once. Who watches has seen every event's number from 1 on, each once. Every transition was told to the webhook, with one
id and one body in all tries.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import os
import random
import secrets
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from farm.client import AsyncFarm
from farm.client.calls import JobEvent, JobView
from farm.service import jobs, keys, webhooks
from farm.service.errors import Unreachable
from farm.service.events import after
from farm.service.records import ENDED, DeliveryRow, EventRow, Scope
from tests.drill.listeners import Counting, Receiver, receiver
from tests.drill.plan import Kill, plan_of
from tests.drill.world import World

ALL: tuple[Scope, ...] = ("jobs:read", "jobs:write")
MOST_S = 900.0
LETTERS_S = 240.0
CLEARED_S = 60.0
LOOK_S = 0.05
ASK_S = 0.3
TRIES = 40  # a machine with every part of the service dead takes a minute to have them all again
BODY = {
    "swapper": "none",
    "smart": False,
    "segment_seconds": "1",
    "encode": {"codec": "h264", "crf": 30, "preset": "slower"},
    "output": "out.mp4",
}


@dataclass
class Told:
    """What a drill is reported with."""

    seed: int
    killed: list[str] = field(default_factory=list)
    seconds: float = 0.0
    undisturbed_s: float = 0.0
    reconnects: int = 0
    broken: int = 0
    refused: dict[int, int] = field(default_factory=dict)
    attempts: int = 0
    letters: int = 0
    tries: int = 0


@dataclass
class Shelf:
    """Every file that was seen under the name of a job's film: what they were, by inode and time."""

    world: World
    seen: dict[str, set[tuple[int, int, int]]] = field(default_factory=lambda: defaultdict(set))

    async def watch(self) -> None:
        while True:
            self.look()
            await asyncio.sleep(LOOK_S)

    def look(self) -> None:
        root = self.world.places.root / "jobs"
        for folder in os.scandir(root) if root.is_dir() else ():
            with suppress(OSError):
                told = (Path(folder.path) / "out" / "out.mp4").stat()
                self.seen[folder.name].add((told.st_ino, told.st_mtime_ns, told.st_size))


def ended(world: World, tenant: str) -> int:
    """How many of the drill's jobs have ended, by the table; 0 while it does not answer."""
    with suppress(Unreachable):
        return len(jobs.listed(world.db, tenant, states=ENDED, limit=1000).items) - 1
    return 0


async def follow(farm: AsyncFarm, job: str) -> list[JobEvent]:
    """All numbered events of a job, as the client gives them, to its end."""
    return [event async for event in farm.events(job) if event.number is not None]


async def drill(world: World, film: Path, seed: int, *, count: int = 20, more: int = 3) -> Told:
    """One drill; raises AssertionError where something is not as it must be."""
    told = Told(seed)
    tenant = f"drill-{seed}-{secrets.token_hex(3)}"
    keys.make_tenant(world.db, tenant, tenant_id=tenant)
    key = keys.make_key(world.db, tenant, "drill", ALL).secret
    async with asyncio.timeout(MOST_S), receiver(random.Random(seed)) as hook:
        transport = Counting()
        async with AsyncFarm(world.url, key, tries=TRIES, transport=transport) as farm:
            upload = (await farm.upload(film)).id
            began_s = time.monotonic()
            first = await farm.submit_body({"target": {"upload": upload}, **BODY})
            undisturbed = await farm.wait(first.id)
            told.undisturbed_s = time.monotonic() - began_s
            assert undisturbed.result is not None, undisturbed
            secret = hooked(world.url, key, hook)
            began_s = time.monotonic()
            made, seen, shelf = await disturbed(world, tenant, farm, upload, plan_of(seed, count, more), told, count)
            told.seconds = time.monotonic() - began_s
            told.broken, told.refused = transport.broken, dict(transport.refused)
            told.reconnects = sum(len(transport.asked[job]) - 1 for job in made)
            assert told.reconnects > 0, "nobody had to reconnect: the drill killed nothing that anybody used"
            ended = [await farm.job(job) for job in made]
            known = [job.id async for job in farm.jobs()]
        assert sorted(known) == sorted([first.id, *made]), "a job was submitted twice, or lost"
        letters = await delivered(world, tenant, hook)
        await cleared(world, made)
    for job, events in zip(ended, seen, strict=True):
        whole_and_once(world, tenant, job, events, undisturbed, shelf)
        told.attempts += job.attempt
    heard(world, tenant, made, letters, hook, secret)
    told.letters = len(letters)
    told.tries = sum(map(len, hook.got.values()))
    return told


def hooked(url: str, key: str, hook: Receiver) -> str:
    """A webhook for everything that happens; its secret."""
    answer = httpx.post(f"{url}/v1/webhooks", json={"url": hook.url}, headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["secret"])


async def disturbed(
    world: World, tenant: str, farm: AsyncFarm, upload: str, plan: list[Kill], told: Told, count: int
) -> tuple[list[str], list[list[JobEvent]], Shelf]:
    """Submit the jobs and watch them to their ends while the plan is carried out."""
    shelf = Shelf(world)
    watching = asyncio.create_task(shelf.watch())

    async def one(number: int) -> tuple[str, list[JobEvent]]:
        body = {"target": {"upload": upload}, **BODY, "title": f"job {number}"}
        job = await farm.submit_body(body, idempotency_key=f"job-{number}")
        return job.id, await follow(farm, job.id)

    async def kill() -> None:
        for entry in plan:
            while (before := await asyncio.to_thread(ended, world, tenant)) < entry.ended:
                await asyncio.sleep(ASK_S)
            await asyncio.sleep(entry.wait_s)
            while not await asyncio.to_thread(world.kill, entry.victim):
                await asyncio.sleep(LOOK_S)  # it is still coming up after the last kill
            assert before < count, f"all jobs had ended before {entry} came: the drill was too short"
            told.killed.append(entry.victim)

    try:
        async with asyncio.TaskGroup() as tasks:  # the first that fails ends the others
            tasks.create_task(kill())
            following = [tasks.create_task(one(number)) for number in range(count)]
    finally:
        watching.cancel()
    results = [task.result() for task in following]
    shelf.look()
    return [job for job, _ in results], [events for _, events in results], shelf


def whole_and_once(
    world: World, tenant: str, job: JobView, events: list[JobEvent], undisturbed: JobView, shelf: Shelf
) -> None:
    """One job of the drill is as that of an undisturbed run, and whoever watched it missed nothing."""
    assert job.state == "succeeded", (job.state, job.problem)
    assert job.result is not None
    assert undisturbed.result is not None
    assert job.result.sha256 == undisturbed.result.sha256
    file = world.places.result(job.id, "out.mp4")
    assert hashlib.sha256(file.read_bytes()).hexdigest() == job.result.sha256
    assert [one.name for one in file.parent.iterdir()] == ["out.mp4"]
    assert len(shelf.seen[job.id]) == 1, f"{job.id} was published more than once: {shelf.seen[job.id]}"
    assert [event.number for event in events] == list(range(1, job.last_event + 1))
    states = [str(event.data["state"]) for event in events if event.kind == "state"]
    assert (states[0], states[-1], states.count("succeeded")) == ("queued", "succeeded", 1), states
    assert states.count("indexing") == job.attempt
    reports = [jobs.report_of(world.db, tenant, one) for one in (job.id, undisturbed.id)]
    assert reports[0].segments == reports[1].segments


async def cleared(world: World, made: list[str]) -> None:
    """When nothing is left of what the jobs went on with."""
    end_s = time.monotonic() + CLEARED_S
    while left := [job for job in made if world.places.store(job).exists()]:
        assert time.monotonic() < end_s, f"the stores of {left} are still there"
        await asyncio.sleep(1.0)


async def delivered(world: World, tenant: str, hook: Receiver) -> list[DeliveryRow]:
    """All letters, when all of them are delivered."""
    end_s = time.monotonic() + LETTERS_S
    while True:
        letters: list[DeliveryRow] = []
        with suppress(Unreachable):
            cursor: str | None = None
            while True:
                page = webhooks.deliveries(world.db, tenant, cursor=cursor, limit=200)
                letters += page.items
                if (cursor := page.cursor) is None:
                    break
        waiting = [letter for letter in letters if letter.state != "delivered"]
        if letters and not waiting:
            return letters
        assert time.monotonic() < end_s, f"{len(waiting)} of {len(letters)} letters are not delivered: {waiting[:3]}"
        await asyncio.sleep(1.0)


def heard(world: World, tenant: str, made: list[str], letters: list[DeliveryRow], hook: Receiver, secret: str) -> None:
    """Every transition of every job came to the webhook at least once, signed, with one id and one body."""
    of: dict[tuple[str, int], list[str]] = defaultdict(list)
    for letter in letters:
        of[letter.job, letter.seq].append(letter.id)
    for job in made:
        for event in every_event(world, tenant, job):
            if event.kind == "state":
                assert len(of[job, event.seq]) == 1, (job, event.seq, of[job, event.seq])
    assert set(hook.got) == {letter.id for letter in letters}
    for name, bodies in hook.got.items():
        assert len(set(bodies)) == 1, name
        assert json.loads(bodies[0])["id"] == name
        stamp, signature = hook.signed[name]
        mac = hmac.new(secret_bytes(secret), f"{name}.{stamp}.".encode() + bodies[-1], hashlib.sha256).digest()
        assert signature == f"v1,{base64.b64encode(mac).decode()}"


def secret_bytes(secret: str) -> bytes:
    text = secret.removeprefix("whsec_")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def every_event(world: World, tenant: str, job: str) -> list[EventRow]:
    found: list[EventRow] = []
    while rows := after(world.db, tenant, job, found[-1].seq if found else 0):
        found += rows
    return found


def describe(told: Told) -> dict[str, Any]:
    return {name: round(value, 1) if isinstance(value, float) else value for name, value in vars(told).items()}
