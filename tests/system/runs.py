"""Running the `farm` command in tests: as a process of its own, or in this one where only words and codes matter."""

from __future__ import annotations

import contextlib
import io
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core import codec
from core.records import JobReport
from farm.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 120.0
PROGRESS = re.compile(r"[a-z]+: \d+ %, \d+/\d+ frames, ")


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def error_line(self) -> str:
        """The only line on stderr that is not progress; fails where there is any other, a library's too."""
        lines = [line for line in self.err.splitlines() if not PROGRESS.match(line)]
        assert len(lines) == 1, self.err
        assert lines[0].startswith("farm: "), self.err
        return lines[0]

    @property
    def report(self) -> JobReport:
        assert self.code == 0, self.err
        return codec.decode(self.out.encode(), JobReport)

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def start(*arguments: str | Path, cwd: Path = ROOT, **options: Any) -> subprocess.Popen[str]:
    """The command as a process group of its own; what it says is for `finish`, unless `options` say otherwise."""
    return subprocess.Popen(
        [sys.executable, "-m", "farm.cli.main", *map(str, arguments)],
        cwd=cwd,
        text=True,
        start_new_session=True,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
    )


def finish(process: subprocess.Popen[str]) -> Ran:
    out, err = process.communicate(timeout=DEADLINE_S)
    return Ran(process.returncode, out, err)


def farm(*arguments: str | Path, **options: Any) -> Ran:
    return finish(start(*arguments, **options))


def farm_here(*arguments: str | Path) -> Ran:
    """The command inside this process: the same `main`, the same words and codes, without the start-up."""
    out, err = io.StringIO(), io.StringIO()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main([str(argument) for argument in arguments])
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return Ran(code, out.getvalue(), err.getvalue())


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Until `condition` holds while `process` runs."""
    end_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end_s, "it did not happen in time"
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.02)
            assert condition(), f"the command ended before: {process.communicate()[1]}"


def finished_segments(store: Path) -> dict[str, int]:
    """Order id -> inode of its DONE record, of every finished segment."""
    found = {}
    for done in store.glob("segments/*/DONE.json"):
        with contextlib.suppress(FileNotFoundError):
            found[done.parent.name] = done.stat().st_ino
    return found


def leftovers(folder: Path, known: Sequence[str]) -> list[str]:
    """Names in `folder` that nobody expects."""
    return sorted({entry.name for entry in folder.iterdir()} - set(known))
