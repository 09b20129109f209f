"""The metrics of the farm: names, units, labels. deploy/grafana/farm.json and docs/watching.md are held to this list.

Names say their unit, as https://prometheus.io/docs/practices/naming/ asks. No label names a job, a film or a segment:
their number has no bound. Under Ray all names begin with `ray_`, which Ray puts in front.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

UNKNOWN = "unknown"  # a label's value where the node does not say what it is


@dataclass(frozen=True)
class Figure:
    """One metric. `buckets` are the upper bounds of a histogram."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    help: str
    buckets: tuple[float, ...] = ()


SEGMENT_SECONDS = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
FIGURES = (
    Figure("farm_jobs", "gauge", (), "Jobs that run."),
    Figure("farm_jobs_ended_total", "counter", ("outcome",), "Jobs that ended: finished, failed, stopped."),
    Figure("farm_stage_seconds_total", "counter", ("stage",), "Seconds that jobs spent in each stage."),
    Figure(
        "farm_segments",
        "gauge",
        ("map", "state"),
        "Segments of the jobs that run: waiting, running, done, reused, lost (and waiting again), failed.",
    ),
    Figure("farm_queue_segments", "gauge", (), "Segments that wait for a renderer."),
    Figure("farm_frames_total", "counter", ("map", "kind"), "Frames of finished segments, by the kind of node."),
    Figure("farm_faces_total", "counter", ("kind",), "Faces to replace in rendered segments, by the kind of node."),
    Figure("farm_film_seconds_total", "counter", (), "Seconds of film that were rendered."),
    Figure(
        "farm_segment_seconds",
        "histogram",
        ("map", "kind"),
        "Seconds from a segment's start on a renderer to its end.",
        SEGMENT_SECONDS,
    ),
    Figure(
        "farm_retries_total",
        "counter",
        ("cause",),
        "Segments that are done again: its renderer died or hung, its node went (node) or gave notice (notice).",
    ),
    Figure(
        "farm_nodes_lost_total",
        "counter",
        ("kind", "notice"),
        'Nodes that went: notice "yes" after a notice, as spot nodes do, "no" without one.',
    ),
    Figure("farm_renderers", "gauge", ("kind", "state"), "Renderers: busy, idle, down (and coming up again)."),
    Figure(
        "farm_renderer_seconds_total", "counter", ("kind", "state"), "Seconds of renderers that were up: busy, idle."
    ),
    Figure("farm_cost_total", "counter", ("currency",), "Money that nodes cost, where the price table names them."),
)


class Instruments(Protocol):
    """Where figures go. Labels are given in the order of Figure.labels. Safe from any thread."""

    def add(self, figure: Figure, amount: float, *labels: str) -> None:
        """Raise a counter by `amount`, 0 or more."""

    def set(self, figure: Figure, value: float, *labels: str) -> None:
        """Give a gauge its value."""

    def observe(self, figure: Figure, value: float, *labels: str) -> None:
        """Note a value in a histogram."""


BY_NAME: Mapping[str, Figure] = {figure.name: figure for figure in FIGURES}
