"""Lengths of time as users write them."""

from __future__ import annotations

import re
from fractions import Fraction

# No exponent, and few digits: a Fraction of "1e5000000" is reckoned for seconds, and holds the interpreter meanwhile.
SECONDS = re.compile(r"[0-9]{1,9}(?:\.[0-9]{0,9}|/[0-9]{1,9})?|\.[0-9]{1,9}", re.ASCII)
# A number always has its unit: 8 alone may mean anything.
UNITS = {"d": 86400, "h": 3600, "min": 60, "m": 60, "s": 1}
DURATION = re.compile(r"(?:[0-9]{1,9}(?:\.[0-9]{1,9})?(?:d|h|min|m|s))+", re.ASCII)
PART = re.compile(r"([0-9.]+)(d|h|min|m|s)", re.ASCII)


def seconds_of(text: str) -> Fraction | None:
    """An exact number of seconds: 10, 1.5 or 1001/30. None for a text that is none."""
    if not SECONDS.fullmatch(text):
        return None
    try:
        return Fraction(text)
    except ZeroDivisionError:
        return None


def duration_of(text: str) -> float | None:
    """A length of time with its units, in seconds: 8h, 90m, 1h30m or 45s. None for a text that is none."""
    if not DURATION.fullmatch(text):
        return None
    return sum(float(number) * UNITS[unit] for number, unit in PART.findall(text))
