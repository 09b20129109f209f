"""Fetching one file so that a broken line costs nothing: kept as far as it came, gone on with at the next try."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from core.errors import ModelError

TRIES = 5  # in a row without one new byte
FIRST_WAIT_S = 0.2  # doubled after every fruitless try


class Broken(Exception):
    """The line broke or the server is busy; another try may mend it."""


@dataclass(frozen=True)
class Stream:
    """The rest of a file: `chunks` start at byte `first`; `total` bytes in all, None where the server does not say.

    `version` names this state of the file for the next request, "" where nothing does.
    """

    first: int
    total: int | None
    version: str
    chunks: Iterator[bytes]


# url, first byte wanted, version seen before ("" for none) -> stream; raises Broken or ModelError
Opener = Callable[[str, int, str], Stream]
# name, bytes so far, bytes in all if known
Meter = Callable[[str, int, int | None], None]


def download(url: str, file: Path, opener: Opener, meter: Meter | None = None) -> None:
    """Fetch `url` as `file`, which appears when it is complete; until then it is `file`.part beside `file`.version.

    A part is gone on with only where the server confirms that the file is still the same. Raises `ModelError` when
    the server refuses or the line stays broken, OSError when the disk does.
    """
    part, version = file.with_name(f"{file.name}.part"), file.with_name(f"{file.name}.version")
    fruitless, wait_s = 0, FIRST_WAIT_S
    while True:
        had = part.stat().st_size if part.exists() else 0
        seen = version.read_text("utf-8") if had and version.exists() else ""
        try:
            done = _once(url, part, version, opener(url, had if seen else 0, seen), meter)
            reason = "the line broke"
        except Broken as error:
            done, reason = False, str(error)
        if done:
            break
        if part.exists() and part.stat().st_size > had:
            fruitless, wait_s = 0, FIRST_WAIT_S
            continue
        fruitless += 1
        if fruitless >= TRIES:
            raise ModelError(
                f"cannot be fetched: {reason}", where=url, hint="check the network, then run it again to go on"
            )
        time.sleep(wait_s)
        wait_s *= 2
    with part.open("rb") as whole:
        os.fsync(whole.fileno())
    part.replace(file)
    version.unlink(missing_ok=True)


def _once(url: str, part: Path, version: Path, stream: Stream, meter: Meter | None) -> bool:
    """Write one stream behind what is there; True when the file is complete."""
    name = url.rpartition("/")[2]
    if stream.first == 0:
        # Until the new state has its name, no part of an older state may be taken for it.
        version.unlink(missing_ok=True)
    with part.open("r+b" if part.exists() else "wb") as out:
        out.truncate(stream.first)
        out.seek(stream.first)
        version.write_text(stream.version, "utf-8")
        size = stream.first
        for chunk in stream.chunks:
            out.write(chunk)
            size += len(chunk)
            if meter is not None:
                meter(name, size, stream.total)
    if stream.total is not None and size > stream.total:
        part.unlink()
        raise ModelError(f"the server sent {size} bytes of {stream.total}", where=url, hint="try again")
    return stream.total is None or size == stream.total
