"""Names of things, and the cursors of lists."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets
import time

from farm.service.errors import BadCursor

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no i, l, o, u; its order is that of its bytes
PART = re.compile(r"[a-z0-9_-]{1,80}", re.ASCII)  # of a cursor: an id, a stage or a number; a text could say anything
NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)
TIME_DIGITS, RANDOM_DIGITS = 10, 16  # 50 bits of milliseconds, 80 random bits, as in a ULID


def new_id(kind: str) -> str:
    """A name that was never given before, `kind_` and 26 letters that sort by this machine's time."""
    return f"{kind}_{_digits(time.time_ns() // 1_000_000, TIME_DIGITS)}{_digits(secrets.randbits(80), RANDOM_DIGITS)}"


def _digits(number: int, count: int) -> str:
    return "".join(ALPHABET[(number >> (5 * place)) & 31] for place in reversed(range(count)))


def make_cursor(list_name: str, *last: str) -> str:
    """Where a list goes on: behind `last`, of the list that `list_name` (with its filter) names."""
    return base64.urlsafe_b64encode("\n".join([_mark(list_name), *last]).encode()).decode().rstrip("=")


def read_cursor(list_name: str, cursor: str, parts: int = 1) -> tuple[str, ...]:
    """What `make_cursor` was given. `BadCursor` for one of another list, or that no list gave."""
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        text = ""
    mark, *last = text.split("\n")
    if mark != _mark(list_name) or len(last) != parts or not all(map(PART.fullmatch, last)):
        raise _bad_cursor()
    return tuple(last)


def cursor_number(part: str) -> int:
    """The number that a part of a cursor is; `BadCursor` for what is none, or more than a column holds."""
    if not NUMBER.fullmatch(part):
        raise _bad_cursor()
    return int(part)


def _bad_cursor() -> BadCursor:
    return BadCursor("this list did not give that cursor", hint="begin again without a cursor")


def _mark(list_name: str) -> str:
    return hashlib.sha256(list_name.encode()).hexdigest()[:8]
