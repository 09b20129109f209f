"""Lengths of time as users write them."""

from __future__ import annotations

import re
from fractions import Fraction

# No exponent, and few digits: a Fraction of "1e5000000" is reckoned for seconds, and holds the interpreter meanwhile.
SECONDS = re.compile(r"[0-9]{1,9}(?:\.[0-9]{0,9}|/[0-9]{1,9})?|\.[0-9]{1,9}", re.ASCII)


def seconds_of(text: str) -> Fraction | None:
    """An exact number of seconds: 10, 1.5 or 1001/30. None for a text that is none."""
    if not SECONDS.fullmatch(text):
        return None
    try:
        return Fraction(text)
    except ZeroDivisionError:
        return None
