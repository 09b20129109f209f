"""The header Range (RFC 9110, section 14): which bytes of a file are wanted."""

from __future__ import annotations

import re
from http import HTTPStatus

from farm.api.problems import Refused

FORM = re.compile(r"bytes=[ \t]*(?P<ranges>[0-9, \t-]+)", re.IGNORECASE | re.ASCII)
ONE = re.compile(r"(?P<first>[0-9]{1,18})-(?P<last>[0-9]{0,18})|-(?P<suffix>[0-9]{1,18})", re.ASCII)
MOST = 16  # more of them in one call are no player's


def wanted(header: str, size: int) -> str | None:
    """`header` with the ranges of it alone that a file of `size` bytes has; None where the whole file is meant: in
    another unit, no ranges, one that ends before it begins, or too many (14.2 leaves it to the server to ignore them).

    `Refused` with 416 where the file ends before all of them.
    """
    form = FORM.fullmatch(header.strip())
    parts = [part.strip() for part in form["ranges"].split(",")] if form is not None else []
    found = [ONE.fullmatch(part) for part in parts if part]
    if not 0 < len(found) <= MOST:
        return None
    there = []
    for one in found:
        if one is None or (one["first"] and one["last"] and int(one["last"]) < int(one["first"])):
            return None
        if (int(one["first"]) < size) if one["first"] else (int(one["suffix"]) > 0 and size > 0):
            there.append(one[0])
    if not there:
        raise Refused(
            HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
            f"the file has {size} bytes, and ends before this range",
            hint="ask for a range that begins within it",
            headers={"Content-Range": f"bytes */{size}"},
        )
    return f"bytes={','.join(there)}"
