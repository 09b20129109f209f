"""What the client does of itself: sends nothing twice, ends where nothing moves, and says how a job ended."""

from __future__ import annotations

import asyncio
import os
import types
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import FarmError, InputError, PolicyError
from farm.api.schemas import ProblemView
from farm.cli.remote import kind_of, own_name
from farm.client import AsyncFarm, Farm
from farm.client.sse import Reader
from tests.farm.api.conftest import House
from tests.farm.api.flows import film_bytes, picture_bytes, sent

MIB = 1 << 20
TOLD = [
    "retry: 2000",
    "",
    "id: 1",
    "event: note",
    'data: {"text": "a"}',
    "",
    ": still here",
    "",
    "id: 2",
    "data: b",
    "",
]


def read(lines: list[str], reader: Reader) -> list[tuple[str, str, str | None]]:
    return [(m.event, m.data, m.id) for m in map(reader.line, lines) if m is not None]


@given(cut=st.integers(0, len(TOLD)), inside=st.integers(0, 30))
def test_half_a_message_is_forgotten_when_the_line_breaks(cut: int, inside: int) -> None:
    """Broken at any line, in the middle of one: after the reconnection each event is there once, and whole."""
    whole = read(TOLD, Reader())
    assert [number for _, _, number in whole] == ["1", "2"]
    reader = Reader()
    before = read([*TOLD[:cut], *([TOLD[cut][:inside]] if cut < len(TOLD) and TOLD[cut] else [])], reader)
    reader.begin()
    after = {"": TOLD, "1": TOLD[:2] + TOLD[6:], "2": TOLD[:2]}[reader.last_id]
    assert before + read(after, reader) == whole


def test_the_same_key_and_files_are_one_job(house: House, clips: Path, tmp_path: Path) -> None:
    film, face = tmp_path / "film.mp4", tmp_path / "face.png"
    film.write_bytes(film_bytes(clips))
    picture_bytes(tmp_path)
    with Farm(house.server.url, house.secret) as farm, house.http() as http:
        sent(http, "target", "the same.mp4", film.read_bytes())
        made = [farm.submit(film, source=face, swapper="mesh", idempotency_key="shot-12").id for _ in range(2)]

        async def once_more() -> str:
            async with AsyncFarm(house.server.url, house.secret) as other:
                return (await other.submit(film, source=face, swapper="mesh", idempotency_key="shot-12")).id

        made.append(asyncio.run(once_more()))
        assert len(set(made)) == 1
        assert len(http.get("/v1/uploads").json()["items"]) == 2, "the film was there, the face was sent once"
        film.write_bytes(film.read_bytes() + b"\0")
        with pytest.raises(InputError, match="used for another request"):
            farm.submit(film, source=face, swapper="mesh", idempotency_key="shot-12")
        assert farm.submit(film, swapper="none").id not in made


def test_a_file_that_gets_shorter_while_it_is_sent(house: House, clips: Path, tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    whole = film_bytes(clips) + bytes(4 * MIB)

    def cut(count: int, size: int) -> None:
        del count, size
        os.truncate(film, MIB)

    with Farm(house.server.url, house.secret) as farm:
        film.write_bytes(whole)
        with pytest.raises(InputError, match=f"had {len(whole)} bytes when it was announced, and has {MIB} now"):
            farm.upload(film, told=cut)

    async def other() -> None:
        async with AsyncFarm(house.server.url, house.secret) as farm:
            await farm.upload(film, told=cut)

    film.write_bytes(whole)
    with pytest.raises(InputError, match="when it was announced"):
        asyncio.run(other())


class Torn(httpx.BaseTransport):
    """The line breaks while the answer to a call of a method is on its way, `times` times."""

    def __init__(self, method: str, times: int = 100) -> None:
        self._line, self._method, self._left = httpx.HTTPTransport(), method, times

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = self._line.handle_request(request)
        if request.method == self._method and self._left:
            self._left -= 1
            answer.read()
            raise httpx.ReadError("torn", request=request)
        return answer

    def close(self) -> None:
        self._line.close()


def test_what_was_refused_behind_a_broken_line_is_no_success(house: House, tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    film.write_bytes(b"no film" * 1000)
    with Farm(house.server.url, house.secret, transport=Torn("PUT")) as farm, pytest.raises(InputError, match="film"):
        farm.upload(film)


def test_an_announcement_whose_answer_is_lost_is_made_again(house: House, tmp_path: Path) -> None:
    picture_bytes(tmp_path)
    with Farm(house.server.url, house.secret, transport=Torn("POST", 1)) as farm:
        row = farm.upload(tmp_path / "face.png", "source")
    with house.http() as http:
        states = {one["id"]: one["state"] for one in http.get("/v1/uploads").json()["items"]}
    assert states.pop(row.id) == "ready"
    assert not states, "announced once"


def ended(state: str, kind: str = "", result: str | None = None) -> types.SimpleNamespace:
    problem = ProblemView(kind=kind, detail="d", next_step="n") if kind else None
    made = types.SimpleNamespace(name=result) if result is not None else None
    return types.SimpleNamespace(id="job_1", state=state, problem=problem, result=made, created=datetime.now(UTC))


@pytest.mark.parametrize(
    ("state", "kind", "code", "told"),
    [
        ("refused", "OverQuota", 3, PolicyError),
        ("refused", "TooLong", 3, PolicyError),
        ("failed", "InputError", 2, InputError),
        ("failed", "ModelError", 2, InputError),
        ("failed", "NotFound", 2, InputError),
        ("failed", "VerifyFailed", 4, FarmError),
        ("failed", "NobodyKnows", 4, FarmError),
        ("cancelled", "", 4, FarmError),
    ],
)
def test_the_exit_code_is_the_jobs(state: str, kind: str, code: int, told: type[FarmError]) -> None:
    found = kind_of(ended(state, kind))  # type: ignore[arg-type]
    assert (found, found.exit_code) == (told, code)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("out.mp4", "out.mp4"),
        ("/etc/cron.d/x.mp4", "x.mp4"),
        ("../../x.mp4", "x.mp4"),
        (".bashrc", "job_1"),
        ("a/..", "job_1"),
        ("", "job_1"),
        ("a\nb", "job_1"),
    ],
)
def test_a_result_lies_here_whatever_the_service_calls_it(name: str, file: str) -> None:
    assert str(own_name(ended("succeeded", result=name))) == file  # type: ignore[arg-type]
