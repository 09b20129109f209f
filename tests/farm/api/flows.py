"""Steps that several tests take: files sent, jobs asked for, jobs ended as a coordinator ends them."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

from core.records import Check, JobReport
from farm.service import held, leasing
from farm.service.records import Held, Result
from farm.service.states import JobState
from tests.farm.api.conftest import House
from tests.media_clips import make_clip


def film_bytes(clips: Path) -> bytes:
    """A short film, made by FFmpeg."""
    return make_clip("h264_m4v", clips).read_bytes()


def picture_bytes(folder: Path) -> bytes:
    file = folder / "face.png"
    Image.fromarray(np.full((64, 48, 3), 120, np.uint8)).save(file)
    return file.read_bytes()


def sent(http: httpx.Client, purpose: str, name: str, data: bytes) -> dict[str, Any]:
    row = http.post("/v1/uploads", json={"purpose": purpose, "name": name, "size_bytes": len(data)})
    assert row.status_code == 201, row.text
    done = http.put(row.json()["links"]["data"], content=data)
    assert done.status_code == 200, done.text
    made: dict[str, Any] = done.json()
    return made


def asked(http: httpx.Client, target: str, **more: Any) -> dict[str, Any]:
    answer = http.post("/v1/jobs", json={"target": {"upload": target}, "swapper": "none", **more})
    assert answer.status_code == 202, answer.text
    made: dict[str, Any] = answer.json()
    return made


def taken(house: House, job: str) -> Held:
    """The job, as a coordinator holds it."""
    return next(one.held for one in leasing.take(house.db, "test", 100) if one.held.job == job)


def finished(
    house: House, job: str, data: bytes, name: str = "film.swapped.mp4", film_seconds: float | None = None
) -> None:
    """End the job with a film of these bytes."""
    mine = taken(house, job)
    file = house.server.places.result(job, name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    for state in (JobState.rendering, JobState.assembling, JobState.verifying):
        held.stage(house.db, mine, state)
    sha256 = hashlib.sha256(data).hexdigest()
    made = replace(report(sha256, len(data)), film_seconds=film_seconds)
    held.succeed(house.db, mine, Result(name, str(file), sha256, len(data)), made)


def report(sha256: str, size: int) -> JobReport:
    return JobReport(
        target="/secret/place/film.mp4",
        output="/secret/place/film.swapped.mp4",
        swapper="none",
        source=None,
        codec="h264",
        encoder="libx264",
        frames=24,
        frames_replaced=0,
        faces=0,
        faces_skipped={},
        segments=1,
        segments_rendered=1,
        segments_reused=0,
        seconds_by_stage={},
        seconds=1.0,
        frames_per_second=24.0,
        workers=1,
        workers_lost=0,
        provider="",
        device="cpu",
        checks_passed=1,
        checks=(Check("frames", "24", "24", True),),
        damage=(),
        output_sha256=sha256,
        output_bytes=size,
        labelled=False,
        notes=(),
    )
