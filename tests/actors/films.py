"""A small film with its plan and orders in a store, as the driver would leave them for the renderers."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from core.records import EncodeSpec, JobSpec, WorkOrder
from farm import stages
from farm.artifacts import DiskStore
from farm.castings import SegmentCast
from farm.versions import code_hash
from tests.media_clips import ffmpeg, picture, tone


@dataclass(frozen=True)
class Job:
    store: DiskStore
    film: stages.Film
    plan: stages.Plan
    orders: list[WorkOrder]


def make_film(path: Path, *, seconds: int = 6, size: str = "128x96", keyframes: int = 25) -> Path:
    """A film of 25 frames/s with a keyframe every `keyframes` frames and sound."""
    video = ["-c:v", "libx264", "-preset", "ultrafast", "-crf", "23", "-pix_fmt", "yuv420p"]
    timing = ["-g", str(keyframes), "-sc_threshold", "0", "-bf", "2"]
    ffmpeg(*picture(seconds, size), *tone(seconds), *video, *timing, "-c:a", "aac", "-b:a", "64k", path)
    return path


def make_job(store: DiskStore, target: Path, *, preset: str = "ultrafast") -> Job:
    """Index, plan and orders of a pass-through render, one segment a second."""
    spec = JobSpec(
        target=str(target),
        output=str(target.with_name("out.mp4")),
        swapper="none",
        encode=EncodeSpec("h264", 30, preset),
        segment_s=Fraction(1),
    )
    film = stages.index_stage(store, target, code=code_hash())
    plan = stages.plan_stage(store, film, spec)
    cast = [SegmentCast(segment.index) for segment in plan.segments]
    orders = stages.work_orders(film, plan, cast, [], code=code_hash())
    return Job(store, film, plan, orders)
