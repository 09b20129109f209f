"""The plots of a report: one person's over the time in which the person is seen, and the rest of the picture's."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from core.records import FaceSeries, PersonQuality, QualityReport, Spread
from farm.quality.svg import Line, Span, clock_text, plot, ribbon

Seconds = NDArray[np.float64]
KINDS = (("on", "replaced"), ("off", "seen, not replaced"), ("stay", "seen, to stay as is"))


def person_plots(report: QualityReport, person: PersonQuality, seconds: Seconds, key: str) -> str:
    """All plots of a person; `seconds` [frames] are from the film's start, `key` begins their ids."""
    series = person.series
    time_s = seconds[series.frame]
    ends = np.append(seconds[1:], float((report.end_pts - int(report.pts[0])) * report.time_base))
    span = Span(float(time_s[0]), float(ends[series.frame[-1]]))
    order = np.argsort(time_s, kind="stable")

    def line(name: str, values: NDArray[np.floating], style: int) -> Line:
        return Line(name, time_s[order], np.asarray(values, np.float64)[order], style)

    def told(what: str, spread: Spread | None) -> str:
        if spread is None:
            return f"{what}: not measured"
        worst = clock_text(float(seconds[spread.worst_frame]))
        return (
            f"{what}: mean {spread.mean:.3g}, 95th percentile {spread.high:.3g}, greatest {spread.worst:.3g} at {worst}"
        )

    return "".join(
        [
            _coverage(person, series, time_s, ends, span, key),
            plot(
                f"{key}-identity",
                "Distance of the face's vector",
                f"{told('To the source', person.to_source)}. {told('To the original', person.to_original)}.",
                span,
                [line("output to source", series.to_source, 1), line("output to original", series.to_original, 2)],
                threshold=(report.same_person, "one person below this"),
                least=0.0,
            ),
            plot(
                f"{key}-pose",
                "Pose of the head, output less original, in degrees",
                f"{told('Yaw', person.yaw_deg)}. {told('Pitch', person.pitch_deg)}. {told('Roll', person.roll_deg)}.",
                span,
                [
                    line("yaw, to the right", series.yaw_deg, 1),
                    line("pitch, down", series.pitch_deg, 2),
                    line("roll, clockwise", series.roll_deg, 3),
                ],
            ),
            plot(
                f"{key}-mouth",
                "Opening of the mouth, in eye distances",
                told("Difference", person.mouth) + ".",
                span,
                [line("output", series.mouth_output, 1), line("original", series.mouth_original, 2)],
                least=0.0,
            ),
            plot(
                f"{key}-eyes",
                "Opening of the eyes, in eye distances",
                told("Difference", person.eyes) + ".",
                span,
                [line("output", series.eyes_output, 1), line("original", series.eyes_original, 2)],
                least=0.0,
            ),
            plot(
                f"{key}-mesh",
                "What is left between the meshes without pose, in eye distances",
                told("Left", person.residual) + ".",
                span,
                [line("root mean square", series.residual, 1)],
                least=0.0,
            ),
            plot(
                f"{key}-flicker",
                "Change of the face from frame to frame, in levels",
                f"Flicker {person.flicker:.2f} times the original." if person.flicker is not None else "Not measured.",
                span,
                [line("output", series.moved_output, 1), line("original", series.moved_original, 2)],
                least=0.0,
            ),
        ]
    )


def outside_plots(report: QualityReport, seconds: Seconds, end_s: float) -> str:
    """The difference outside the faces over the film."""
    series, span = report.outside.series, Span(0.0, end_s)
    psnr = np.where(np.isfinite(series.psnr_db), series.psnr_db, np.nan).astype(np.float64)
    told = f"Over all frames {report.outside.psnr_db:.2f} dB." if report.outside.psnr_db is not None else "Identical."
    mean = np.asarray(series.mean, np.float64)
    return plot("outside-psnr", "PSNR outside the faces, in dB", told, span, [Line("PSNR", seconds, psnr, 1)]) + plot(
        "outside-mean",
        f"Mean difference outside the faces, in code values of {report.outside.peak}",
        f"Over all frames {report.outside.mean:.4f}.",
        span,
        [Line("mean difference", seconds, mean, 1)],
        least=0.0,
    )


def _coverage(person: PersonQuality, series: FaceSeries, time_s: Seconds, ends: Seconds, span: Span, key: str) -> str:
    """When the person is seen, and when replaced."""
    frames, first = np.unique(series.frame, return_index=True)
    on = np.logical_or.reduceat(series.replaced, first)
    stays = np.logical_and.reduceat(series.role < 0, first) & (person.wanted is not None)
    kind = np.where(on, 0, np.where(stays, 2, 1))
    runs: list[tuple[float, float, str]] = []
    step = int(np.median(np.diff(frames))) if len(frames) > 1 else 1
    breaks = np.flatnonzero((np.diff(frames) > step) | (np.diff(kind) != 0)) + 1
    starts = [0, *breaks.tolist()]
    for start, end in zip(starts, [*starts[1:], len(frames)], strict=True):
        last = min(int(frames[end - 1]) + step - 1, len(ends) - 1)
        runs.append((float(time_s[first[start]]), float(ends[last]), KINDS[int(kind[start])][0]))
    legend = "".join(
        f'<li><span class="bar {name}"></span>{meaning}</li>'
        for number, (name, meaning) in enumerate(KINDS)
        if number in kind
    )
    legend = f'<ul class="legend">{legend}</ul>'
    told = f"Replaced in {person.replaced} of {person.present} frames in which the person is seen."
    return ribbon(f"{key}-coverage", "When the face is seen and replaced", told, span, runs, legend)
