"""Integer time: conversions between ticks of a time base and exact seconds. No floats, no PyAV."""

from __future__ import annotations

from fractions import Fraction


def seconds_to_ticks(seconds: Fraction, time_base: Fraction) -> int:
    """The first tick of `time_base` at or after `seconds`."""
    return -((-seconds / time_base).__floor__())


def clock(ticks: int, time_base: Fraction) -> str:
    """`ticks` for a person: `h:mm:ss.mmm`, milliseconds rounded down, negative times with a minus sign."""
    milliseconds = (abs(ticks) * time_base * 1000).__floor__()
    seconds, rest = divmod(milliseconds, 1000)
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes, 60)
    sign = "-" if ticks < 0 else ""
    return f"{sign}{hour}:{minute:02d}:{second:02d}.{rest:03d}"
