"""Orders of a made-up film, for tests of what watches a job."""

from __future__ import annotations

from fractions import Fraction

from core.records import AnalysisOrder, EncoderSettings, Segment, WorkOrder

ENCODER = EncoderSettings("libx264", "h264", "yuv420p", {}, Fraction(25))


def segment(number: int, frames: int = 100) -> Segment:
    first = number * 1000
    return Segment(number, first, first + frames, first, first, first + frames, first)


def order(number: int, frames: int = 100, faces: int = 0) -> WorkOrder:
    return WorkOrder(f"o{number}", segment(number, frames), "film", "", "index", ENCODER, face_count=faces)


def look(number: int, frames: int = 100) -> AnalysisOrder:
    return AnalysisOrder(f"a{number}", segment(number, frames), "film", "", "index")
