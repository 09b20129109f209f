"""Ranges of a result: those of RFC 9110, section 14, and a problem where the film ends before them."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.api.problems import Refused
from farm.api.ranges import MOST, wanted
from tests.farm.api.conftest import House
from tests.farm.api.flows import asked, film_bytes, finished, sent
from tests.farm.api.test_calls import is_problem


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ("bytes=0-9", "bytes=0-9"),
        ("BYTES= 0-9 , 20-", "bytes=0-9,20-"),
        ("bytes=-5", "bytes=-5"),
        ("bytes=-500", "bytes=-500"),
        ("bytes=99-,100-", "bytes=99-"),
        ("bytes=,5-5", "bytes=5-5"),
        ("bytes=5-2", None),
        ("bytes=0-1,5-2", None),
        ("bytes=", None),
        ("bytes=-", None),
        ("bytes=a-b", None),
        ("bytes", None),
        ("items=0-1", None),
        ("bytes=" + "0-1," * (MOST + 1), None),
    ],
)
def test_what_is_wanted_of_a_hundred_bytes(header: str, told: str | None) -> None:
    assert wanted(header, 100) == told


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=99999999999-", "bytes=-0", "bytes=200-300,100-100"])
def test_what_a_hundred_bytes_do_not_have(header: str) -> None:
    with pytest.raises(Refused) as refused:
        wanted(header, 100)
    assert (refused.value.status, refused.value.headers) == (416, {"Content-Range": "bytes */100"})


@given(header=st.text(st.sampled_from("bytes=0123456789-, "), max_size=30), size=st.integers(0, 99))
def test_nothing_else_comes_of_any_header(header: str, size: int) -> None:
    try:
        told = wanted(header, size)
    except Refused:
        return
    assert told is None or size


def test_a_film_in_ranges(house: House, http: httpx.Client, clips: Path) -> None:
    film = film_bytes(clips)
    job = asked(http, sent(http, "target", "film.mp4", film)["id"])["id"]
    finished(house, job, film)
    url = http.get(f"/v1/jobs/{job}/result", params={"redirect": False}).json()["url"]
    past = http.get(url, headers={"Range": "bytes=99999999999-"})
    is_problem(past, 416, "range")
    assert past.headers["content-range"] == f"bytes */{len(film)}"
    for header in ("bytes=5-2", "items=0-1", "bytes=x"):
        whole = http.get(url, headers={"Range": header})
        assert (whole.status_code, whole.content) == (200, film), header
    last = http.get(url, headers={"Range": "bytes=-5"})
    assert (last.status_code, last.content) == (206, film[-5:])
    two = http.get(url, headers={"Range": "bytes=0-1,8-9,99999999999-"})
    assert (two.status_code, two.headers["content-type"].partition(";")[0]) == (206, "multipart/byteranges")
    stale = http.get(url, headers={"Range": "bytes=99999999999-", "If-Range": '"another"'})
    assert (stale.status_code, stale.content) == (200, film)
