"""Large files through Ray Serve into a folder: only the parts that are on their way are held in memory, and a replica
that dies costs no more than these."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from farm.client import Farm
from tests.actors.films import make_film
from tests.load.__main__ import upload_mib
from tests.load.house import Served, served
from tests.load.upload import padded, send_padded
from tests.load.wire import HOST

SIZE = 200 << 20
TRIES = 30  # a replica comes back when Serve has seen that it is gone


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("film") / "film.mp4"
    make_film(made, seconds=2)
    return made


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("serve"), "serve", "sqlite") as made:
        yield made


@pytest.mark.heavy
def test_a_large_file_goes_through_serve_with_flat_memory(house: Served, film: Path) -> None:
    send_padded(house, film, 16 << 20)  # what the first call loads is no part of it
    told = send_padded(house, film, SIZE)
    assert told["bytes"] == SIZE
    assert told["grew_mib"] < upload_mib("serve") < SIZE >> 20, told


@pytest.mark.heavy
def test_an_upload_goes_on_after_the_death_of_its_replica(house: Served, film: Path, tmp_path: Path) -> None:
    large = tmp_path / "large.mp4"
    with large.open("wb") as file:
        file.writelines(padded(film.read_bytes(), SIZE))
    sent: list[int] = []
    dead: list[tuple[psutil.Process, int]] = []

    def told(here: int, size: int) -> None:
        """`here` goes back where parts are to be sent again."""
        sent.append(here)
        if here > size // 2 and not dead:
            dead.append((house.processes[0], len(sent)))
            house.processes[0].kill()

    with Farm(f"http://{HOST}:{house.port}", house.key, tries=TRIES) as farm:
        row = farm.upload(large, told=told)
    assert (row.state, row.sha256) == ("ready", hashlib.sha256(large.read_bytes()).hexdigest())
    ((replica, heard),) = dead
    assert not replica.is_running()
    assert min(sent[heard:]) > SIZE // 4, "only parts that were on their way are sent again"
