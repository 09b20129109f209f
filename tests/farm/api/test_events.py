"""Events: in order, once, from where one left off; through a restart of the server."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import httpx
import pytest

from farm.api.stream import Hub, Watcher
from farm.service import held, jobs, keys
from farm.service.errors import TooFast, Unreachable
from farm.service.records import Event, Progress
from farm.service.states import JobState
from tests.farm.api.conftest import House
from tests.farm.api.flows import asked, film_bytes, finished, sent, taken
from tests.farm.api.test_calls import is_problem


@pytest.fixture
def job(http: httpx.Client, clips: Path) -> str:
    return str(asked(http, sent(http, "target", "film.mp4", film_bytes(clips))["id"])["id"])


def read(house: House, job: str, last: str = "0") -> tuple[list[int], list[str]]:
    """Numbers of events, and kinds of all messages, to the end of the stream."""
    numbers, kinds = [], []
    with (
        house.http() as client,
        client.stream("GET", f"/v1/jobs/{job}/events", headers={"Last-Event-ID": last}) as answer,
    ):
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if line.startswith("id: "):
                numbers.append(int(line[4:]))
            elif line.startswith("event: "):
                kinds.append(line[7:])
    return numbers, kinds


def test_events_come_in_order_and_again_from_where_one_left(house: House, http: httpx.Client, job: str) -> None:
    seen: list[tuple[list[int], list[str]]] = []
    watcher = threading.Thread(target=lambda: seen.append(read(house, job)))
    watcher.start()
    mine = taken(house, job)
    for done in range(5):
        notes = (Event("note", {"text": f"line {done}"}),)
        held.report(house.db, mine, progress=Progress("render", done, 5), events=notes)
    held.stage(house.db, mine, JobState.rendering)
    http.post(f"/v1/jobs/{job}/cancel")
    held.give_back(house.db, mine)
    watcher.join(20)
    numbers, kinds = seen[0]
    assert numbers == list(range(1, len(numbers) + 1))
    assert kinds[-1] == "end"
    assert "job" in kinds
    last = http.get(f"/v1/jobs/{job}").json()["last_event"]
    assert numbers[-1] == last
    assert read(house, job, str(last - 3))[0] == [last - 2, last - 1, last]
    assert read(house, job, str(last))[0] == []
    assert [line.split(" ")[1] for line in http.get(f"/v1/jobs/{job}/log").text.splitlines()].count("note") == 5


def test_more_events_than_are_read_at_once(house: House, http: httpx.Client, job: str) -> None:
    mine = taken(house, job)
    held.report(house.db, mine, events=tuple(Event("note", {"text": str(number)}) for number in range(1200)))
    http.post(f"/v1/jobs/{job}/cancel")
    held.give_back(house.db, mine)
    last = http.get(f"/v1/jobs/{job}").json()["last_event"]
    assert last > 1200
    for seen in (0, 1, 499, 500, 501, last - 1, last, 10**17):
        numbers, kinds = read(house, job, str(seen))
        assert numbers == list(range(seen + 1, last + 1))
        assert kinds[-1] == "end"


def test_a_quiet_job_says_that_it_is_there(house: House, job: str) -> None:
    with house.http() as client, client.stream("GET", f"/v1/jobs/{job}/events") as answer:
        lines = answer.iter_lines()
        assert next(line for line in lines if line.startswith(":")) == ": still here"


def test_what_is_no_number_is_refused(http: httpx.Client, job: str) -> None:
    for text in ("x", "-1", "1e3"):
        is_problem(http.get(f"/v1/jobs/{job}/events", headers={"Last-Event-ID": text}), 422, "last-event-id")


def test_the_stream_ends_with_an_erased_job(house: House, http: httpx.Client, job: str) -> None:
    seen: list[tuple[list[int], list[str]]] = []
    watcher = threading.Thread(target=lambda: seen.append(read(house, job)))
    watcher.start()
    while "farm_service_watchers 1.0" not in http.get("/metrics").text:
        time.sleep(0.05)
    http.post(f"/v1/jobs/{job}/pause")
    assert http.delete(f"/v1/jobs/{job}").status_code == 204
    watcher.join(20)
    assert seen[0][1][-1] in ("gone", "end")


def test_a_finished_job_tells_all_it_did(house: House, clips: Path, job: str) -> None:
    finished(house, job, film_bytes(clips))
    numbers, kinds = read(house, job)
    assert numbers == list(range(1, len(numbers) + 1))
    assert kinds[-1] == "end"


def test_a_key_that_is_revoked_watches_no_longer(house: House, job: str) -> None:
    secret = house.key(house.name)
    with house.http(secret) as client, client.stream("GET", f"/v1/jobs/{job}/events") as answer:
        lines = answer.iter_lines()
        assert next(lines).startswith("retry")
        keys.revoke(house.db, house.name, secret.split("_")[1])
        assert "event: end" not in list(lines), "the stream ends, the job has not"
    assert not house.http(secret).get(f"/v1/jobs/{job}").is_success


def test_a_stream_ends_whole_when_the_server_stops(house: House, job: str) -> None:
    with house.http() as client, client.stream("GET", f"/v1/jobs/{job}/events") as answer:
        lines = answer.iter_lines()
        next(lines)
        house.server.stop()
        try:
            list(lines)  # raises where the connection is torn
        finally:
            house.server.start()


def test_so_many_watch_and_no_more(house: House) -> None:
    async def story() -> None:
        hub = Hub(house.db, 0.01, 2)
        watchers = [Watcher("a", "job_x") for _ in range(3)]
        hub.enter(watchers[0])
        hub.enter(watchers[1])
        with pytest.raises(TooFast):
            hub.enter(watchers[2])
        hub.leave(watchers[0])
        hub.enter(watchers[2])
        await hub.close()
        assert all(watcher.over for watcher in watchers[1:])
        with pytest.raises(Unreachable):
            hub.enter(Watcher("b", "job_x"))

    asyncio.run(story())


def test_all_tenants_together_watch_so_much(house: House) -> None:
    async def story() -> None:
        hub = Hub(house.db, 0.01, 2, most=3)
        watchers = [Watcher(tenant, "job_x") for tenant in "abcd"]
        for watcher in watchers[:3]:
            hub.enter(watcher)
        with pytest.raises(TooFast, match="can serve"):
            hub.enter(watchers[3])
        hub.leave(watchers[0])
        hub.enter(watchers[3])
        await hub.close()

    asyncio.run(story())


def test_who_watches_an_erased_job_is_woken(house: House, job: str) -> None:
    async def story() -> None:
        hub, watcher = Hub(house.db, 0.01, 2), Watcher(house.name, job)
        hub.enter(watcher)
        await asyncio.wait_for(watcher.news.wait(), 20)
        watcher.news.clear()
        await asyncio.to_thread(jobs.erase, house.db, house.name, job)
        await asyncio.wait_for(watcher.news.wait(), 20)
        await hub.close()

    asyncio.run(story())
