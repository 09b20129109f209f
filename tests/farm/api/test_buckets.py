"""The service with its files in a bucket: parts that go straight there, results that come from there, and erasure."""

from __future__ import annotations

import asyncio
import hashlib
import struct
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest

from core.errors import InputError
from farm.api.app import secret_of
from farm.api.buckets import READS, READS_A_TENANT, SOON, Buckets, soon
from farm.api.context import ApiSettings
from farm.api.embedded import ServeSpec, database_of, first_key
from farm.api.parting import MOST_PARTS, PART_BYTES, parts_of
from farm.client import AsyncFarm, Farm
from farm.paths import place
from farm.service import keys, uploads
from farm.service.clearing import clear
from farm.service.database import open_database
from farm.service.places import ServicePlaces
from farm.settings import Settings
from farm.store.s3path import ObjectPath
from tests.farm.api.conftest import ALL, House, Server
from tests.farm.api.flows import film_bytes, picture_bytes
from tests.farm.api.test_calls import is_problem
from tests.farm.s3_proxy import Exchange, proxy
from tests.farm.service.farmhouse import submit
from tests.farm.service.running import Farm as Works
from tests.farm.service.running import wait_for

BOUND_S = 15.0
BUCKET, ROOT = "films", "s3://films/state/service"


@pytest.fixture
def store(s3: str) -> Iterator[Any]:
    """A client of the bucket that the service keeps its files in."""
    client = boto3.session.Session().client("s3")
    client.create_bucket(Bucket=BUCKET)
    yield client
    for entry in listed(client):
        client.delete_object(Bucket=BUCKET, Key=entry)
    client.delete_bucket(Bucket=BUCKET)


@pytest.fixture
def far(store: Any, tmp_path: Path) -> Iterator[House]:
    """A service whose root is in the bucket."""
    with open_database(f"sqlite:///{tmp_path}/farm.db") as db:
        places = ServicePlaces(place(ROOT))
        places.make()
        settings = ApiSettings(secret=secret_of(places), poll_s=0.05, keep_alive_s=1.0, silence_s=5.0)
        server = Server(db, places, settings)
        keys.make_tenant(db, "Studio", tenant_id="studio")
        try:
            yield House(server, "studio", keys.make_key(db, "studio", "test", ALL).secret)
        finally:
            server.stop()


def listed(client: Any) -> list[str]:
    return [entry["Key"] for entry in client.list_objects_v2(Bucket=BUCKET).get("Contents", [])]


def unfinished(client: Any) -> list[str]:
    return [entry["Key"] for entry in client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])]


def long_film(clips: Path, size: int) -> bytes:
    """A film of `size` bytes: what is too much is in a box that says nothing."""
    film = film_bytes(clips)
    return film + struct.pack(">I4s", size - len(film), b"free") + bytes(size - len(film) - 8)


def announced(http: httpx.Client, size: int, purpose: str = "target", name: str = "film.m4v") -> dict[str, Any]:
    answer = http.post("/v1/uploads", json={"purpose": purpose, "name": name, "size_bytes": size})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def put(part: dict[str, Any], data: bytes) -> None:
    """A part, as any program puts it: the bucket is sent no key of ours."""
    first, size = part["first_byte"], part["size_bytes"]
    assert httpx.put(part["url"], content=data[first : first + size], timeout=60).status_code == 200


def test_parts_cover_every_file_once_and_are_no_more_than_s3_takes() -> None:
    for size in (1, PART_BYTES, PART_BYTES + 1, 3 * PART_BYTES, MOST_PARTS * PART_BYTES + 1, 5 << 40):
        parts = parts_of(size)
        assert [part.first for part in parts] == list(accumulate((part.size for part in parts), initial=0))[:-1]
        assert sum(part.size for part in parts) == size
        assert [part.number for part in parts] == list(range(1, len(parts) + 1))
        assert len(parts) <= MOST_PARTS
        assert all(part.size == parts[0].size for part in parts[:-1])


def test_an_upload_in_parts_is_gone_on_with_and_looked_at(far: House, store: Any, clips: Path) -> None:
    data = long_film(clips, 2 * PART_BYTES + 1000)
    with far.http() as http:
        row = announced(http, len(data))
        assert (row["part_bytes"], set(row["links"])) == (PART_BYTES, {"self", "parts", "finish"})
        is_problem(http.put(f"/v1/uploads/{row['id']}/data", content=data[:10]), 409, "parts")
        first = http.post(row["links"]["parts"], params={"limit": 1}).json()
        rest = http.post(row["links"]["parts"], params={"cursor": first["next"]}).json()
        assert [part["number"] for part in first["items"] + rest["items"]] == [1, 2, 3]
        assert "content-length" in first["items"][0]["url"]
        put(rest["items"][0], data)
        is_problem(http.post(row["links"]["finish"], json={}), 409, "2 of 3 parts", "the first is 1")
        left = http.post(row["links"]["parts"]).json()
        assert ([part["number"] for part in left["items"]], left["received_bytes"]) == ([1, 3], PART_BYTES)
        assert http.get(row["links"]["self"]).json()["received_bytes"] == PART_BYTES
        for part in left["items"]:
            put(part, data)
        sha256 = hashlib.sha256(data).hexdigest()
        done = http.post(row["links"]["finish"], json={"sha256": sha256})
        assert (done.status_code, done.json()["state"], done.json()["sha256"]) == (200, "ready", sha256), done.text
        assert (done.json()["media"]["frames"], done.json()["links"].keys()) == (75, {"self"})
        again = http.post(row["links"]["finish"], json={})
        assert (again.status_code, again.json()["state"]) == (200, "ready")
        is_problem(http.post(row["links"]["parts"]), 409, "ready")
    assert listed(store).count(f"state/service/uploads/studio/{row['id']}") == 1


@pytest.mark.heavy
def test_what_came_is_refused_where_it_is_not_what_was_sent_or_no_film(
    far: House, store: Any, clips: Path, tmp_path: Path
) -> None:
    film, picture = film_bytes(clips), picture_bytes(tmp_path)
    wrong = "0" * 64
    cases: list[tuple[str, bytes, str | None, str]] = [
        ("target", film, wrong, "another SHA-256"),
        ("target", b"#EXTM3U\n/etc/passwd\n", None, "not a film"),
        ("target", film[:600], None, "film.m4v"),
        ("reference", film, None, "not a picture"),
        ("source", b"\x89PNG\r\n\x1a\n" + bytes(50), None, "image"),
    ]
    with far.http() as http:
        for purpose, data, sha256, words in cases:
            row = announced(http, len(data), purpose)
            put(http.post(row["links"]["parts"]).json()["items"][0], data)
            for _ in range(2):
                is_problem(http.post(row["links"]["finish"], json={"sha256": sha256}), 422, words)
            assert http.get(row["links"]["self"]).json()["state"] == "refused"
        row = announced(http, len(picture), "source", "face.png")
        put(http.post(row["links"]["parts"]).json()["items"][0], picture)
        media = http.post(row["links"]["finish"]).json()["media"]
        assert media == {"kind": "picture", "width": 48, "height": 64}
    clear(far.db, far.server.places)
    assert [key for key in listed(store) if "/uploads/" in key] == [f"state/service/uploads/studio/{row['id']}"]


def test_an_upload_that_is_removed_leaves_nothing_in_the_bucket(far: House, store: Any, clips: Path) -> None:
    data = film_bytes(clips)
    with far.http() as http:
        row = announced(http, len(data))
        part = http.post(row["links"]["parts"]).json()["items"][0]
        put(part, data)
        assert len(unfinished(store)) == 1
        assert http.delete(row["links"]["self"]).status_code == 204
        is_problem(http.post(row["links"]["finish"], json={}), 404)
    clear(far.db, far.server.places)
    assert unfinished(store) == []
    assert not httpx.put(part["url"], content=data).is_success


@pytest.mark.heavy
def test_who_dies_while_looking_is_followed_by_the_next_who_is_asked(far: House, clips: Path) -> None:
    data = film_bytes(clips)
    with far.http() as http:
        row = announced(http, len(data))
        put(http.post(row["links"]["parts"]).json()["items"][0], data)
        known = uploads.get(far.db, "studio", row["id"])
        Buckets().finish(known.place, known.upload_ref, len(data))
        uploads.whole(far.db, "studio", row["id"], known.upload_ref)
        assert uploads.claim_look(far.db, "studio", row["id"])
        assert not uploads.claim_look(far.db, "studio", row["id"]), "somebody looks"
        uploads.give_up_look(far.db, "studio", row["id"])
        assert http.post(row["links"]["finish"], json={}).json()["state"] == "ready"


@pytest.mark.heavy
def test_a_job_from_the_client_through_the_bucket_and_gone(far: House, store: Any, clips: Path, tmp_path: Path) -> None:
    film = tmp_path / "film.m4v"
    film.write_bytes(long_film(clips, PART_BYTES + 1000))
    told: list[tuple[int, int]] = []
    works = Works(far.db, far.server.places, Settings(cores=2, model_cache=tmp_path))
    with Farm(far.server.url, far.secret) as farm, works.working():
        row = farm.upload(film, told=lambda sent, size: told.append((sent, size)))
        assert (row.state, told[-1]) == ("ready", (film.stat().st_size, film.stat().st_size))
        job = farm.submit_body({"target": {"upload": row.id}, "swapper": "none", "output": "out name.m4v"})
        wait_for(lambda: farm.job(job.id).finished is not None)
        assert farm.job(job.id).state == "succeeded", farm.job(job.id).problem
        out = farm.download(job.id, tmp_path / "out.m4v")
        made = farm.job(job.id).result
        assert made is not None
        assert hashlib.sha256(out.read_bytes()).hexdigest() == made.sha256
        with far.http() as http:
            link = http.get(f"/v1/jobs/{job.id}/result", params={"redirect": False}).json()
            part = httpx.get(link["url"], headers={"Range": "bytes=10-19"})
            assert (part.status_code, part.content) == (206, out.read_bytes()[10:20])
            assert part.headers["content-disposition"] == "attachment; filename*=UTF-8''out%20name.m4v"
            assert part.headers["content-type"] == "video/mp4"
            still = http.get(f"/v1/jobs/{job.id}/preview.jpg", params={"side": "before", "width": 64})
            assert still.content[:3] == b"\xff\xd8\xff"
            assert "s3://" not in http.get(f"/v1/jobs/{job.id}/report").text
        farm.erase(job.id)
        wait_for(lambda: not [key for key in listed(store) if "/jobs/" in key or "/uploads/" in key])
    assert unfinished(store) == []


@pytest.mark.heavy
def test_the_client_that_awaits_sends_parts_too(far: House, clips: Path, tmp_path: Path) -> None:
    film = tmp_path / "film.m4v"
    film.write_bytes(long_film(clips, PART_BYTES + 1000))

    async def send() -> str:
        async with AsyncFarm(far.server.url, far.secret) as farm:
            return (await farm.upload(film)).sha256

    assert asyncio.run(send()) == hashlib.sha256(film.read_bytes()).hexdigest()


def test_the_page_may_talk_to_the_bucket_and_to_nobody_else(far: House, s3: str) -> None:
    policy = httpx.get(far.server.url).headers["content-security-policy"]
    assert f"connect-src 'self' {s3};" in policy


def test_secrets_of_the_service_are_kept_in_the_bucket_once(far: House, store: Any, tmp_path: Path) -> None:
    places = far.server.places
    assert secret_of(places) == secret_of(ServicePlaces(place(ROOT)))
    with open_database(f"sqlite:///{tmp_path}/other.db") as db:
        assert first_key(db, places, {"film_s": 60})
        assert not first_key(db, places, {})
        key = keys.check_key(db, places.secret("first-key") or "")
        assert (key.tenant, keys.tenant(db, "default").quota.film_s) == ("default", 60)


def test_a_root_that_cannot_be_is_told(s3: str, store: Any) -> None:
    with pytest.raises(InputError, match="no such bucket"):
        ServicePlaces(place("s3://nobody-made-this/x")).make()
    with pytest.raises(InputError, match="--database"):
        database_of(ServicePlaces(ServeSpec(place(ROOT)).data), "")


def test_a_bucket_that_does_not_answer_keeps_few_waiting(
    far: House, store: Any, s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks for what has nothing to do with it is answered."""
    job = submit(far.db, far.name).id
    cast = f"{far.server.places.cast_folder(job)}".removeprefix(f"s3://{BUCKET}/")
    store.put_object(Bucket=BUCKET, Key=f"{cast}/people/p1.jpg", Body=b"a picture")
    go_on, asked = threading.Event(), threading.Semaphore(0)

    def hold(exchange: Exchange) -> None:
        del exchange
        asked.release()
        go_on.wait(BOUND_S)

    with proxy(s3, hold) as address, far.http() as http, ThreadPoolExecutor(READS) as threads:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        try:
            where = f"/v1/jobs/{job}/cast/p1.jpg"
            pictures = [threads.submit(http.get, where) for _ in range(READS)]
            for _ in range(READS_A_TENANT):
                assert asked.acquire(timeout=BOUND_S)
            assert http.get("/v1/me").status_code == 200
            assert not asked.acquire(blocking=False), "the others wait without a thread"
        finally:
            go_on.set()
        assert {one.result(BOUND_S).content for one in pictures} == {b"a picture"}


def test_clients_of_a_bucket_wait_as_long_as_each_patience_says(store: Any) -> None:
    del store
    root = place(ROOT)
    assert isinstance(root, ObjectPath)
    patient = root.bucket._client().meta.config
    brief = (soon(root) / "a").bucket  # type: ignore[attr-defined]
    assert (patient.read_timeout, patient.connect_timeout) == (60.0, 10.0)
    assert brief._client().meta.config.read_timeout == SOON.read_s
    assert brief._client() is soon(root).bucket._client()  # type: ignore[attr-defined]
    assert brief.patience == SOON
