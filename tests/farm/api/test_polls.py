"""Calls that come all the time: what they cost, what they are told first, and that streams do not shut them out."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import anyio.to_thread
import httpx
import pytest

from farm.api import stream
from farm.service import jobs
from tests.farm.api.conftest import House, studio
from tests.farm.api.flows import asked, film_bytes, sent
from tests.farm.api.test_calls import is_problem
from tests.farm.api.test_security import asked_of

NEVER = 1e-9  # calls a second: nothing is given back while a test runs
READING = stream.MOST_READING
FAULTS = ("/v1/jobs?limit=0", "/v1/jobs?state=x", "/v1/jobs/a.b", "/v1/jobs/{}/events")
HELD_S = 60.0


@pytest.fixture
def job(http: httpx.Client, clips: Path) -> str:
    return str(asked(http, sent(http, "target", "film.mp4", film_bytes(clips))["id"])["id"])


def faulty(client: httpx.Client, path: str, job: str) -> httpx.Response:
    return client.get(path.format(job), headers={"Last-Event-ID": "x"} if path.endswith("/events") else {})


def test_who_may_not_is_told_that_before_what_is_wrong(house: House, job: str) -> None:
    poor, foreign = house.key(house.name, ("jobs:write",)), house.key("foreign")
    wrong = house.secret[:-1] + ("A" if house.secret[-1] != "A" else "B")
    for path in FAULTS:
        for secret in ("x", "nonsense", wrong, house.key(house.name, expires_ms=1)):
            with house.http(secret) as client:
                answer, plain = faulty(client, path, job), client.get("/v1/jobs")
            told = is_problem(answer, 401)
            assert answer.headers["www-authenticate"] == plain.headers["www-authenticate"]
            assert told == {**plain.json(), "instance": told["instance"]}
        with house.http(poor) as client:
            is_problem(faulty(client, path, job), 403, "scope")
        with house.http(foreign) as client:
            is_problem(faulty(client, path, job), 422)
    for body in (b"{", b"\xff", b'{"target": 1}'):
        for secret, status in (("x", 401), (wrong, 401), (foreign, 422)):
            with house.http(secret) as client:
                is_problem(client.post("/v1/jobs", content=body), status)


def test_who_needs_no_key_is_told_what_is_wrong(house: House) -> None:
    with httpx.Client(base_url=house.server.url) as nobody:
        is_problem(nobody.get("/v1/files/x?download=%00"), 422)


def test_a_call_counts_once_whatever_is_wrong_with_it(tmp_path: Path) -> None:
    with studio(tmp_path / "data", tmp_path, calls_a_second=NEVER, calls_at_once=4.0) as house, house.http() as client:
        is_problem(client.get("/v1/jobs/job_none"), 404)
        for path in FAULTS[:3]:
            is_problem(faulty(client, path, ""), 422)
        is_problem(faulty(client, FAULTS[0], ""), 429)
        is_problem(client.post("/v1/jobs", content=b"{"), 429)
        is_problem(client.get("/v1/jobs"), 429)


@contextmanager
def handed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What is handed to threads meanwhile: those of calls, and anyio's, which FastAPI has for what does not await."""
    seen: list[str] = []
    plain, anyios = ThreadPoolExecutor.submit, anyio.to_thread.run_sync

    def submit(self: ThreadPoolExecutor, work: Any, *more: Any, **named: Any) -> Any:
        if self._thread_name_prefix == "calls":
            seen.append(repr(work))
        return plain(self, work, *more, **named)

    async def run_sync(work: Any, *more: Any, **named: Any) -> Any:
        seen.append(repr(work))
        return await anyios(work, *more, **named)

    with monkeypatch.context() as patch:
        patch.setattr(ThreadPoolExecutor, "submit", submit)
        patch.setattr(anyio.to_thread, "run_sync", run_sync)
        yield seen


def test_a_poll_is_two_statements_on_one_way_to_a_thread(
    house: House, http: httpx.Client, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    http.get("/v1/me")  # the first call of a key notes that it is used
    for path in (f"/v1/jobs/{job}", "/v1/jobs?limit=10", "/v1/jobs?state=queued"):
        with asked_of(house.db) as statements, handed(monkeypatch) as ways:
            assert http.get(path).status_code == 200
        assert [statement.split()[0] for statement, _ in statements] == ["SELECT", "SELECT"]
        assert len(ways) == 1


def test_a_stream_reads_events_where_there_are_some(house: House, job: str) -> None:
    with (
        asked_of(house.db) as statements,
        house.http() as client,
        client.stream("GET", f"/v1/jobs/{job}/events") as answer,
    ):
        lines = answer.iter_lines()
        quiet = (line for line in lines if line.startswith(":"))
        next(quiet)
        known = len(statements)
        for _ in range(3):
            next(quiet)
        seen = [statement for statement, _ in statements[known:]]
        assert not [statement for statement in seen if "FROM events" in statement]
        assert [statement for statement in seen if "FROM api_keys" in statement]
        jobs.pause(house.db, house.name, job)
        assert next(line for line in lines if line.startswith("event: ")) == "event: state"


def test_streams_leave_threads_to_other_calls(
    house: House, http: httpx.Client, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many as may look wait for the database, and more come."""
    go, stuck = threading.Event(), threading.Semaphore(0)
    plain = jobs.get

    def held(db: Any, tenant: str, job_id: str) -> Any:
        if "looked" in names_of_callers():
            stuck.release()
            assert go.wait(HELD_S)
        return plain(db, tenant, job_id)

    monkeypatch.setattr(jobs, "get", held)
    with ExitStack() as stack:
        stack.callback(go.set)
        for number in (READING + 20, 20):
            with ExitStack() as watching:  # and those who leave make no room while their threads wait
                client = watching.enter_context(house.http())
                for _ in range(number):
                    watching.enter_context(client.stream("GET", f"/v1/jobs/{job}/events"))
                for _ in range(READING if number > 20 else 0):
                    assert stuck.acquire(timeout=HELD_S)
                assert http.get("/v1/me").status_code == 200
                assert http.get(f"/v1/jobs/{job}").status_code == 200
                assert not stuck.acquire(timeout=0.5)


def names_of_callers() -> set[str]:
    return {frame.name for frame in traceback.extract_stack()}
