"""What a person's series come to over a film."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from core.geometry import Float64Array
from core.records import FaceSeries, PersonQuality, Spread

# A mouth that opens by less (root mean square, in eye distances) does not tell whether another follows it.
STILL_MOUTH = 0.01
STILL_LEVELS = 1e-6


def similarity(distance: float, same_person: float) -> float:
    """1 for equal vectors, 0.5 at the threshold of one person, 0 from twice that on; a straight line between."""
    return float(np.clip(1 - distance / (2 * same_person), 0, 1))


def spread(values: NDArray[np.floating], frames: NDArray[np.int64]) -> Spread | None:
    """The sizes of values [n] of these frames; NaN do not count, None where there are no others."""
    known = np.isfinite(values)
    if not known.any():
        return None
    sizes, at = np.abs(np.asarray(values[known], np.float64)), frames[known]
    worst = int(np.argmax(sizes))
    return Spread(
        count=len(sizes),
        mean=float(sizes.mean()),
        median=float(np.median(sizes)),
        high=float(np.percentile(sizes, 95)),
        worst=float(sizes[worst]),
        worst_frame=int(at[worst]),
    )


class ShapeSums:
    """Sums of what is left between two meshes [468,2] in the frame of the face, for its variance over a film."""

    def __init__(self) -> None:
        self._count = 0
        self._sum: Float64Array = np.zeros((1, 2))
        self._squares = 0.0

    def add(self, left: Float64Array) -> None:
        self._count += 1
        self._sum = self._sum + left
        self._squares += float((left**2).sum(axis=1).mean())

    def moving(self) -> float | None:
        """Root mean square of what is left without its mean; None of nothing."""
        if not self._count:
            return None
        mean = self._sum / self._count
        return float(np.sqrt(max(self._squares / self._count - float((mean**2).sum(axis=1).mean()), 0.0)))


def summarise(
    person: str,
    series: FaceSeries,
    *,
    name: str,
    sources: tuple[str, ...],
    planned: bool,
    same_person: float,
    moving: float | None,
) -> PersonQuality:
    """One person's numbers; `planned` says that roles tell who was to be replaced."""
    rows = np.flatnonzero(series.replaced) if series.replaced.any() else np.arange(len(series))
    frames = series.frame[rows]

    def over(values: NDArray[np.floating]) -> Spread | None:
        return spread(values[rows], frames)

    def alike(found: Spread | None) -> float | None:
        return None if found is None else similarity(found.mean, same_person)

    to_source, to_original, before = over(series.to_source), over(series.to_original), over(series.before)
    present = len(np.unique(series.frame))
    wanted = len(np.unique(series.frame[series.role >= 0])) if planned else None
    counted = series.replaced & (series.role >= 0) if planned else series.replaced
    replaced = len(np.unique(series.frame[counted]))
    of = present if wanted is None else wanted
    return PersonQuality(
        id=person,
        name=name,
        sources=sources,
        tracks=len(np.unique(series.track)),
        present=present,
        wanted=wanted,
        replaced=replaced,
        coverage=replaced / of if of else None,
        to_source=to_source,
        source_similarity=alike(to_source),
        to_original=to_original,
        original_similarity=alike(to_original),
        before=before,
        before_similarity=alike(before),
        yaw_deg=over(series.yaw_deg),
        pitch_deg=over(series.pitch_deg),
        roll_deg=over(series.roll_deg),
        shift=over(series.shift),
        growth=over(series.growth),
        residual=over(series.residual),
        expression=moving,
        mouth=over(series.mouth_output - series.mouth_original),
        mouth_follows=_correlation(series.mouth_original[rows], series.mouth_output[rows]),
        eyes=over(series.eyes_output - series.eyes_original),
        change=over(series.change),
        flicker=_ratio(series.moved_output[rows], series.moved_original[rows]),
        series=series,
    )


def _ratio(output: NDArray[np.floating], original: NDArray[np.floating]) -> float | None:
    known = np.isfinite(output) & np.isfinite(original)
    still = float(np.sum(original[known], dtype=np.float64))
    return float(np.sum(output[known], dtype=np.float64)) / still if still > STILL_LEVELS else None


def _correlation(first: NDArray[np.floating], second: NDArray[np.floating]) -> float | None:
    """Pearson's; None where one of them hardly changes."""
    known = np.isfinite(first) & np.isfinite(second)
    a, b = np.asarray(first[known], np.float64), np.asarray(second[known], np.float64)
    if len(a) < 2 or min(a.std(), b.std()) < STILL_MOUTH:
        return None
    return float(np.clip(((a - a.mean()) * (b - b.mean())).mean() / (a.std() * b.std()), -1, 1))
