"""Casts over HTTP: a face that is taken back is gone, and no text breaks the job's cast."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from farm.api.casts import PEOPLE
from farm.service import jobs
from tests.farm.api.conftest import House
from tests.farm.api.flows import asked, film_bytes, picture_bytes, sent
from tests.farm.api.test_calls import is_problem

SHEET = """[[people]]
id = "p1"
name = ""
screen_time_s = 1.250
frames = 30
tracks = [0]
source = ""

[[people]]
id = "p2"
screen_time_s = 0.5
tracks = [1]
source = ""
"""
TOML = {"Content-Type": "application/toml"}


@pytest.fixture
def job(house: House, http: httpx.Client, clips: Path) -> str:
    """A job whose film was analysed."""
    made = str(
        asked(http, sent(http, "target", "film.mp4", film_bytes(clips))["id"], swapper="mesh", wait_for_cast=True)["id"]
    )
    folder = house.server.places.cast_folder(made)
    folder.mkdir(parents=True)
    (folder / "cast.toml").write_text(SHEET)
    return made


def test_a_face_that_is_taken_back_is_gone(http: httpx.Client, job: str, tmp_path: Path) -> None:
    faces = [sent(http, "source", "face.png", picture_bytes(tmp_path))["id"] for _ in range(3)]
    where = f"/v1/jobs/{job}/cast"

    def put(people: dict[str, Any]) -> list[tuple[str, list[str], int | None]]:
        answer = http.put(where, json={"people": people})
        assert answer.status_code == 200, answer.text
        shown = http.get(where).json()["people"]
        return [(one["id"], one["sources"], one["source_face"]) for one in shown]

    two = {"images": [{"upload": faces[0]}, {"upload": faces[1]}], "face": 2}
    names = [f"upload:{face}" for face in faces]
    assert put({"p1": {"source": two, "name": "Anna"}}) == [("p1", names[:2], 2), ("p2", [], None)]
    one = {"images": [{"upload": faces[2]}]}
    assert put({"p2": {"source": one}}) == [("p1", [], None), ("p2", names[2:], None)]
    assert put({"p1": {"source": one}, "p2": {}}) == [("p1", names[2:], None), ("p2", [], None)]
    person = http.get(where).json()["people"][0]
    assert (person["name"], person["screen_time_s"], person["source"]) == ("Anna", 1.25, names[2])


def test_a_persons_picture_is_one_keys_own(house: House, http: httpx.Client, job: str) -> None:
    people = house.server.places.cast_folder(job) / PEOPLE
    people.mkdir()
    (people / "p1.jpg").write_bytes(b"a face")
    shown = http.get(f"/v1/jobs/{job}/cast/p1.jpg")
    assert (shown.content, shown.headers["vary"]) == (b"a face", "Authorization")
    assert shown.headers["cache-control"].startswith("private, ")


def test_no_text_breaks_the_cast_of_a_job(house: House, http: httpx.Client, job: str) -> None:
    where = f"/v1/jobs/{job}/cast"
    for text in (
        "people = 3",
        '[[people]]\nid = "p1"\nframes = "x"',
        "x = " + "1" * 5000,
        ".".join("a" * 3000) + " = 1",
    ):
        is_problem(http.put(where, content=text, headers=TOML), 422, "cast")
        assert len(http.get(where).json()["people"]) == 2
    assert http.put(where, content='people = [{id = "p1"}]', headers=TOML).status_code == 200
    is_problem(http.put(where, json={"people": {"p1": {}}}), 409, "line by line")
    jobs.put_cast(house.db, house.name, job, "people = 3")  # as another version kept it
    is_problem(http.get(where), 422, "cast")
    assert http.put(where, content=SHEET, headers=TOML).status_code == 200
    assert len(http.get(where).json()["people"]) == 2


@pytest.mark.parametrize(
    "name", ["my\u00a0film.mp4", "\u4eba" * 80 + ".mp4", "a" * 192 + ".mp4", ".mp4", "film\u200e.mp4"]
)
def test_a_film_of_any_name_makes_a_job(http: httpx.Client, clips: Path, name: str) -> None:
    asked(http, sent(http, "target", name, film_bytes(clips))["id"])


def test_numbers_that_take_long_are_refused(http: httpx.Client, clips: Path) -> None:
    target = {"upload": sent(http, "target", "film.mp4", film_bytes(clips))["id"]}
    for text in ("1e5000000", "1e-1000000"):
        body = {"target": target, "swapper": "none", "segment_seconds": text}
        is_problem(http.post("/v1/jobs", json=body), 422, "segment_seconds")
