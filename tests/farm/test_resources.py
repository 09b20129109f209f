"""What Ray is to set aside for a renderer: read, or refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import InputError
from farm.resources import resources_of
from tests.system.runs import farm_here


def test_resources() -> None:
    assert resources_of(None, "--x") is None
    assert resources_of('{"GPU": 0.5, "CPU": 2, "memory": 4e9}', "--x") == {"GPU": 0.5, "CPU": 2.0, "memory": 4e9}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "is not JSON"),
        ("[1]", "names no resource"),
        ("{}", "names no resource"),
        ('{"GPU": 0}', "GPU is 0, not a number above 0"),
        ('{"GPU": true}', "GPU is True, not a number above 0"),
        ('{"GPU": "1"}', "GPU is '1', not a number above 0"),
        ('{"CPU": NaN}', "CPU is nan, not a number above 0"),
        ('{"GPU": 1.5}', "GPU is 1.5; Ray wants whole numbers above 1"),
    ],
)
def test_what_cannot_be_set_aside(text: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        resources_of(text, "--worker-resources")
    assert told in str(caught.value)


def test_the_command_says_it(tmp_path: Path) -> None:
    command = ("render", tmp_path / "film.mp4", "-o", tmp_path / "out.mp4", "--swapper", "none")
    ran = farm_here(*command, "--worker-resources", "{}")
    assert ran.code == 2
    assert "--worker-resources names no resource" in ran.error_line
    for options in (("--local", "--max-workers", "2"), ("--workers", "1", "--max-workers", "2")):
        assert farm_here(*command, *options).code == 2
