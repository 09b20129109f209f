"""Reports of quality made of drawn numbers."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from core.faces.summary import summarise
from core.records import Doubt, FaceSeries, Moment, Outside, OutsideSeries, PersonQuality, QualityReport

REASONS = ("not replaced", "identity", "pose", "expression", "flicker", "outside")
DOUBTS = ("tiny", "turned", "occluded", "blurred", "lost", "cut off")


def series(frames: int, *, replaced: bool = True, seed: int = 0) -> FaceSeries:
    random = np.random.default_rng(seed)
    numbers = {
        name: random.random(frames).astype(np.float32)
        for name in FaceSeries.__dataclass_fields__
        if name not in ("frame", "track", "role", "replaced")
    }
    numbers["to_source"][np.arange(frames) % 4 > 0] = np.nan
    whole = np.zeros(frames, np.int32)
    return FaceSeries(np.arange(frames, dtype=np.int64), whole, whole, np.full(frames, replaced), **numbers)


def person(name: str, frames: int, *, replaced: bool = True) -> PersonQuality:
    found = series(frames, replaced=replaced)
    return summarise(name, found, name="", sources=("a & b.png",), planned=False, same_person=0.6, moving=0.01)


def report(
    people: tuple[PersonQuality, ...], frames: int = 50, *, differs: bool = True, name: str = "out.mp4"
) -> QualityReport:
    psnr = np.full(frames, 40.0 if differs else np.inf, np.float32)
    zeros = np.full(frames, float(differs), np.float32)
    outside = Outside(
        "yuv420p", 255, 1000 * frames, float(differs), 9.0 * differs, 40.0 if differs else None, 3 if differs else None,
        0 if differs else frames, OutsideSeries(np.full(frames, 1000, np.int64), zeros, zeros, psnr),
    )  # fmt: skip
    moments = tuple(Moment(n, n * 40, n / 25, "p1", reason, 0.7, 1.5) for n, reason in enumerate(REASONS))
    doubts = tuple(Doubt(reason, "p1", 0, 2, 9, 4, 0.5, 33.0) for reason in DOUBTS)
    return QualityReport(
        original="/films/in put#1.mp4", original_sha256="0" * 64, output=f"/films/{name}", output_sha256="1" * 64,
        frames=frames, width=640, height=360, time_base=Fraction(1, 1000),
        pts=np.arange(frames, dtype=np.int64) * 40 + 80,
        end_pts=frames * 40 + 80, recogniser="dlib_resnet", same_person=0.6, every=1, vector_every=4, people=people,
        outside=outside, moments=moments, doubts=doubts, notes=("a <note>",), versions={"farm": "0"},
    )  # fmt: skip
