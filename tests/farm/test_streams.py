"""Standard streams that do not take what is written, and the line of last resort."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from farm.cli.main import main
from tests.media_clips import make_clip
from tests.system.runs import ROOT, farm_here


@pytest.fixture
def film(clips: Path) -> Path:
    return make_clip("cfr_mp4", clips)


def farm_with(streams: dict[str, Any], *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "farm.cli.main", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, text=True, check=False, **streams)


def test_a_reader_that_went_away_ends_the_command_in_silence(film: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as nobody:
        ran = farm_with({"stdout": nobody, "stderr": subprocess.PIPE}, "probe", film)
    assert (ran.returncode, ran.stderr) == (-signal.SIGPIPE, "")


def test_a_full_disk_behind_stdout_is_one_line(film: Path) -> None:
    with Path("/dev/full").open("w") as full:
        ran = farm_with({"stdout": full, "stderr": subprocess.PIPE}, "probe", film)
    assert ran.returncode == 4
    assert ran.stderr.startswith("farm: standard output: the disk is full; ")
    assert ran.stderr.count("\n") == 1


def test_closed_streams_are_no_fault(film: Path) -> None:
    def close() -> None:
        os.close(1)
        os.close(2)

    assert farm_with({"preexec_fn": close}, "probe", film).returncode == 0


def test_a_report_that_cannot_be_written_says_that_the_film_is_there(film: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    err = io.StringIO()
    command = ["render", str(film), "-o", str(output), "--swapper", "none", "--local", "--preset", "ultrafast"]
    full = Path("/dev/full").open("w")  # noqa: SIM115 - closing it fails, which is the point
    with contextlib.redirect_stdout(full), contextlib.redirect_stderr(err):
        code = main([*command, "--json"])
    with contextlib.suppress(OSError):
        full.close()
    assert code == 4
    line = err.getvalue().splitlines()[-1]
    assert line.startswith(f"farm: {output}: the film is finished and verified, but not its report: the disk is full")
    assert farm_here("verify", film, output).code == 0


def test_a_fault_of_ours_is_one_line_too(film: Path, tmp_path: Path) -> None:
    named = shutil.copy(film, tmp_path / "größe.mp4")
    err = io.StringIO()
    narrow = io.TextIOWrapper(io.BytesIO(), "ascii")  # nothing of ours expects a stdout that cannot say every name
    with contextlib.redirect_stdout(narrow), contextlib.redirect_stderr(err):
        code = main(["probe", str(named)])
    assert code == 4
    line = err.getvalue()
    assert line.startswith("farm: internal error: UnicodeEncodeError: ")
    assert line.endswith("; run again with --debug and report it\n")
    assert line.count("\n") == 1
