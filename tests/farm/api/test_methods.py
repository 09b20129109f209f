"""Which methods a path has, told alike by 405, OPTIONS and HEAD; and HEAD as GET without its body."""

from __future__ import annotations

import re
from pathlib import Path

import httpx

from farm.api.app import make_app
from tests.farm.api.conftest import House
from tests.farm.api.flows import asked, film_bytes, finished, sent
from tests.farm.api.test_calls import is_problem

ALL = {"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"}


def allow(answer: httpx.Response) -> set[str]:
    return set(answer.headers["allow"].split(", "))


def test_every_path_tells_all_of_its_methods_and_no_others(house: House, http: httpx.Client) -> None:
    paths = make_app(house.db, house.server.places, house.server.settings).openapi()["paths"]
    for path, methods in {**paths, "/openapi.json": ["get"], "/": ["get"], "/index.html": ["get"]}.items():
        at = re.sub(r"\{\w+\}", "x1", path)
        own = {name.upper() for name in methods} | {"OPTIONS"}
        own |= {"HEAD"} if "GET" in own else set()
        told = http.options(at)
        assert (told.status_code, told.content, allow(told)) == (204, b"", own), path
        for method in ALL - own - {"HEAD"}:
            answer = http.request(method, at)
            is_problem(answer, 405, "Allow")
            assert allow(answer) == own, (method, path)


def test_nothing_is_nothing_whatever_is_asked_of_it(http: httpx.Client) -> None:
    for method in ALL - {"HEAD"}:
        for path in ("/v1/nope", "/v1/jobs/x/nope", "/nope.html", "/v1/jobs/"):
            answer = http.request(method, path)
            is_problem(answer, 404)
            assert "allow" not in answer.headers
    assert http.head("/v1/nope").status_code == 404


def test_what_is_answered_without_reading_a_body_ends_the_connection(http: httpx.Client) -> None:
    """Else one that has no end keeps it for good. A method that a path has not is told before a body that it takes."""
    told = {("DELETE", "/v1/jobs"): 405, ("TRACE", "/v1/jobs"): 405, ("GET", "/v1/nope"): 404, ("POST", "/nope"): 404}
    for (method, path), status in {**told, ("OPTIONS", "/v1/jobs"): 204, ("GET", "/v1/jobs"): 413}.items():
        for body in (b"x", iter([b"x" * 100])):
            answer = http.request(method, path, content=body)
            assert (answer.status_code, answer.headers.get("connection")) == (status, "close"), (method, path)
        assert ("allow" in answer.headers) == (status in {204, 405})
        assert http.request(method, path).headers.get("connection") != "close"


def test_head_is_get_without_its_body(house: House, http: httpx.Client, clips: Path) -> None:
    film = film_bytes(clips)
    job = asked(http, sent(http, "target", "film.mp4", film)["id"])["id"]
    stream = http.head(f"/v1/jobs/{job}/events")  # the job runs: the stream of GET has no end
    assert (stream.status_code, stream.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    finished(house, job, film)
    link = http.head(f"/v1/jobs/{job}/result")
    assert link.status_code == 307
    for path in ("/", "/openapi.json", "/healthz", f"/v1/jobs/{job}", link.headers["location"], "/v1/jobs/none"):
        whole, head = http.get(path), http.head(path)
        assert (head.status_code, head.content) == (whole.status_code, b""), path
        for name in ("content-type", "content-length", "etag"):
            assert head.headers.get(name) == whole.headers.get(name), (path, name)
    for ask in ({}, {"Range": "bytes=0-9"}, {"Range": f"bytes={len(film)}-"}, {"Range": "bytes=0-9", "If-Range": "x"}):
        head = http.head(link.headers["location"], headers=ask)
        assert (head.status_code, int(head.headers["content-length"])) == (200, len(film)), ask
    assert "farm_service_watchers 0.0" in http.get("/metrics").text, "the stream's maker has ended"
