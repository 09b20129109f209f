"""A large file through Ray Serve into a folder: only the parts that are on their way are held in memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.actors.films import make_film
from tests.load.__main__ import upload_mib
from tests.load.house import served
from tests.load.upload import send_padded

SIZE = 200 << 20


@pytest.mark.heavy
def test_a_large_file_goes_through_serve_with_flat_memory(tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    make_film(film, seconds=2)
    with served(tmp_path, "serve", "sqlite") as house:
        send_padded(house, film, 16 << 20)  # what the first call loads is no part of it
        told = send_padded(house, film, SIZE)
    assert told["bytes"] == SIZE
    assert told["grew_mib"] < upload_mib("serve") < SIZE >> 20, told
