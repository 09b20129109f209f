"""How good a job's film is, as a few lines over time that a page can draw."""

from __future__ import annotations

from http import HTTPStatus

import numpy as np
from fastapi import APIRouter
from numpy.typing import NDArray
from starlette.concurrency import run_in_threadpool

from core import codec
from core.records import PersonQuality, QualityReport
from farm.api.auth import Ctx, Reader
from farm.api.buckets import soon
from farm.api.context import Context
from farm.api.results import result_of
from farm.api.schemas import Id, View
from farm.api.statuses import refuses
from farm.paths import place
from farm.quality.job import REPORT, default_folder
from farm.service import jobs
from farm.service.errors import NotFound

router = APIRouter(tags=["results"])
BINS = 300
STEPS = 2


class Plot(View):
    """A line: [seconds from the film's start, value], null where nothing was measured; `high` is worth a mark."""

    title: str
    summary: str
    points: list[tuple[float, float | None]]
    high: float | None


class Quality(View):
    frames: int
    plots: list[Plot]
    notes: list[str]


def binned(at: NDArray[np.float64], values: NDArray[np.float32], end_s: float) -> list[tuple[float, float | None]]:
    """Means of `values` [n], NaN where nothing was measured, over equal stretches of the film; `at` [n] are seconds
    from its start, in order. A stretch is as long as `STEPS` of the usual steps between two measurements, and longer
    where these would be more than `BINS`: one without any is a gap, None, and no chance of where its ends lie."""
    measured = np.isfinite(values)
    at, values = at[measured], values[measured]
    steps = np.diff(np.unique(at))
    usual_s = float(np.median(steps)) if len(steps) else 0.0
    count = max(1, min(BINS, int(end_s / (STEPS * usual_s)))) if usual_s > 0 else BINS
    place = np.minimum((at / max(end_s, 1e-9) * count).astype(int), count - 1)
    sums = np.bincount(place, weights=values.astype(float), minlength=count)
    counts = np.bincount(place, minlength=count)
    return [
        (
            round((number + 0.5) * end_s / count, 3),
            round(float(sums[number] / counts[number]), 5) if counts[number] else None,
        )
        for number in range(count)
    ]


def person_plots(report: QualityReport, person: PersonQuality) -> list[Plot]:
    name = person.name or person.id
    start, base = int(report.pts[0]), float(report.time_base)
    at = (np.asarray(report.pts)[person.series.frame] - start).astype(float) * base
    end_s = (report.end_pts - start) * base
    made = []
    if person.to_source is not None:
        made.append(
            Plot(
                title=f"{name}: distance to the face put in",
                summary=f"median {person.to_source.median:.3f}, the same person below {report.same_person:g}",
                points=binned(at, person.series.to_source, end_s),
                high=report.same_person,
            )
        )
    if person.residual is not None:
        made.append(
            Plot(
                title=f"{name}: difference of expression",
                summary=f"median {person.residual.median:.4f} of the distance between the eyes",
                points=binned(at, person.series.residual, end_s),
                high=None,
            )
        )
    if person.flicker is not None:
        made.append(
            Plot(
                title=f"{name}: movement from frame to frame",
                summary=f"{person.flicker:.2f} times the original's over the film",
                points=binned(at, person.series.moved_output, end_s),
                high=None,
            )
        )
    return made


@router.get("/v1/jobs/{job_id}/quality", operation_id="getQuality", responses=refuses(HTTPStatus.CONFLICT))
async def quality(job_id: Id, ctx: Ctx, key: Reader) -> Quality:
    """Lines over time for each person; 404 where the job was not asked to measure."""
    data = await ctx.buckets.read(key.tenant, lambda: measured(ctx, key.tenant, job_id))
    return await run_in_threadpool(drawn, data)


def measured(ctx: Context, tenant: str, job_id: str) -> bytes:
    """What was measured of the job's film, as it is kept."""
    made = result_of(jobs.get(ctx.db, tenant, job_id))
    try:
        return (soon(default_folder(place(made.place))) / REPORT).read_bytes()
    except FileNotFoundError:
        raise NotFound("the quality was not measured", hint="submit the job with quality: true") from None


def drawn(data: bytes) -> Quality:
    report = codec.decode(data, QualityReport)
    plots = [plot for person in report.people for plot in person_plots(report, person)]
    return Quality(frames=report.frames, plots=plots, notes=list(report.notes))
