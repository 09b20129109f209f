"""A service in a folder, behind a proxy that keeps bodies in memory: large files come in parts, as into a bucket."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from farm.api.app import secret_of
from farm.api.context import ApiSettings
from farm.api.folders import Folders, PartFile
from farm.api.parting import HEAD_BYTES, MOST_PARTS, PART_BYTES, parts_of
from farm.client import AsyncFarm, Farm
from farm.client.calls import UploadView
from farm.client.files import PARTS_AT_ONCE
from farm.service import clearing, keys, uploads
from farm.service.clearing import clear
from farm.service.database import open_database
from farm.service.errors import Conflict
from farm.service.places import ServicePlaces
from farm.service.records import Problem
from tests.farm.api.bucket_steps import announced, begun, head, long_film
from tests.farm.api.conftest import ALL, House, Server, studio
from tests.farm.api.flows import film_bytes, sent
from tests.farm.api.test_calls import is_problem
from tests.farm.service.running import wait_for

LONG = 2 * PART_BYTES + 1000
BOUND_S = 20.0
FILM = {"purpose": "target", "name": "film.m4v", "size_bytes": LONG}
NO_FILM = Problem("InputError", "is no film", where="film.m4v", hint="send a film", exit_code=2)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    """Two processes' worth of the service on one folder and one database."""
    folder = tmp_path_factory.mktemp("parts")
    made: list[Server] = []
    with open_database(f"sqlite:///{folder}/farm.db") as db:
        places = ServicePlaces(folder / "data")
        places.make()
        settings = ApiSettings(secret=secret_of(places), poll_s=0.05, silence_s=1.0, in_parts=True)
        keys.make_tenant(db, "Studio", tenant_id="studio")
        try:
            for _ in range(2):
                made.append(Server(db, places, settings))
            yield made
        finally:
            for server in made:
                server.stop()


@pytest.fixture
def cut(servers: list[Server]) -> House:
    """The first of them."""
    return House(servers[0], "studio", keys.make_key(servers[0].db, "studio", "test", ALL).secret)


@pytest.fixture(scope="module")
def film(clips: Path) -> bytes:
    return long_film(clips, LONG)


def listed(http: httpx.Client, row: dict[str, Any], **query: Any) -> list[dict[str, Any]]:
    answer = http.post(row["links"]["parts"], params=query)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


def put(http: httpx.Client, part: dict[str, Any], data: bytes) -> httpx.Response:
    first, size = part["first_byte"], part["size_bytes"]
    return http.put(part["url"], content=data[first : first + size])


def files(house: House) -> list[str]:
    return sorted(file.name for file in (house.server.places.root / "uploads").rglob("*") if file.is_file())


def asking(house: House, url: str, size: int) -> tuple[socket.socket, bytes]:
    """A line on which a part is to come that the service was asked to say yes to, and what it said: 100 where it
    waits for the first byte."""
    line = socket.create_connection(("127.0.0.1", house.server.port), timeout=BOUND_S)
    told = f"PUT {url} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {house.secret}\r\nContent-Length: {size}\r\n"
    line.sendall(f"{told}Expect: 100-continue\r\n\r\n".encode())
    return line, line.recv(12)


def test_parts_come_in_any_order_and_again_to_any_process(cut: House, servers: list[Server], film: bytes) -> None:
    other = House(servers[1], "studio", cut.secret)
    with cut.http() as http, other.http() as there:
        row = announced(http, len(film))
        assert (row["part_bytes"], set(row["links"])) == (PART_BYTES, {"self", "head", "parts", "finish"})
        for early in (row["links"]["parts"], row["links"]["finish"]):
            is_problem(http.post(early), 409, "how this file begins", f"its first {HEAD_BYTES} bytes")
        is_problem(http.put(f"/v1/uploads/{row['id']}/parts/1", content=film[:PART_BYTES]), 409, "how this file begins")
        assert head(there, row, film).status_code == 200
        parts = listed(http, row)
        assert [(part["number"], part["first_byte"], part["size_bytes"]) for part in parts] == [
            (1, 0, PART_BYTES),
            (2, PART_BYTES, PART_BYTES),
            (3, 2 * PART_BYTES, 1000),
        ]
        assert parts[1]["url"] == f"/v1/uploads/{row['id']}/parts/2"
        is_problem(http.post(row["links"]["finish"], json={}), 409, "3 of 3 parts", "ask for `parts`")
        assert put(there, parts[2], film).json()["received_bytes"] == 1000
        assert put(http, parts[0], bytes(LONG)).json()["received_bytes"] == PART_BYTES + 1000
        is_problem(there.post(row["links"]["finish"], json={}), 409, "1 of 3 parts", "`parts`")
        assert [part["number"] for part in listed(there, row)] == [2]
        assert put(there, parts[1], film).json()["state"] == "open"
        assert put(there, parts[0], film).json()["received_bytes"] == LONG
        assert (listed(http, row), http.get(row["links"]["self"]).json()["received_bytes"]) == ([], LONG)
        sha256 = hashlib.sha256(film).hexdigest()
        done = http.post(row["links"]["finish"], json={"sha256": sha256})
        assert (done.status_code, done.json()["state"], done.json()["sha256"]) == (200, "ready", sha256), done.text
        assert (done.json()["media"]["frames"], done.json()["links"].keys()) == (75, {"self"})
        assert there.post(row["links"]["finish"], json={}).json()["state"] == "ready"
        is_problem(put(there, parts[0], film), 409, "ready", "begin a new one")
        assert http.delete(row["links"]["self"]).status_code == 204
        is_problem(put(there, parts[0], film), 404)
    clear(cut.db, cut.server.places)
    assert files(cut) == []


@pytest.mark.heavy
def test_a_part_that_broke_off_is_asked_for_again(cut: House, film: bytes) -> None:
    with cut.http() as http:
        row = begun(http, film)
        part = listed(http, row)[0]
        assert put(http, part, film).status_code == 200
        with socket.create_connection(("127.0.0.1", cut.server.port)) as line:
            told = f"PUT {part['url']} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {cut.secret}\r\n"
            line.sendall(f"{told}Content-Length: {PART_BYTES}\r\n\r\n".encode() + bytes(3 << 20))
            wait_for(lambda: listed(http, row)[0]["number"] == 1)
            assert http.post(row["links"]["finish"], json={}).status_code == 409
        is_problem(http.put(part["url"], content=film[:1000]), 422, "1000 bytes of part 1", f"all {PART_BYTES} bytes")
        with socket.create_connection(("127.0.0.1", cut.server.port)) as line:
            line.sendall(f"{told}Content-Length: {PART_BYTES}\r\n\r\n".encode() + bytes(1 << 20))
            assert line.recv(100).startswith(b"HTTP/1.1 408 "), "who says no more is let go"
        for one in listed(http, row):
            assert put(http, one, film).status_code == 200
        whole = http.post(row["links"]["finish"], json={"sha256": hashlib.sha256(film).hexdigest()})
        assert whole.json()["state"] == "ready", whole.text
    assert files(cut).count(row["id"]) == 1
    assert f"{row['id']}.parts" not in files(cut)


def test_marks_are_there_before_anybody_looks_for_them(
    cut: House, film: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that shares the folder would remember for a while that they were not."""
    with cut.http() as http:
        marks = f"{announced(http, LONG)['id']}.parts"
        assert marks in files(cut)
        row = begun(http, film)
        part = listed(http, row)[2]
        assert put(http, part, film).json()["received_bytes"] == 1000
        Path(f"{uploads.get(cut.db, 'studio', row['id']).place}.parts").unlink()
        assert len(listed(http, row)) == 3, "no marks are no parts"
        assert put(http, part, film).json()["received_bytes"] == 1000
    monkeypatch.setattr(clearing, "UPLOAD_MS", -3_600_000)  # all that came to no end is abandoned
    clear(cut.db, cut.server.places)
    assert not {marks, row["id"], f"{row['id']}.parts"} & set(files(cut))


@pytest.mark.parametrize("refused", [False, True])
def test_an_announcement_that_is_over_before_its_answer_leaves_nothing(
    cut: House, monkeypatch: pytest.MonkeyPatch, refused: bool
) -> None:
    plain, ids, key = Folders.begin, list[str](), {"Idempotency-Key": f"over-{refused}"}

    def begin(self: Folders, place: str) -> str:
        ids.append(Path(place).name)
        if len(ids) == 1:
            with cut.http() as again:
                if refused:
                    is_problem(head(again, again.post("/v1/uploads", json=FILM, headers=key).json(), bytes(LONG)), 422)
                else:
                    assert again.delete(f"/v1/uploads/{ids[0]}").status_code == 204
            clear(cut.db, cut.server.places)
        return plain(self, place)

    monkeypatch.setattr(Folders, "begin", begin)
    with cut.http() as http:
        assert http.post("/v1/uploads", json=FILM, headers=key).status_code == (201 if refused else 503)
    assert not [name for name in files(cut) if name.startswith(ids[0])]


def test_a_second_copy_that_breaks_off_before_its_first_byte_changes_nothing(cut: House, film: bytes) -> None:
    with cut.http() as http:
        row = begun(http, film)
        parts = listed(http, row)
        for part in parts:
            assert put(http, part, film).status_code == 200
        line, said = asking(cut, parts[0]["url"], PART_BYTES)
        assert said == b"HTTP/1.1 100", "the service has the upload open"
        assert listed(http, row) == []
        line.close()
        assert listed(http, row) == []
        is_problem(http.put(parts[0]["url"], content=film[: 2 << 20]), 422, f"{2 << 20} bytes of part 1")
        assert [part["number"] for part in listed(http, row)] == [1], "what was begun is to come again"
        assert put(http, parts[0], film).status_code == 200
        wait_for(lambda: http.post(row["links"]["finish"], json={}).json()["state"] != "open")
        assert http.get(row["links"]["self"]).json()["sha256"] == hashlib.sha256(film).hexdigest()


def test_what_is_written_of_an_upload_that_is_refused_meanwhile_goes(cut: House, film: bytes) -> None:
    with cut.http() as http:
        row = uploads.get(cut.db, "studio", begun(http, film)["id"])
    *writers, late = (PartFile(cut.db, row, part) for part in parts_of(LONG))
    with ExitStack() as over:
        for writer in (*writers, late):
            over.callback(writer.close)
        for writer in writers:
            writer.open()
            writer.write(film[:1000])
        uploads.refuse(cut.db, "studio", row.id, NO_FILM)
        clear(cut.db, cut.server.places)
        with pytest.raises(Conflict, match="takes no parts"):
            late.open()
        assert not [name for name in files(cut) if name.startswith(row.id)], "of one that comes late"
        for writer in writers:
            writer.write(film[:1000])
            with pytest.raises(Conflict, match="refused"):
                writer.whole()
            assert not [name for name in files(cut) if name.startswith(row.id)], "of those that had it open"


def test_a_file_that_is_ready_stays_whoever_still_writes(cut: House, film: bytes) -> None:
    """As where a share forgets the locks of a machine that was away."""
    with cut.http() as http:
        row = uploads.get(cut.db, "studio", begun(http, film)["id"])
    writer, late, _ = (PartFile(cut.db, row, part) for part in parts_of(LONG))
    with ExitStack() as over:
        over.callback(writer.close)
        over.callback(late.close)
        writer.open()
        writer.write(film[:PART_BYTES])
        uploads.finish(cut.db, "studio", row.id, size_bytes=LONG, sha256="0" * 64, media={})
        with pytest.raises(Conflict, match="ready"):
            writer.whole()
        with pytest.raises(Conflict, match="no parts any more"):
            late.open()
        assert row.id in files(cut)


def test_five_uploads_of_a_tenant_go_at_once_through_a_replica(tmp_path: Path, film: bytes) -> None:
    from farm.api.ingress import Args, settings_of  # noqa: PLC0415 - loads Ray Serve

    places = ServicePlaces(tmp_path / "data")
    places.make()
    there = settings_of(Args(data=str(places.root)), places)
    told = {name: getattr(there, name) for name in ("in_parts", "uploads", "uploads_a_tenant")}
    with studio(places.root, tmp_path, **told) as house, house.http() as http, ExitStack() as lines:
        said = []
        for _ in range(5):
            row = announced(http, PARTS_AT_ONCE * PART_BYTES)
            assert head(http, row, film).status_code == 200
            for part in listed(http, row):
                line, answer = asking(house, part["url"], PART_BYTES)
                lines.enter_context(line)
                said.append(answer)
        assert said == [b"HTTP/1.1 100"] * (5 * PARTS_AT_ONCE)


@pytest.mark.heavy
def test_nothing_is_put_together_while_a_part_is_written(cut: House, film: bytes) -> None:
    with cut.http() as http:
        row = begun(http, film)
        for one in listed(http, row):
            put(http, one, film)
        place = uploads.get(cut.db, "studio", row["id"]).place
        with Path(place).open("rb+") as writing:
            fcntl.flock(writing, fcntl.LOCK_SH)
            waits = http.post(row["links"]["finish"], json={})
            assert (waits.status_code, waits.json()["state"], waits.headers["Retry-After"]) == (202, "open", "2")
        with Path(place).open("rb+") as joining:
            fcntl.flock(joining, fcntl.LOCK_EX)
            is_problem(http.put(f"/v1/uploads/{row['id']}/parts/3", content=film[-1000:]), 409, "put together")
        wrong = {"sha256": "0" * 64}
        for _ in range(2):
            is_problem(http.post(row["links"]["finish"], json=wrong), 422, "another SHA-256")


def test_what_is_no_part_is_refused(cut: House, film: bytes) -> None:
    stranger = cut.key("stranger")
    reader = cut.key("studio", ("jobs:read",))
    with cut.http() as http, cut.http(stranger) as other, cut.http(reader) as poor:
        row = begun(http, film)
        here = f"/v1/uploads/{row['id']}/parts"
        last = film[-1000:]
        is_problem(httpx.put(f"{cut.server.url}{here}/3", content=last), 401)
        is_problem(other.put(f"{here}/3", content=last), 404, "no such upload")
        is_problem(poor.put(f"{here}/3", content=last), 403, "scope")
        is_problem(http.put(f"{here}/4", content=last), 404, "no such part", "`parts`")
        for wrong in ("0", "-1", str(MOST_PARTS + 1), "x", "3.5"):
            is_problem(http.put(f"{here}/{wrong}", content=last), 422)
        for more in ({"content": last + b"x"}, {"content": iter([last, b"x"])}):
            is_problem(http.put(f"{here}/3", **more), 413, "part 3 has 1000 bytes", "a part at a time")
        is_problem(http.put(f"{here}/3", content=iter([last[:-1]])), 422, "999 bytes of part 3")
        assert len(listed(http, row)) == 3
        is_problem(http.put(f"/v1/uploads/{row['id']}/data", content=b"x"), 409, "in parts", "`parts` lists")
        small = announced(http, PART_BYTES)
        assert set(small["links"]) == {"self", "data"}
        is_problem(http.put(f"/v1/uploads/{small['id']}/parts/1", content=b"x"), 409, "sent as it is")
        for whole in ({"content": bytes(PART_BYTES + 1)}, {"content": iter([film[:PART_BYTES], b"x"])}):
            is_problem(http.put(small["links"]["data"], **whole), 413, "longer than", "in parts: `head`, `parts`")
        assert http.delete(f"/v1/uploads/{small['id']}").status_code == 204
        no_film = announced(http, LONG)
        is_problem(head(http, no_film, b"#EXTM3U\n" + bytes(HEAD_BYTES)), 422, "is not a film")
        is_problem(http.put(f"/v1/uploads/{no_film['id']}/parts/1", content=film[:PART_BYTES]), 409, "refused")


@pytest.mark.heavy
def test_an_announcement_that_is_repeated_and_what_is_small(cut: House, film: bytes, clips: Path) -> None:
    body = {"purpose": "target", "name": "film.m4v", "size_bytes": len(film)}
    with cut.http() as http:
        rows = [http.post("/v1/uploads", json=body, headers={"Idempotency-Key": "k"}).json() for _ in range(2)]
        assert rows[0] == rows[1]
        part = listed(http, begun(http, film))[0]
        assert put(http, part, film).status_code == 200
        assert sent(http, "target", "short.m4v", film_bytes(clips))["state"] == "ready"
        left = part["url"].split("/")[3]
        assert {left, f"{left}.parts"} <= set(files(cut))
        assert http.delete(f"/v1/uploads/{left}").status_code == 204
    clear(cut.db, cut.server.places)
    assert not {left, f"{left}.parts"} & set(files(cut))


def test_the_client_sends_in_parts(cut: House, film: bytes, tmp_path: Path) -> None:
    file = tmp_path / "film.m4v"
    file.write_bytes(film)
    told: list[tuple[int, int]] = []
    with Farm(cut.server.url, cut.secret) as farm:
        row = farm.upload(file, told=lambda here, size: told.append((here, size)))
    assert (row.state, row.sha256, told[-1]) == ("ready", hashlib.sha256(film).hexdigest(), (LONG, LONG))


@pytest.mark.heavy
def test_the_client_that_awaits_sends_in_parts(cut: House, film: bytes, tmp_path: Path) -> None:
    file = tmp_path / "film.m4v"
    file.write_bytes(film)

    async def sent_too() -> UploadView:
        async with AsyncFarm(cut.server.url, cut.secret) as farm:
            return await farm.upload(file)

    row = asyncio.run(sent_too())
    assert (row.state, row.sha256) == ("ready", hashlib.sha256(film).hexdigest())
