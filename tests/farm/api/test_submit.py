"""`farm submit`, `farm cast` and `farm watch` with a real service; a thread does the coordinator's part."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.errors import FarmError, InputError
from farm.castform import cast_people
from farm.cli.main import main
from farm.service import held, jobs
from farm.service.records import Problem
from farm.service.resolving import cast_uploads
from farm.service.rows import order_of
from farm.service.states import JobState
from tests.farm.api.conftest import House
from tests.farm.api.flows import film_bytes, picture_bytes, taken
from tests.farm.service.running import wait_for

SHEET = '# Who becomes whom.\n[[people]]\nid = "p1"\nsource = ""\n\n[[people]]\nid = "p2"\nsource = ""\n'
CAST = """[[people]]
id = "p1"
source = [
    "face.png",
]

[[people]]
id = "p2"
[[people.ranges]]
from = "0"
to = "0.5"
source = "face.png"
"""


@contextlib.contextmanager
def looking(house: House, problem: Problem | None = None) -> Iterator[None]:
    """Somebody who looks at the film of the next job: it waits for its cast then; with `problem` once more when one was
    put."""

    def look() -> None:
        wait_for(lambda: jobs.listed(house.db, house.name).items != ())
        job = jobs.listed(house.db, house.name).items[0].id
        mine = taken(house, job)
        folder = house.server.places.cast_folder(job)
        folder.mkdir(parents=True)
        (folder / "cast.toml").write_text(SHEET)
        held.stage(house.db, mine, JobState.analysing)
        held.wait_for_cast(house.db, mine)
        if problem is not None:
            wait_for(lambda: jobs.cast_of(house.db, house.name, job) is not None)
            held.wait_for_cast(house.db, taken(house, job), problem)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    yield
    thread.join(30)
    assert not thread.is_alive()


@pytest.fixture
def folder(tmp_path: Path, clips: Path) -> Path:
    """A film, a face, and a cast that names it twice."""
    (tmp_path / "film.mp4").write_bytes(film_bytes(clips))
    picture_bytes(tmp_path)
    (tmp_path / "cast.toml").write_text(CAST)
    return tmp_path


def at(house: House) -> list[str]:
    return ["--url", house.server.url, "--key", house.secret]


def test_a_film_is_sent_with_its_cast(house: House, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sent = ["submit", str(folder / "film.mp4"), "--cast", str(folder / "cast.toml"), "--detect-every", "2", *at(house)]
    with looking(house):
        assert main([*sent, "--label", "shot=12", "--label", "for=", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["state"], told["has_cast"], told["labels"]) == ("queued", True, {"shot": "12", "for": ""})
    cast = jobs.cast_of(house.db, house.name, told["id"])
    assert cast is not None
    (upload,) = cast_uploads(cast)
    first, second = cast_people(cast)
    assert (first["source"], second["ranges"][0]["source"]) == ([f"upload:{upload}"], f"upload:{upload}")
    order = order_of(jobs.get(house.db, house.name, told["id"]))
    assert order is not None
    assert (order.wait_for_cast, order.spec.source, order.spec.detect_every) == (True, None, 2)

    assert main(["cast", told["id"], "-o", str(folder / "sheet"), *at(house)]) == 0
    assert cast_uploads((folder / "sheet" / "cast.toml").read_text()) == (upload,)
    jobs.cancel(house.db, house.name, told["id"])
    assert main(["watch", told["id"], *at(house)]) == FarmError.exit_code
    assert "is cancelled" in capsys.readouterr().err


@pytest.mark.heavy
def test_a_cast_that_does_not_fit_is_told(house: House, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sent = ["submit", str(folder / "film.mp4"), "--cast", str(folder / "cast.toml"), "--watch", *at(house)]
    with looking(house, Problem("InputError", "no face in face.png", "", "send another picture", 2)):
        assert main(sent) == InputError.exit_code
    told = capsys.readouterr().err.splitlines()[-1]
    assert "no face in face.png; send another picture: farm cast job_" in told
    assert house.secret not in told


def test_labels_that_are_none_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["shot"], ["=12"], ["a=1", "a=2"]):
        labels = [word for one in words for word in ("--label", one)]
        assert main(["submit", str(folder / "film.mp4"), "--swapper", "none", *labels]) == InputError.exit_code
        assert "write NAME=TEXT" in capsys.readouterr().err
