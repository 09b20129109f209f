"""The calls of the service over HTTP: what they answer, and what they say when they do not."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from farm.service import keys
from farm.service.ids import make_cursor
from farm.service.records import TenantQuota
from tests.farm.api.conftest import House
from tests.farm.api.flows import asked, film_bytes, finished, picture_bytes, sent, taken

PROBLEM = "application/problem+json"


def is_problem(answer: httpx.Response, status: int, *words: str) -> dict[str, object]:
    """A problem with this status, whose detail or next step holds the words."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == PROBLEM
    body: dict[str, object] = answer.json()
    assert body["status"] == status
    assert body["next_step"]
    for word in words:
        assert word in f"{body['detail']} {body['next_step']}", body
    return body


@pytest.fixture
def target(http: httpx.Client, clips: Path) -> str:
    return str(sent(http, "target", "film.mp4", film_bytes(clips))["id"])


def test_a_job_from_upload_to_result(house: House, http: httpx.Client, clips: Path, target: str) -> None:
    job = asked(http, target, title="One", labels={"shot": "12"})
    assert (job["state"], job["title"], job["labels"]) == ("queued", "One", {"shot": "12"})
    is_problem(http.get(f"/v1/jobs/{job['id']}/result"), 409, "queued", "wait")
    film = film_bytes(clips)
    finished(house, job["id"], film)
    done = http.get(f"/v1/jobs/{job['id']}").json()
    assert done["state"] == "succeeded"
    link = http.get(f"/v1/jobs/{job['id']}/result")
    assert link.status_code == 307
    with httpx.Client(base_url=house.server.url) as nobody:  # the link is the key
        assert nobody.get(link.headers["location"]).content == film
        part = nobody.get(link.headers["location"], headers={"Range": "bytes=10-19"})
        assert (part.status_code, part.content) == (206, film[10:20])
        is_problem(nobody.get(link.headers["location"][:-4] + "AAAA"), 404)
    report = http.get(f"/v1/jobs/{job['id']}/report").json()
    assert (report["target"], report["output"]) == ("film.mp4", "film.swapped.mp4")
    assert "/secret" not in http.get(f"/v1/jobs/{job['id']}/report").text
    for side in ("before", "after"):
        still = http.get(f"/v1/jobs/{job['id']}/preview.jpg", params={"side": side, "at": 1.0, "width": 64})
        assert (still.status_code, still.content[:3]) == (200, b"\xff\xd8\xff")
        stays_known(http, still)
    is_problem(http.post(f"/v1/jobs/{job['id']}/cancel"), 409, "has succeeded", "fetch its result")
    is_problem(http.get(f"/v1/jobs/{job['id']}/cast"), 409, "wait_for_cast")
    assert http.delete(f"/v1/jobs/{job['id']}").status_code == 204
    is_problem(http.get(f"/v1/jobs/{job['id']}"), 404)


def stays_known(http: httpx.Client, still: httpx.Response) -> None:
    """A picture of a film that stays what it is: whoever has it is not sent it again, and another frame is another."""
    tag, told = still.headers["etag"], still.headers
    assert (told["cache-control"], told["vary"]) == ("private, max-age=3600, immutable", "Authorization")
    for header in (tag, f'"x", {tag}', f"W/{tag}"):
        again = http.get(still.request.url, headers={"If-None-Match": header})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    for more in ({"at": 0.5}, {"width": 32}):
        other = http.get(still.request.url.copy_merge_params(more), headers={"If-None-Match": tag})
        assert (other.status_code, other.headers["etag"] != tag) == (200, True)


def test_the_same_submission_twice_is_one_job(http: httpx.Client, target: str) -> None:
    body = {"target": {"upload": target}, "swapper": "none"}
    first = http.post("/v1/jobs", json=body, headers={"Idempotency-Key": "k1"})
    again = http.post("/v1/jobs", json=body, headers={"Idempotency-Key": "k1"})
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json()["id"] == again.json()["id"]
    assert first.headers["location"].endswith(first.json()["id"])
    is_problem(http.post("/v1/jobs", json=body | {"title": "x"}, headers={"Idempotency-Key": "k1"}), 409)
    assert len(http.get("/v1/jobs").json()["items"]) == 1


def test_the_same_submission_is_its_job_when_its_film_is_gone(http: httpx.Client, clips: Path) -> None:
    film = sent(http, "target", "film.mp4", film_bytes(clips))["id"]
    body, headers = {"target": {"upload": film}, "swapper": "none"}, {"Idempotency-Key": "once"}
    job = http.post("/v1/jobs", json=body, headers=headers).json()["id"]
    http.post(f"/v1/jobs/{job}/cancel")
    assert http.delete(f"/v1/uploads/{film}").status_code == 204
    again = http.post("/v1/jobs", json=body, headers=headers)
    assert (again.status_code, again.json()["id"]) == (202, job)
    is_problem(http.post("/v1/jobs", json={**body, "title": "x"}, headers=headers), 409, "idempotency")
    is_problem(http.post("/v1/jobs", json=body), 404, "upload")


def test_the_key_of_a_job_that_is_being_erased_is_free(house: House, http: httpx.Client, clips: Path) -> None:
    film = sent(http, "target", "film.mp4", film_bytes(clips))["id"]
    body, headers = {"target": {"upload": film}, "swapper": "none"}, {"Idempotency-Key": "again"}
    job = http.post("/v1/jobs", json=body, headers=headers).json()["id"]
    taken(house, job)  # a coordinator works on it, and has yet to hear of the erasure
    assert http.delete(f"/v1/jobs/{job}").status_code == 204
    another = http.post("/v1/jobs", json=body, headers=headers)
    assert another.status_code == 202, another.text
    assert another.json()["id"] != job


def test_what_no_waiting_mends_is_not_told_to_wait(house: House, http: httpx.Client, target: str) -> None:
    keys.set_quota(house.db, house.name, TenantQuota(jobs_waiting=0))
    answer = http.post("/v1/jobs", json={"target": {"upload": target}, "swapper": "none"})
    assert str(is_problem(answer, 403, "jobs wait")["type"]).endswith("over-quota")
    assert "Retry-After" not in answer.headers


@pytest.mark.parametrize("last", ["x", "9" * 30, "-1", "1 ", "\u0663", "a\0b", ""])
def test_a_cursor_that_was_made_up_is_told(http: httpx.Client, target: str, last: str) -> None:
    job = asked(http, target)["id"]
    where, name = f"/v1/jobs/{job}/segments", f"segments {job} None"
    is_problem(http.get(where, params={"cursor": make_cursor(name, "render", last)}), 404, "cursor")
    assert http.get(where, params={"cursor": make_cursor(name, "render", "1")}).json()["items"] == []


def test_pages_hold_every_job_once(http: httpx.Client, target: str) -> None:
    made = [asked(http, target)["id"] for _ in range(7)]
    http.post(f"/v1/jobs/{made[0]}/cancel")
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = http.get("/v1/jobs", params={"limit": 3, **({"cursor": cursor} if cursor else {})}).json()
        seen += [job["id"] for job in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == made[::-1]
    only = http.get("/v1/jobs", params={"state": ["cancelled"]}).json()["items"]
    assert [job["id"] for job in only] == made[:1]
    is_problem(http.get("/v1/jobs", params={"cursor": "nonsense"}), 422, "cursor")


def test_asking_twice_is_asking_once(http: httpx.Client, target: str) -> None:
    job = asked(http, target)["id"]
    assert [http.post(f"/v1/jobs/{job}/pause").json()["state"] for _ in range(2)] == ["paused", "paused"]
    assert [http.post(f"/v1/jobs/{job}/resume").json()["state"] for _ in range(2)] == ["queued", "queued"]
    assert [http.post(f"/v1/jobs/{job}/cancel").json()["state"] for _ in range(2)] == ["cancelled", "cancelled"]
    assert [http.post(f"/v1/jobs/{job}/retry").json()["state"] for _ in range(2)] == ["queued", "queued"]
    assert [http.delete(f"/v1/jobs/{job}").status_code for _ in range(2)] == [204, 204]


def test_a_job_that_did_not_change_is_not_sent_again(http: httpx.Client, target: str) -> None:
    job = asked(http, target)["id"]
    tag = http.get(f"/v1/jobs/{job}").headers["etag"]
    assert http.get(f"/v1/jobs/{job}", headers={"If-None-Match": tag}).status_code == 304
    http.post(f"/v1/jobs/{job}/pause")
    assert http.get(f"/v1/jobs/{job}", headers={"If-None-Match": tag}).status_code == 200


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, ("target",)),
        ({"swappper": "mesh"}, ("swappper", "Extra")),
        ({"detect_every": "3"}, ("detect_every", "integer")),
        ({"detect_every": 0}, ("detect_every",)),
        ({"swapper": "magic"}, ("magic",)),
        ({"swapper": "mesh"}, ("source",)),
        ({"swap": {"boost": 2}}, ("swap.boost",)),
        ({"select": "reference"}, ("reference",)),
        ({"output": "film.xyz"}, ("film.xyz",)),
        ({"output": "../film.mp4"}, ("output",)),
        ({"segment_seconds": "soon"}, ("segment_seconds",)),
        ({"min_face": float("1e300")}, ("min_face",)),
        ({"target": {"upload": "upl_1", "url": "s3://a/b"}}, ("target",)),
        ({"target": {"url": "file:///etc/passwd"}}, ("target.url", "s3://")),
        ({"title": "x" * 300}, ("title",)),
        ({"labels": {"a/b": "c"}}, ("labels",)),
        ({"wait_for_cast": True}, ("cast",)),
        ({"encode": {"codec": "h264; rm"}}, ("codec",)),
    ],
)
def test_a_body_that_cannot_be_is_refused_by_name(
    http: httpx.Client, target: str, body: dict[str, object], words: tuple[str, ...]
) -> None:
    asked_for = {"target": {"upload": target}, "swapper": "none", **body} if body else {}
    is_problem(http.post("/v1/jobs", json=asked_for), 422, *words)


def test_an_integer_is_one_however_it_is_written(http: httpx.Client, target: str) -> None:
    asked(http, target, priority=7.0)
    body = {"target": {"upload": target}, "swapper": "none"}
    for priority in (7.5, "7", True):
        is_problem(http.post("/v1/jobs", json={**body, "priority": priority}), 422, "priority")
    not_text = http.post("/v1/jobs", content=b'{"a": "\xff"}', headers={"Content-Type": "application/json"})
    is_problem(not_text, 422, "UTF-8")


def test_places_that_the_operator_does_not_allow_are_refused(http: httpx.Client, target: str) -> None:
    for url in ("s3://other/film.mp4", "s3://other/../film.mp4"):
        is_problem(http.post("/v1/jobs", json={"target": {"url": url}, "swapper": "none"}), 403, "upload")
    for url in ("http://169.254.169.254/x.mp4", "file:///etc/passwd", "/etc/passwd"):
        is_problem(http.post("/v1/jobs", json={"target": {"url": url}, "swapper": "none"}), 422, "url")


def test_an_upload_that_is_gone_or_refused_makes_no_job(http: httpx.Client, clips: Path, tmp_path: Path) -> None:
    is_problem(http.post("/v1/jobs", json={"target": {"upload": "upl_none"}, "swapper": "none"}), 404)
    row = sent(http, "target", "film.mp4", film_bytes(clips))
    assert http.delete(f"/v1/uploads/{row['id']}").status_code == 204
    answer = http.post("/v1/jobs", json={"target": {"upload": row["id"]}, "swapper": "none"})
    assert answer.status_code in (404, 409)
    face = sent(http, "source", "face.png", picture_bytes(tmp_path))
    assert face["media"] == {"kind": "picture", "width": 48, "height": 64}
    is_problem(http.post("/v1/jobs", json={"target": {"upload": face["id"]}, "swapper": "none"}), 422, "picture")


def test_no_such_call(http: httpx.Client) -> None:
    is_problem(http.get("/v1/nothing"), 404)
    is_problem(http.put("/v1/jobs", json={}), 405)
    is_problem(http.post("/v1/jobs", content=b"{", headers={"Content-Type": "application/json"}), 422)
    is_problem(http.get("/v1/jobs/a%00b"), 422)
    is_problem(http.post("/v1/jobs", content=b"x", headers={"Content-Type": "text/plain"}), 415, "application/json")
    is_problem(http.post("/v1/jobs", content=b"nonsense", headers={"Content-Type": "application/json"}), 422, "no JSON")


def test_probes_need_no_key(house: House) -> None:
    with httpx.Client(base_url=house.server.url) as nobody:
        assert nobody.get("/healthz").json() == {"status": "ok"}
        assert nobody.get("/readyz").json() == {"status": "ok"}
        assert 'farm_service_jobs{state="assembling"} 0.0' in nobody.get("/metrics").text
        page = nobody.get("/")
        assert "<title>Face farm</title>" in page.text
        assert "script-src 'self'" in page.headers["content-security-policy"]
