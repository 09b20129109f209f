"""Uploads: streamed, gone on with, refused early, looked at when whole."""

from __future__ import annotations

import hashlib
import io
import os
import socket
import time
from pathlib import Path

import httpx
import pytest
from PIL import Image

from farm.api import picture, receiving
from tests.farm.api.conftest import House
from tests.farm.api.flows import film_bytes, sent
from tests.farm.api.test_calls import is_problem

MIB = 1 << 20


def announced(http: httpx.Client, size: int, name: str = "film.mp4", purpose: str = "target") -> str:
    row = http.post("/v1/uploads", json={"purpose": purpose, "name": name, "size_bytes": size})
    assert row.status_code == 201
    return str(row.json()["id"])


def test_a_film_is_ready_with_its_hash_and_what_it_is(http: httpx.Client, clips: Path) -> None:
    data = film_bytes(clips)
    row = sent(http, "target", "film.mp4", data)
    assert (row["state"], row["sha256"]) == ("ready", hashlib.sha256(data).hexdigest())
    assert (row["media"]["kind"], row["media"]["width"], row["media"]["frames"]) == ("film", 128, 75)
    assert [one["id"] for one in http.get("/v1/uploads").json()["items"]] == [row["id"]]


def test_a_broken_upload_is_gone_on_with(house: House, http: httpx.Client, clips: Path) -> None:
    data = film_bytes(clips)
    upload = announced(http, len(data))
    half = len(data) // 2
    head = (
        f"PUT /v1/uploads/{upload}/data HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {house.secret}\r\n"
        f"Content-Length: {len(data)}\r\n"
    )
    here = 0
    while here < half:  # a client that dies in the middle; where it dies early, it comes back
        with socket.create_connection(("127.0.0.1", house.server.port)) as line:
            line.sendall(f"{head}Upload-Offset: {here}\r\n\r\n".encode() + data[here:half])
            time.sleep(0.3)
        time.sleep(0.1)
        here = http.get(f"/v1/uploads/{upload}").json()["received_bytes"]
    row = http.get(f"/v1/uploads/{upload}")
    assert row.headers["upload-offset"] == str(half)
    wrong = http.put(f"/v1/uploads/{upload}/data", content=data[:10], headers={"Upload-Offset": "5"})
    is_problem(wrong, 409, str(half))
    assert wrong.headers["upload-offset"] == str(half)
    done = http.put(f"/v1/uploads/{upload}/data", content=data[half:], headers={"Upload-Offset": str(half)})
    assert (done.status_code, done.json()["state"]) == (200, "ready")
    assert done.json()["sha256"] == hashlib.sha256(data).hexdigest()
    is_problem(http.put(f"/v1/uploads/{upload}/data", content=data), 409, "ready")


def test_what_is_no_film_is_refused_after_the_first_megabyte(house: House, http: httpx.Client) -> None:
    upload = announced(http, 64 * MIB)
    sent_bytes = 0
    with socket.create_connection(("127.0.0.1", house.server.port)) as line:
        head = (
            f"PUT /v1/uploads/{upload}/data HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {house.secret}\r\n"
            f"Content-Length: {64 * MIB}\r\n\r\n"
        )
        line.sendall(head.encode())
        line.settimeout(0.5)
        answer = b""
        while not answer and sent_bytes < 64 * MIB:
            try:
                sent_bytes += line.send(os.urandom(MIB // 4))
            except (BrokenPipeError, ConnectionResetError):
                break
            line.setblocking(False)
            try:
                answer = line.recv(65536)
            except BlockingIOError:
                answer = b""
            line.settimeout(0.5)
    assert sent_bytes < 32 * MIB
    row = http.get(f"/v1/uploads/{upload}").json()
    assert (row["state"], row["problem"]["detail"]) == ("refused", "is not a film")
    assert not house.server.places.upload(house.name, upload).exists()


def test_files_that_look_right_and_are_not_are_refused(http: httpx.Client, clips: Path) -> None:
    torn = film_bytes(clips)[:600]
    for name, purpose, data in (
        ("a.mp4", "target", torn),
        ("a.mp4", "target", b"#EXTM3U\n/etc/passwd\n"),
        ("a.png", "source", b"\x89PNG\r\n\x1a\n" + bytes(50)),
        ("a.png", "reference", film_bytes(clips)),
    ):
        upload = announced(http, len(data), name, purpose)
        is_problem(http.put(f"/v1/uploads/{upload}/data", content=data), 422, name)
        assert http.get(f"/v1/uploads/{upload}").json()["state"] == "refused"


def test_what_a_busy_machine_did_not_come_to_stays(
    http: httpx.Client, clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    face = io.BytesIO()
    Image.new("RGB", (40, 30)).save(face, "png")
    for purpose, data in (("target", film_bytes(clips)), ("source", face.getvalue())):
        upload = announced(http, len(data), "x", purpose)
        with monkeypatch.context() as busy:
            busy.setattr(receiving, "PROBE_S", 0.001)
            busy.setattr(picture, "CLOCK_S", 0.001)
            answer = http.put(f"/v1/uploads/{upload}/data", content=data)
        is_problem(answer, 503, "Upload-Offset")
        row = http.get(f"/v1/uploads/{upload}").json()
        assert (row["state"], row["received_bytes"]) == ("open", len(data))
        offset = {"Upload-Offset": answer.headers["upload-offset"]}
        row = http.put(f"/v1/uploads/{upload}/data", content=b"", headers=offset).json()
        assert (row["state"], row["sha256"]) == ("ready", hashlib.sha256(data).hexdigest())


def test_more_than_was_announced_is_refused(http: httpx.Client, clips: Path) -> None:
    data = film_bytes(clips)
    upload = announced(http, len(data) - 1)
    is_problem(http.put(f"/v1/uploads/{upload}/data", content=data), 422, "longer")


def test_sizes_and_names_are_checked_at_once(http: httpx.Client) -> None:
    for body in (
        {"purpose": "target", "name": "../x.mp4", "size_bytes": 5},
        {"purpose": "target", "name": "x\u0000.mp4", "size_bytes": 5},
        {"purpose": "target", "name": "", "size_bytes": 5},
        {"purpose": "target", "name": "x.mp4", "size_bytes": 0},
        {"purpose": "else", "name": "x.mp4", "size_bytes": 5},
    ):
        is_problem(http.post("/v1/uploads", json=body), 422)
    is_problem(
        http.post("/v1/uploads", json={"purpose": "target", "name": "x", "size_bytes": 2 << 30}), 422, "size_bytes"
    )


def test_two_senders_of_one_upload(house: House, http: httpx.Client, clips: Path) -> None:
    data = film_bytes(clips)
    upload = announced(http, len(data))
    with socket.create_connection(("127.0.0.1", house.server.port)) as line:
        head = f"PUT /v1/uploads/{upload}/data HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {house.secret}\r\n"
        line.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data[:100])
        while not house.server.places.upload(house.name, upload).exists():
            time.sleep(0.02)
        is_problem(http.put(f"/v1/uploads/{upload}/data", content=data), 409, "sent already")


def test_a_client_that_falls_silent_is_let_go(house: House, http: httpx.Client) -> None:
    upload = announced(http, 1000)
    for path, length in ((f"/v1/uploads/{upload}/data", 1000), ("/v1/jobs", 100)):
        with socket.create_connection(("127.0.0.1", house.server.port)) as line:
            verb = "POST" if path == "/v1/jobs" else "PUT"
            head = f"{verb} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {house.secret}\r\n"
            line.sendall(f"{head}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n".encode() + b"{")
            line.settimeout(20)
            assert b" 408 " in line.recv(4096).split(b"\r\n")[0]


def test_bodies_of_other_calls_are_small(http: httpx.Client) -> None:
    big = b'{"title": "' + b"x" * (2 * MIB) + b'"}'
    is_problem(http.post("/v1/jobs", content=big, headers={"Content-Type": "application/json"}), 413, "/v1/uploads")

    def drips() -> object:
        for _ in range(40):
            yield b" " * (MIB // 16)

    answer = http.post("/v1/jobs", content=drips(), headers={"Content-Type": "application/json"})  # type: ignore[arg-type]
    is_problem(answer, 413)


def test_a_call_that_takes_no_body_is_refused_with_one(http: httpx.Client) -> None:
    """Also with one that has no length, which would go on for as long as the call lasts."""
    for method, path in (("GET", "/v1/jobs"), ("DELETE", "/v1/jobs/job_x"), ("GET", "/")):
        for body in (b"x", iter([b"x" * MIB])):
            answer = http.request(method, path, content=body)
            is_problem(answer, 413, "send this call without a body")
            assert answer.headers["connection"] == "close"
    assert http.request("HEAD", "/v1/jobs", content=b"x").status_code == 413
    assert http.request("GET", "/v1/jobs", headers={"Content-Length": "0"}).status_code == 200
    assert http.request("GET", "/v1/jobs", content=iter([])).status_code == 200, "an empty one is none"
