"""Plots over time as inline SVG: lines, thresholds, and a ribbon. Colours are the page's (classes), so that they follow
its light and dark; lines differ in their dashes too. Every plot has a title and a description for who cannot see it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

WIDE, HIGH = 560, 150
LEFT, RIGHT, TOP, BOTTOM = 46, 24, 8, 22
TALL = {"on": 18, "off": 7, "stay": 3}  # of a ribbon's bars
POINTS = 300  # of a line; more are drawn as their mean with a band from the least to the greatest
TICKS_X, TICKS_Y = 6, 4
TIME_STEPS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 36000)
GAP = 3.0  # times the usual step between points: there a line is broken


@dataclass(frozen=True)
class Line:
    """A series: times in seconds [n] that rise, values [n] (NaN: none), a name, and its style, 1 to 3."""

    name: str
    time_s: NDArray[np.float64]
    value: NDArray[np.float64]
    style: int


@dataclass(frozen=True)
class Span:
    """From where to where the plots of a section go, in seconds."""

    first_s: float
    end_s: float

    def x(self, time_s: NDArray[np.float64] | float) -> NDArray[np.float64]:
        width = max(self.end_s - self.first_s, 1e-9)
        return np.asarray(LEFT + (np.asarray(time_s) - self.first_s) / width * (WIDE - LEFT - RIGHT), np.float64)


def clock_text(seconds: float) -> str:
    """Seconds as 1:02:03.4 or 2:03.4."""
    tenths = round(max(seconds, 0.0) * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    head = f"{hours}:{minutes:02}" if hours else f"{minutes}"
    return f"{head}:{rest // 10:02}.{rest % 10}"


def plot(
    key: str,
    title: str,
    told: str,
    span: Span,
    lines: Sequence[Line],
    *,
    threshold: tuple[float, str] | None = None,
    least: float | None = None,
) -> str:
    """A figure with a plot of `lines`; `told` describes it in words, `key` makes its ids, `least` is the axis' lower
    end. "" where there is nothing to draw."""
    drawn = [line for line in lines if np.isfinite(line.value).any()]
    if not drawn:
        return ""
    low, high = _range(drawn, threshold, least)
    ticks = _ticks(low, high, TICKS_Y)
    low, high = min(low, ticks[0]), max(high, ticks[-1])

    def y(value: NDArray[np.float64] | float) -> NDArray[np.float64]:
        return np.asarray(TOP + (high - np.asarray(value)) / max(high - low, 1e-12) * (HIGH - TOP - BOTTOM), np.float64)

    parts = [_frame(span)]
    for tick in ticks:
        at = float(y(tick))
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDE - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 6}" y="{at + 3.5:.1f}" text-anchor="end">{_short(tick)}</text>')
    if threshold is not None:
        at = float(y(threshold[0]))
        parts.append(f'<line class="limit" x1="{LEFT}" x2="{WIDE - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
    for line in drawn:
        parts.append(_line(line, span, y))
    legend = [f'<li><span class="key k{line.style}"></span>{escape(line.name)}</li>' for line in drawn]
    if threshold is not None:
        legend.append(f'<li><span class="key limit-key"></span>{escape(threshold[1])}</li>')
    return _figure(key, title, told, HIGH, "".join(parts), f'<ul class="legend">{"".join(legend)}</ul>')


def ribbon(key: str, title: str, told: str, span: Span, runs: Sequence[tuple[float, float, str]], legend: str) -> str:
    """A figure with bars over time: first and end in seconds, and one of the classes TALL."""
    high = 46
    parts = [_frame(span, high)]
    for first_s, end_s, kind in runs:
        x0, x1 = (float(span.x(time_s)) for time_s in (first_s, end_s))
        tall = TALL[kind]
        parts.append(
            f'<rect class="{kind}" x="{x0:.1f}" y="{22 - tall}" width="{max(x1 - x0, 0.8):.1f}" height="{tall}"/>'
        )
    return _figure(key, title, told, high, "".join(parts), legend)


def _figure(key: str, title: str, told: str, high: int, inside: str, below: str) -> str:
    return (
        f'<figure><figcaption>{escape(title)}</figcaption><svg viewBox="0 0 {WIDE} {high}" role="img" '
        f'aria-labelledby="{key}-t {key}-d"><title id="{key}-t">{escape(title)}</title>'
        f'<desc id="{key}-d">{escape(told)}</desc>{inside}</svg>{below}</figure>'
    )


def _frame(span: Span, high: int = HIGH) -> str:
    """The axis of time."""
    base = high - BOTTOM
    parts = [f'<line class="axis" x1="{LEFT}" x2="{WIDE - RIGHT}" y1="{base}" y2="{base}"/>']
    rough = (span.end_s - span.first_s) / TICKS_X
    step = next((one for one in TIME_STEPS_S if one >= rough), TIME_STEPS_S[-1])
    for number in range(math.ceil(span.first_s / step - 1e-6), math.floor(span.end_s / step + 1e-6) + 1):
        at = float(span.x(number * step))
        told = clock_text(number * step)
        told = told.removesuffix(".0") if step >= 1 else told
        parts.append(f'<line class="axis" x1="{at:.1f}" x2="{at:.1f}" y1="{base}" y2="{base + 4}"/>')
        parts.append(f'<text class="tick" x="{at:.1f}" y="{base + 16}" text-anchor="middle">{told}</text>')
    return "".join(parts)


def _line(line: Line, span: Span, y: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> str:
    """The line's pieces, and its band where it has more points than are drawn."""
    known = np.isfinite(line.value)
    time_s, value = line.time_s[known], line.value[known]
    band = ""
    if len(value) > POINTS:
        bins = np.minimum(
            ((time_s - span.first_s) / max(span.end_s - span.first_s, 1e-9) * POINTS).astype(int), POINTS - 1
        )
        starts = np.flatnonzero(np.diff(bins, prepend=-1))
        count = np.diff(starts, append=len(value))
        most, least = np.maximum.reduceat(value, starts), np.minimum.reduceat(value, starts)
        time_s, value = np.add.reduceat(time_s, starts) / count, np.add.reduceat(value, starts) / count
        band = "".join(
            f'<polygon class="b{line.style}" points="{_points(np.r_[x, x[::-1]], np.r_[top, under[::-1]])}"/>'
            for x, top, under in (
                (span.x(time_s[one]), y(most[one]), y(least[one])) for one in _pieces(time_s) if len(one) > 1
            )
        )
    pieces = []
    for one in _pieces(time_s):
        x, at = span.x(time_s[one]), y(value[one])
        if len(one) == 1:
            pieces.append(f'<circle class="d{line.style}" cx="{float(x[0]):.1f}" cy="{float(at[0]):.1f}" r="2"/>')
        else:
            pieces.append(f'<polyline class="l{line.style}" points="{_points(x, at)}"/>')
    return band + "".join(pieces)


def _pieces(time_s: NDArray[np.float64]) -> list[NDArray[np.intp]]:
    """The runs of points without a gap."""
    steps = np.diff(time_s)
    if not len(steps):
        return [np.arange(len(time_s))]
    return [
        np.asarray(one) for one in np.split(np.arange(len(time_s)), np.flatnonzero(steps > GAP * np.median(steps)) + 1)
    ]


def _points(x: NDArray[np.float64], y: NDArray[np.float64]) -> str:
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x.tolist(), y.tolist(), strict=True))


def _range(lines: Sequence[Line], threshold: tuple[float, str] | None, least: float | None) -> tuple[float, float]:
    values = np.concatenate([line.value[np.isfinite(line.value)] for line in lines])
    low, high = float(values.min()), float(values.max())
    if threshold is not None:
        low, high = min(low, threshold[0]), max(high, threshold[0])
    low = low if least is None else min(least, low)
    if high - low < 1e-9:
        high = low + 1.0
    return low, high


def _ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers from below `low` to above `high`, about `most` of them."""
    rough = max(high - low, 1e-9) / most
    power = 10.0 ** np.floor(np.log10(rough))
    step = next(float(power * factor) for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first, last = np.floor(low / step + 1e-9), np.ceil(high / step - 1e-9)
    return [float(number * step) for number in np.arange(first, last + 1)]


def _short(value: float) -> str:
    text = f"{value:.4g}"
    return "0" if text == "-0" else text.replace("-", "\u2212")
