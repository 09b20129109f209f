"""The demo through the service: it comes up, makes the film, and goes."""

from __future__ import annotations

import queue
from pathlib import Path

import numpy as np
import pytest

from core.errors import StorageError
from core.media.index import index_film
from farm.demo.service import address, main


@pytest.mark.heavy
def test_the_demo_through_the_service(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--out", str(tmp_path), "--way", "local"]) == 0
    said = capsys.readouterr().err
    assert "checks passed" in said
    assert "the service has stopped" in said
    before, after = (index_film(tmp_path / name) for name in ("demo-target.mp4", "demo-service.mp4"))
    assert np.array_equal(before.pts * before.time_base, after.pts * after.time_base)
    assert (tmp_path / "demo-service.png").is_file()


def test_a_service_that_does_not_start_is_told() -> None:
    said: queue.Queue[str] = queue.Queue()
    said.put("farm: cannot listen there\n")
    said.put("")
    with pytest.raises(StorageError, match="ended before it was there"):
        address(said)
    said.put("farm: the service is at http://127.0.0.1:8000/farm\n")
    assert address(said) == "http://127.0.0.1:8000/farm"
