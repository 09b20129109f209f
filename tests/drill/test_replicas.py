"""Two replicas that answer calls, on a real Ray Serve: one job a key whoever is asked, and events without a gap from
whoever is asked next, also when one of them dies."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from farm.client import AsyncFarm
from farm.service import jobs, keys
from tests.actors.films import make_film
from tests.drill.listeners import Counting
from tests.drill.plan import TITLES
from tests.drill.story import ALL, BODY, TRIES, cleared, follow
from tests.drill.world import REPLICAS, World, world

BOUND_S = 480.0  # both cores are the renderers' too
AT_ONCE = 24
WATCHERS = 12
SEGMENTS = 40  # a second each, of the film whose job is held in the middle
NUMBER = re.compile(r"^id: (\d+)$", re.MULTILINE)


@pytest.fixture(scope="module")
def here() -> Iterator[World]:
    with world() as made:
        yield made


@pytest.fixture
def key(here: World) -> str:
    name = f"two-{secrets.token_hex(3)}"
    keys.make_tenant(here.db, name, tenant_id=name)
    return keys.make_key(here.db, name, "test", ALL).secret


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_film(tmp_path_factory.mktemp("film") / "film.mp4", seconds=8, size="320x240")


def replicas(here: World) -> list[psutil.Process]:
    return here.head.actors(TITLES["calls"])


async def both(here: World) -> None:
    """When as many replicas are there as are wanted."""
    while len(replicas(here)) < REPLICAS:
        await asyncio.sleep(0.2)


def answered(here: World, method: str, status: int) -> Counter[str]:
    """How many calls each replica answered so, by their logs, which have the method, the route and the status."""
    found: Counter[str] = Counter()
    call = re.compile(rf"-- {method} \S+ {status} ")
    for log in (here.head.folder / "session_latest" / "logs" / "serve").glob("replica_farm_Calls_*.log"):
        found[log.name] = len(call.findall(log.read_text(errors="replace")))
    return found


@pytest.mark.heavy
def test_a_key_is_one_job_whoever_is_asked(here: World, key: str, film: Path) -> None:
    async def story() -> None:
        async with asyncio.timeout(BOUND_S), AsyncFarm(here.url, key) as farm:
            await both(here)
            upload = (await farm.upload(film)).id
            before = answered(here, "POST", 202)
            made = set()
            for number in range(4):
                made |= await asked_at_once(here.url, key, upload, f"key-{number}")
            assert len(made) == 4
            assert sorted(made) == sorted([job.id async for job in farm.jobs()])
            after = answered(here, "POST", 202) - before
            assert len([count for count in after.values() if count > AT_ONCE / 4]) == REPLICAS, after
            for job in made:
                await farm.erase(job)

    asyncio.run(story())


async def asked_at_once(url: str, key: str, upload: str, name: str) -> set[str]:
    """The jobs of many submissions with one key, of which each has a connection of its own."""
    headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": name}
    body = {"target": {"upload": upload}, **BODY}

    async def ask(**more: Any) -> httpx.Response:
        async with httpx.AsyncClient(base_url=url, timeout=60) as one:
            return await one.post("/v1/jobs", json=body | more, headers=headers)

    answers = await asyncio.gather(*(ask() for _ in range(AT_ONCE)))
    assert {answer.status_code for answer in answers} == {202}, [answer.text for answer in answers][:2]
    assert sum("idempotent-replayed" not in answer.headers for answer in answers) == 1
    others = await asyncio.gather(*(ask(title="another") for _ in range(AT_ONCE)))
    assert {answer.status_code for answer in others} == {409}
    return {answer.json()["id"] for answer in answers}


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """So many segments that there is time to hold a job between the first and the last of them."""
    return make_film(tmp_path_factory.mktemp("long") / "film.mp4", seconds=SEGMENTS, size="320x240")


@pytest.mark.heavy
def test_events_go_on_from_whoever_is_asked_next(here: World, key: str, long: Path) -> None:
    async def story() -> None:
        tenant = keys.check_key(here.db, key).tenant
        transport = Counting()
        async with asyncio.timeout(BOUND_S), AsyncFarm(here.url, key, tries=TRIES, transport=transport) as farm:
            await both(here)
            upload = (await farm.upload(long)).id
            job = await farm.submit_body({"target": {"upload": upload}, **BODY})
            watching = [asyncio.create_task(follow(farm, job.id)) for _ in range(WATCHERS)]
            while not (now := jobs.get(here.db, tenant, job.id)).progress.segments_done or now.state != "rendering":
                assert now.finished_ms is None, (now.state, now.problem)
                await asyncio.sleep(0.05)
            while len(transport.asked[job.id]) < WATCHERS:
                await asyncio.sleep(0.01)
            await farm.pause(job.id)  # so that it has not ended when one that tells of it dies
            while (now := jobs.get(here.db, tenant, job.id)).state != "paused":
                assert now.finished_ms is None, (now.state, now.problem)
                await asyncio.sleep(0.05)
            assert 1 <= now.progress.segments_done < now.progress.segments_total, "it dies in the middle"
            one = replicas(here)[0]
            one.kill()
            await farm.resume(job.id)
            seen = await asyncio.gather(*watching)
            done = await farm.job(job.id)
            assert done.state == "succeeded", done.problem
            whole = list(range(1, done.last_event + 1))
            assert [[event.number for event in events] for events in seen] == [whole] * WATCHERS
            assert len(transport.asked[job.id]) > WATCHERS, "nobody had to come back: nobody was at the one that died"
            await both(here)
            assert one.pid not in {process.pid for process in replicas(here)}
            before = answered(here, "GET", 200)
            while len(answered(here, "GET", 200) - before) < REPLICAS:  # the new one takes calls when it is up
                for last in [*whole, 0]:
                    assert await replayed(here.url, key, job.id, last) == whole[last:]
            await cleared(here, [job.id])
            assert jobs.report_of(here.db, tenant, job.id).segments == SEGMENTS

    asyncio.run(story())


async def replayed(url: str, key: str, job: str, last: int) -> list[int]:
    """The numbers after `last`, of a job that has ended, on a connection of its own."""
    headers = {"Authorization": f"Bearer {key}", "Last-Event-ID": str(last)}
    async with httpx.AsyncClient(base_url=url, timeout=60) as one:
        answer = await one.get(f"/v1/jobs/{job}/events", headers=headers)
    assert answer.status_code == 200, answer.text
    return [int(number) for number in NUMBER.findall(answer.text)]
