"""How the clients put a file in parts: what a full service refuses waits, what is missing at the end is put again."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from core.errors import InputError
from farm.api import parting, uploads
from farm.client import AsyncFarm, Farm, aio, files, sync
from farm.client.calls import UploadView
from tests.farm.api.bucket_steps import long_film
from tests.farm.api.conftest import House, studio

PART, PARTS = 2 << 20, 8
TRIES = 3
TAKEN = 2  # parts, before the service is full
WAIT_S = 7.0


@pytest.fixture
def cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """A service in a folder that takes small parts."""
    for module in (parting, uploads):
        monkeypatch.setattr(module, "PART_BYTES", PART)
    with studio(tmp_path / "data", tmp_path, in_parts=True) as house:
        yield house


@pytest.fixture
def film(clips: Path, tmp_path: Path) -> Path:
    file = tmp_path / "film.m4v"
    file.write_bytes(long_film(clips, (PARTS - 1) * PART + 1000))
    return file


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the clients wait each time; nobody does."""
    told: list[float] = []

    async def slept(seconds: float) -> None:
        told.append(seconds)

    monkeypatch.setattr(sync, "time", SimpleNamespace(**{**vars(time), "sleep": told.append}))
    monkeypatch.setattr(aio, "asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": slept}))
    return told


def last_of(request: httpx.Request) -> str:
    """The last step of its address: what is done, or the number of a part."""
    return request.url.path.rpartition("/")[2]


class Line(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """The way to the service; `puts` are parts that it answered, with the status."""

    def __init__(self) -> None:
        self._line = httpx.HTTPTransport()
        self.puts: list[tuple[int, int]] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        data = request.read()
        answer = self.instead(request)
        if answer is None:
            headers = [pair for pair in request.headers.items() if pair[0] != "transfer-encoding"]
            again = httpx.Request(request.method, request.url, headers=headers, content=data)
            passed = self._line.handle_request(again)
            answer = httpx.Response(passed.status_code, headers=passed.headers, content=passed.read())
        if last_of(request).isdigit():
            self.puts.append((int(last_of(request)), answer.status_code))
        return answer

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        return await asyncio.to_thread(self.handle_request, request)

    def instead(self, request: httpx.Request) -> httpx.Response | None:
        """What is answered in the place of the service."""
        del request
        return None

    def close(self) -> None:
        self._line.close()


class Full(Line):
    """The service is full when it has taken a few parts, until the client asks what is missing."""

    def __init__(self) -> None:
        super().__init__()
        self._left = TAKEN
        self._gate = threading.Lock()

    def instead(self, request: httpx.Request) -> httpx.Response | None:
        last = last_of(request)
        if last == "parts" and any(status == 429 for _, status in self.puts):
            self._left = PARTS
        if not last.isdigit():
            return None
        with self._gate:
            self._left -= 1
            if self._left >= 0:
                return None
        headers = {"content-type": "application/problem+json", "Retry-After": f"{WAIT_S:g}"}
        return httpx.Response(429, headers=headers, json={"detail": "files are being sent already"})


class Late(Line):
    """Before the upload is ended, `most` times, another copy of part 2 comes and breaks off."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most, self.ends = most, 0

    def instead(self, request: httpx.Request) -> httpx.Response | None:
        if last_of(request) == "finish":
            self.ends += 1
            if self.ends <= self._most:
                part = f"{request.url}".replace("/finish", "/parts/2")
                headers = {"authorization": request.headers["authorization"]}
                assert httpx.put(part, headers=headers, content=bytes(PART - 1)).status_code == 422
        return None


def sent(house: House, film: Path, line: Line, awaits: bool) -> UploadView:
    async def other() -> UploadView:
        async with AsyncFarm(house.server.url, house.secret, tries=TRIES, transport=line) as farm:
            return await farm.upload(film)

    if awaits:
        return asyncio.run(other())
    with Farm(house.server.url, house.secret, tries=TRIES, transport=line) as farm:
        return farm.upload(film)


@pytest.mark.parametrize("awaits", [False, True])
def test_a_wave_of_parts_ends_where_the_service_is_full_and_goes_on_when_it_says(
    cut: House, film: Path, waited: list[float], awaits: bool
) -> None:
    line = Full()
    row = sent(cut, film, line, awaits)
    assert (row.state, row.sha256) == ("ready", hashlib.sha256(film.read_bytes()).hexdigest())
    taken = Counter(number for number, status in line.puts if status == 200)
    assert taken == dict.fromkeys(range(1, PARTS + 1), 1), "no part is sent again that was taken"
    refused = [number for number, status in line.puts if status == 429]
    assert 1 <= len(refused) <= files.PARTS_AT_ONCE < PARTS - TAKEN, "only those that were on their way"
    assert waited.count(WAIT_S) == 1


@pytest.mark.parametrize("awaits", [False, True])
def test_what_is_missing_at_the_end_is_put_again(cut: House, film: Path, waited: list[float], awaits: bool) -> None:
    line = Late(1)
    row = sent(cut, film, line, awaits)
    assert (row.state, row.sha256) == ("ready", hashlib.sha256(film.read_bytes()).hexdigest())
    assert Counter(line.puts) == {(number, 200): 2 if number == 2 else 1 for number in range(1, PARTS + 1)}
    line = Late(100)
    with pytest.raises(InputError, match=f"1 of {PARTS} parts are not there, the first is 2"):
        sent(cut, film, line, awaits)
    assert line.ends == TRIES
