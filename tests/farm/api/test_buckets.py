"""The service with its files in a bucket: parts that go straight there, results that come from there, and erasure."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import InputError
from farm.api import buckets
from farm.api.app import secret_of
from farm.api.buckets import READS, READS_A_TENANT, SENDS_A_TENANT, SOON, Buckets, soon
from farm.api.embedded import ServeSpec, database_of, first_key
from farm.api.parting import HEAD_BYTES, MOST_PARTS, PART_BYTES, part_of, parts_of
from farm.client import AsyncFarm, Farm
from farm.paths import place
from farm.service import keys, uploads
from farm.service.clearing import clear
from farm.service.database import open_database
from farm.service.places import ServicePlaces
from farm.settings import Settings
from farm.store.s3path import ObjectPath
from tests.farm.api.bucket_steps import BUCKET, ROOT, announced, begun, head, listed, long_film, put, unfinished
from tests.farm.api.conftest import House
from tests.farm.api.flows import film_bytes, picture_bytes
from tests.farm.api.test_calls import is_problem
from tests.farm.s3_proxy import Exchange, proxy
from tests.farm.service.farmhouse import submit
from tests.farm.service.running import Farm as Works
from tests.farm.service.running import wait_for

BOUND_S = 15.0
THREADS = 45  # anyio has 40 for all calls


def test_parts_cover_every_file_once_and_are_no_more_than_s3_takes() -> None:
    for size in (1, PART_BYTES, PART_BYTES + 1, 3 * PART_BYTES, MOST_PARTS * PART_BYTES + 1, 5 << 40):
        parts = parts_of(size)
        assert [part.first for part in parts] == list(accumulate((part.size for part in parts), initial=0))[:-1]
        assert sum(part.size for part in parts) == size
        assert [part.number for part in parts] == list(range(1, len(parts) + 1))
        assert len(parts) <= MOST_PARTS
        assert all(part.size == parts[0].size for part in parts[:-1])


@given(
    size=st.integers(0, 40 * PART_BYTES) | st.integers(MOST_PARTS * PART_BYTES - 9, MOST_PARTS * PART_BYTES + 9),
    number=st.integers(-2, 45) | st.integers(MOST_PARTS - 9, MOST_PARTS + 9),
)
@settings(deadline=None)
def test_one_part_is_that_of_the_list(size: int, number: int) -> None:
    whole = {part.number: part for part in parts_of(size)}
    assert part_of(size, number) == whole.get(number)


def test_an_upload_in_parts_is_gone_on_with_and_looked_at(far: House, store: Any, clips: Path) -> None:
    data = long_film(clips, 2 * PART_BYTES + 1000)
    with far.http() as http:
        row = announced(http, len(data))
        assert (row["part_bytes"], set(row["links"])) == (PART_BYTES, {"self", "head", "parts", "finish"})
        for early in (row["links"]["parts"], row["links"]["finish"]):
            is_problem(http.post(early), 409, "how this file begins", f"its first {HEAD_BYTES} bytes")
        is_problem(http.put(row["links"]["head"], content=data[:10]), 422, "10 bytes came", f"first {HEAD_BYTES}")
        row = begun(http, data)
        assert (row["head_bytes"], set(row["links"])) == (None, {"self", "parts", "finish"})
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


def test_what_begins_as_nothing_the_farm_takes_is_refused_before_any_of_it_is_in_the_bucket(
    far: House, store: Any, tmp_path: Path
) -> None:
    cases = [
        ("target", b"#EXTM3U\n/etc/passwd\n" + bytes(3 * HEAD_BYTES), "is not a film"),
        ("target", b"\x89PNG\r\n\x1a\n" + bytes(50), "is not a film"),
        ("reference", b"\0\0\0\x18ftypisom" + bytes(5000), "is not a picture"),
        ("source", b"%PDF-1.7" + bytes(5000), "is neither a picture nor a film"),
    ]
    with far.http() as http, Farm(far.server.url, far.secret, tries=2) as farm:
        for purpose, data, words in cases:
            row = announced(http, len(data), purpose)
            for _ in range(2):  # also where the answer was lost
                is_problem(head(http, row, data), 422, words, "send")
            known = http.get(row["links"]["self"]).json()
            assert (known["state"], known["problem"]["detail"]) == ("refused", words)
            assert known["links"].keys() == {"self"}
            is_problem(http.post(row["links"]["parts"]), 409, "refused")
            is_problem(http.post(row["links"]["finish"], json={}), 422, words)
        file = tmp_path / "film.m4v"
        file.write_bytes(cases[0][1])
        with pytest.raises(InputError, match="is not a film"):
            farm.upload(file)
        assert http.get("/v1/me").json()["use"]["stored_bytes"] == 0
    clear(far.db, far.server.places)
    assert (unfinished(store), [key for key in listed(store) if "/uploads/" in key]) == ([], [])


@pytest.mark.heavy
def test_a_file_that_begins_otherwise_than_was_shown_is_refused(far: House, store: Any, clips: Path) -> None:
    """Also where both begin as films do: nothing else than what was seen is looked at further."""
    del store
    film = film_bytes(clips)
    other = film[:100] + bytes([film[100] ^ 1]) + film[101:]
    with far.http() as http:
        row = announced(http, len(film))
        for _ in range(2):
            assert head(http, row, film).status_code == 200
        is_problem(head(http, row, other), 409, "began with other bytes", "begin another")
        put(http.post(row["links"]["parts"]).json()["items"][0], other)
        is_problem(http.post(row["links"]["finish"], json={}), 422, "other bytes than were sent")
        is_problem(head(http, row, film), 422, "other bytes than were sent")


@pytest.mark.heavy
def test_the_first_bytes_are_no_way_to_send_much(far: House, house: House, clips: Path) -> None:
    film = film_bytes(clips)
    with far.http() as http:
        row = announced(http, 1 << 30)
        for more in ({"content": bytes((1 << 20) + 1)}, {"content": iter([bytes(1 << 19)] * 4)}):
            is_problem(http.put(row["links"]["head"], **more), 413)
    with house.http() as http:
        row = announced(http, len(film))
        assert (row["head_bytes"], set(row["links"])) == (None, {"self", "data"})
        is_problem(http.put(f"/v1/uploads/{row['id']}/head", content=film[:10]), 409, "sent as it is")


@pytest.mark.heavy
def test_what_came_is_refused_where_it_is_not_what_was_sent_or_no_film(
    far: House, store: Any, clips: Path, tmp_path: Path
) -> None:
    film, picture = film_bytes(clips), picture_bytes(tmp_path)
    wrong = "0" * 64
    cases: list[tuple[str, bytes, str | None, str]] = [
        ("target", film, wrong, "another SHA-256"),
        ("target", film[:600], None, "film.m4v"),
        ("source", b"\x89PNG\r\n\x1a\n" + bytes(50), None, "image"),
    ]
    with far.http() as http:
        for purpose, data, sha256, words in cases:
            row = begun(http, data, purpose)
            put(http.post(row["links"]["parts"]).json()["items"][0], data)
            for _ in range(2):
                is_problem(http.post(row["links"]["finish"], json={"sha256": sha256}), 422, words)
            assert http.get(row["links"]["self"]).json()["state"] == "refused"
        row = begun(http, picture, "source", "face.png")
        put(http.post(row["links"]["parts"]).json()["items"][0], picture)
        media = http.post(row["links"]["finish"]).json()["media"]
        assert media == {"kind": "picture", "width": 48, "height": 64}
    clear(far.db, far.server.places)
    assert [key for key in listed(store) if "/uploads/" in key] == [f"state/service/uploads/studio/{row['id']}"]


def test_an_upload_that_is_removed_leaves_nothing_in_the_bucket(far: House, store: Any, clips: Path) -> None:
    data = film_bytes(clips)
    with far.http() as http:
        row = begun(http, data)
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
        row = begun(http, data)
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


def test_uploads_into_a_bucket_that_does_not_answer_keep_few_waiting(
    far: House, store: Any, s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of more calls than there are threads, those that ask the bucket wait for a turn, or are refused; all others are
    answered."""
    go_on, asked = threading.Event(), threading.Semaphore(0)
    monkeypatch.setattr(buckets, "WAIT_S", 0.2)

    def hold(exchange: Exchange) -> None:
        del exchange
        asked.release()
        go_on.wait(BOUND_S)

    with proxy(s3, hold) as address, far.http() as http, ThreadPoolExecutor(THREADS) as threads:
        row = announced(http, 1 << 20)
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        try:
            calls = [threads.submit(http.get, row["links"]["self"]) for _ in range(THREADS)]
            for _ in range(SENDS_A_TENANT):
                assert asked.acquire(timeout=BOUND_S)
            assert httpx.get(f"{far.server.url}/v1/me", headers=http.headers, timeout=BOUND_S / 3).status_code == 200
            assert not asked.acquire(blocking=False), "the others wait without a thread"
        finally:
            go_on.set()
        assert {one.result(BOUND_S).status_code for one in calls} == {200, 429}
        assert len(unfinished(store)) == 1


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
