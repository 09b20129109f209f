"""A file that goes into a bucket is announced again because nobody heard of the first time, which still goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from farm.api.buckets import Buckets
from farm.api.parting import PART_BYTES
from farm.service.clearing import clear
from farm.store.refusals import Broken
from tests.farm.api.bucket_steps import head, long_film, put, unfinished
from tests.farm.api.conftest import House
from tests.farm.api.test_calls import is_problem

KEY = {"Idempotency-Key": "one"}


def announce(http: httpx.Client, size: int) -> httpx.Response:
    body = {"purpose": "target", "name": "film.m4v", "size_bytes": size}
    return http.post("/v1/uploads", json=body, headers=KEY)


def at_first(monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], None], *, fails: bool = False) -> None:
    """The bucket lets the first announcement wait for as long as `meanwhile` takes."""
    plain, calls = Buckets.begin, [0]

    def begin(self: Buckets, place: str) -> str:
        calls[0] += 1
        if calls[0] == 1:
            meanwhile()
            if fails:
                raise Broken("S3 does not answer")
        return plain(self, place)

    monkeypatch.setattr(Buckets, "begin", begin)


@pytest.mark.parametrize("fails", [pytest.param(False, marks=pytest.mark.heavy), True])
def test_both_are_one_upload_and_what_came_stays(
    far: House, store: Any, clips: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    data = long_film(clips, PART_BYTES + 1000)
    with far.http() as http, far.http() as again:
        made: list[dict[str, Any]] = []

        def meanwhile() -> None:
            made.append(announce(again, len(data)).json())
            assert head(again, made[0], data).status_code == 200
            put(again.post(made[0]["links"]["parts"]).json()["items"][1], data)

        at_first(monkeypatch, meanwhile, fails=fails)
        first = announce(http, len(data))
        if fails:
            is_problem(first, 503)
        else:
            assert first.json()["id"] == made[0]["id"]
        assert len(unfinished(store)) == 1
        left = http.post(made[0]["links"]["parts"]).json()
        assert ([part["number"] for part in left["items"]], left["received_bytes"]) == ([1], 1000)
        assert http.get("/v1/me").json()["use"]["stored_bytes"] == len(data)


@pytest.mark.heavy
def test_one_that_was_given_up_meanwhile_is_to_be_announced_again(
    far: House, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with far.http() as http:

        def meanwhile() -> None:
            (row,) = http.get("/v1/uploads").json()["items"]
            assert http.delete(row["links"]["self"]).status_code == 204
            clear(far.db, far.server.places)

        at_first(monkeypatch, meanwhile)
        is_problem(announce(http, 1000), 503, "try again")
        assert unfinished(store) == []
        assert announce(http, 1000).status_code == 201
        assert http.get("/v1/me").json()["use"]["stored_bytes"] == 1000
