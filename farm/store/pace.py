"""The least rate at which the body of a request must go over the line.

A line that gives a byte now and then meets no timeout, which counts from byte to byte. So the time that is spent in
waiting for the line is counted over the whole body, and compared with what came: what is slower than LEAST_BYTES_S,
after some seconds of grace, is a line that breaks. A download goes on from there with another request.

Bodies that are sent need no such count: each block of them (16 KiB, http.client's) must be gone within connect_s.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from farm.store.refusals import Broken

LEAST_BYTES_S = 16 << 10
PIECE_BYTES = 1 << 20


class Pace:
    """What one body has of bytes, and of seconds that were waited for them."""

    def __init__(self, grace_s: float, where: str) -> None:
        self._grace_s, self._where = grace_s, where
        self._bytes, self._waited_s = 0, 0.0

    def add(self, count: int, waited_s: float) -> int:
        """The bytes until now."""
        self._bytes += count
        self._waited_s += waited_s
        return self._bytes

    def judge(self) -> None:
        """`Broken` where all until now was too slow."""
        if self._waited_s > self._grace_s + self._bytes / LEAST_BYTES_S:
            told = f"the line to S3 is slower than {LEAST_BYTES_S >> 10} kB/s"
            raise Broken(told, where=self._where, hint="check the network, then run the same command again")


def pieces(body: Any, size: int, grace_s: float, where: str) -> Iterator[bytes]:
    """The `size` bytes of an answer's `body` (botocore's StreamingBody) as they come. Raises `Broken`, and what urllib3
    does.

    A piece is given before it is judged, so that each try gets further, however late its first piece came; and what is
    whole is not judged at all.

    A read of botocore's own waits until all that was asked for is there, so the stream below it is read.
    """
    pace = Pace(grace_s, where)
    while True:
        begun_s = time.monotonic()
        piece: bytes = body._raw_stream.read1(PIECE_BYTES)
        waited_s = time.monotonic() - begun_s
        if not piece:
            return
        got = pace.add(len(piece), waited_s)
        yield piece
        if got < size:
            pace.judge()
