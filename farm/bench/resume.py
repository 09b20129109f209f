"""How soon a farm is at work again after its driver was killed."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from farm.bench.clips import make_clip

SEGMENT_S = 2


@dataclass(frozen=True)
class Resume:
    """Seconds from the start of the second command to its first segment, those of Ray's start apart; segments that
    were kept, of how many."""

    work_s: float
    ray_s: float
    kept: int
    segments: int


def measure_resume(folder: Path, *, seconds: int, store: str | None = None) -> Resume:
    """SIGKILL the driver of a film of `seconds` when a third of it is rendered, and run the same command again.

    `store` is a place for the job's state other than beside the film: s3://bucket/prefix.
    """
    film = make_clip(folder / "long.mp4", width=640, height=360, seconds=seconds, crf=18)
    command = [sys.executable, "-m", "farm.cli.main", "render", str(film), "-o", str(folder / "resumed.mp4")]
    command += ["--swapper", "none", "--no-smart", "--codec", "h264", "--preset", "slower", "--log-json"]
    command += ["--segment-seconds", str(SEGMENT_S), "--workers", "1", *(["--store", store] if store else [])]
    with killed(command) as lines:
        done = 0
        for line in lines:
            done += line.get("event") == "done"
            if 3 * done * SEGMENT_S >= seconds:
                break
    started_s = time.time()
    stages: dict[str, float] = {}
    kept = segments = 0
    at_s = started_s
    with killed(command) as lines:
        for line in lines:
            at_s = datetime.fromisoformat(line["time"]).timestamp()
            if line.get("event") == "stage":
                stages[line["stage"]] = at_s
            elif line.get("event") == "map":
                kept, segments = line["reused"], line["segments"]
            elif line.get("event") == "begin":
                break
    ray_s = stages["render"] - stages["start"]
    return Resume(at_s - started_s - ray_s, ray_s, kept, segments)


@contextmanager
def killed(command: Sequence[str]) -> Iterator[Iterator[dict[str, Any]]]:
    """What `command` says in JSON on stderr, as it says it; when the context is left it is killed, if it still runs."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as child:
        assert child.stderr is not None
        try:
            yield (json.loads(line) for line in child.stderr if line.startswith("{"))
        finally:
            child.kill()
