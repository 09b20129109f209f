"""How long the client waits, and for what: as long as something gets on, and not for what never will."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from core.errors import FarmError, PolicyError
from farm.client import AsyncFarm, Farm, files, retry
from tests.farm.api.conftest import House
from tests.farm.api.flows import asked, film_bytes, finished, picture_bytes, sent

MIB = 1 << 20
TRIES = 2
LOOKS = 5 * TRIES  # how often the service is still looking


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LOOK_S", 0.0)
    monkeypatch.setattr(retry, "FIRST_S", 0.0)
    monkeypatch.setattr(retry, "MOST_S", 0.0)


class Looking(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """All bytes of an upload come, or `most` of them, and no answer does in time; the file is another's for `LOOKS`
    further calls, which is what the service says while it hashes a file, or waits for its turn to look at it, or has
    not heard yet that the line of an earlier try is broken."""

    def __init__(self, house: House, most: int | None = None) -> None:
        self._house, self._line, self._most = house, httpx.HTTPTransport(), most
        self.puts, self._handle = 0, -1

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        data = request.read()
        if request.method != "PUT":
            return self._answer(request, data)
        self.puts += 1
        if self.puts == 1:
            place = self._house.server.places.upload(self._house.name, request.url.path.split("/")[3])
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data[: self._most])
            self._handle = os.open(place, os.O_RDONLY)
            fcntl.flock(self._handle, fcntl.LOCK_EX)
            raise httpx.ReadTimeout("timed out", request=request)
        answer = self._answer(request, data)
        if self.puts == LOOKS:
            self.end()
        return answer

    def end(self) -> None:
        """The other line is over."""
        os.close(self._handle)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        return self.handle_request(request)

    def _answer(self, request: httpx.Request, data: bytes) -> httpx.Response:
        headers = [pair for pair in request.headers.items() if pair[0] not in {"transfer-encoding", "content-length"}]
        again = httpx.Request(request.method, request.url, headers=headers, content=data)
        answer = self._line.handle_request(again)
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.read())

    def close(self) -> None:
        self._line.close()


@pytest.mark.parametrize(("awaits", "most"), [(False, None), (True, 1000)])
def test_what_another_line_holds_is_waited_for(
    house: House, clips: Path, tmp_path: Path, awaits: bool, most: int | None
) -> None:
    film = tmp_path / "film.mp4"
    film.write_bytes(film_bytes(clips))
    line = Looking(house, most)

    async def other() -> str:
        async with AsyncFarm(house.server.url, house.secret, tries=TRIES, transport=line) as farm:
            return (await farm.upload(film)).state

    if awaits:
        assert asyncio.run(other()) == "ready"
    else:
        with Farm(house.server.url, house.secret, tries=TRIES, transport=line) as farm:
            assert farm.upload(film).state == "ready"
    assert line.puts == LOOKS + 1


def test_what_another_line_holds_for_ever_is_told(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MOST_HELD", LOOKS - 3)
    picture_bytes(tmp_path)
    line = Looking(house, 10)
    farm = Farm(house.server.url, house.secret, tries=TRIES, transport=line)
    with farm, pytest.raises(FarmError, match="being sent already"):
        farm.upload(tmp_path / "face.png", "source")
    line.end()
    assert line.puts == LOOKS - 1


class Says(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """One answer to every call."""

    def __init__(self, status: int, told: dict[str, str]) -> None:
        self._status, self._told = status, told

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        headers = {"content-type": "application/problem+json"}
        return httpx.Response(self._status, headers=headers, json=self._told, request=request)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return self.handle_request(request)


def test_who_may_not_watch_more_is_told_so() -> None:
    line = Says(429, {"detail": "too many streams", "next_step": "ask for the job now and then"})
    with Farm("http://farm", "key", tries=TRIES, transport=line) as farm:
        with pytest.raises(PolicyError, match="too many streams") as told:
            farm.wait("job_x")
        assert told.value.hint == "ask for the job now and then"

    async def other() -> None:
        async with AsyncFarm("http://farm", "key", tries=TRIES, transport=line) as farm:
            await farm.wait("job_x")

    with pytest.raises(PolicyError, match="too many streams"):
        asyncio.run(other())


class Cut(httpx.SyncByteStream):
    """What comes, until the line breaks."""

    def __init__(self, stream: httpx.SyncByteStream, most: int) -> None:
        self._stream, self._most = stream, most

    def __iter__(self) -> Iterator[bytes]:
        left = self._most
        for piece in self._stream:
            yield piece[:left]
            left -= len(piece)
            if left <= 0:
                raise httpx.ReadError("torn")

    def close(self) -> None:
        self._stream.close()


class Torn(httpx.BaseTransport):
    """Each answer with a film ends after `most` bytes."""

    def __init__(self, most: int) -> None:
        self._line, self._most = httpx.HTTPTransport(), most

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = self._line.handle_request(request)
        if "/files/" in request.url.path:
            assert isinstance(answer.stream, httpx.SyncByteStream)
            stream = Cut(answer.stream, self._most)
            return httpx.Response(answer.status_code, headers=answer.headers, stream=stream)
        return answer

    def close(self) -> None:
        self._line.close()


def test_a_line_that_breaks_often_brings_the_film_too(house: House, clips: Path, tmp_path: Path) -> None:
    film = film_bytes(clips)
    data = film + bytes(4 * TRIES * MIB)
    with house.http() as http:
        job = asked(http, sent(http, "target", "film.mp4", film)["id"])["id"]
    finished(house, job, data)
    with Farm(house.server.url, house.secret, tries=TRIES, transport=Torn(MIB + 5)) as farm:
        assert farm.download(job, tmp_path / "made.mp4").read_bytes() == data
    with Farm(house.server.url, house.secret, tries=TRIES, transport=Torn(5)) as farm, pytest.raises(FarmError):
        farm.download(job, tmp_path / "again.mp4")
