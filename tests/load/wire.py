"""HTTP as cheap as a client can be, so that a machine that serves and calls at once mostly serves: bytes that are made
once, one connection a client, nothing read but the status and the length."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, field

HOST = "127.0.0.1"
MOST_BODY = 1 << 24


@dataclass(frozen=True)
class Answer:
    """`seconds` from the first byte sent to the last one read."""

    status: int
    seconds: float
    body: bytes


def request(method: str, path: str, key: str, body: bytes = b"", **headers: str) -> bytes:
    """The bytes of a call; names of headers are written with underscores."""
    lines = [f"{method} {path} HTTP/1.1", "Host: load", f"Authorization: Bearer {key}"]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    elif method != "GET":
        lines.append("Content-Length: 0")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


@dataclass
class Line:
    """One client's connection, opened again when the service closed it."""

    port: int
    opened: int = 0
    _reader: asyncio.StreamReader | None = None
    _writer: asyncio.StreamWriter | None = field(default=None, repr=False)

    async def call(self, data: bytes) -> Answer:
        """Send `data`, read the answer. An idle connection that the service had closed is opened again, once."""
        began_s = time.perf_counter()
        for again in (False, True):
            if self._reader is None:
                await self._open()
            try:
                status, body = await self._exchange(data)
                return Answer(status, time.perf_counter() - began_s, body)
            except (asyncio.IncompleteReadError, ConnectionError):
                self.close()
                if again:
                    raise
        raise AssertionError

    async def _open(self) -> None:
        self._reader, self._writer = await asyncio.open_connection(HOST, self.port, limit=MOST_BODY)
        self.opened += 1

    async def _exchange(self, data: bytes) -> tuple[int, bytes]:
        assert self._reader is not None
        assert self._writer is not None
        self._writer.write(data)
        head = await self._reader.readuntil(b"\r\n\r\n")
        status = int(head[9:12])
        low = head.lower()
        place = low.find(b"content-length:")
        if place >= 0:
            body = await self._reader.readexactly(int(low[place + 15 : low.index(b"\r\n", place)]))
        elif b"transfer-encoding: chunked" in low:
            body = await self._chunks()
        else:
            body = b""
        return status, body

    async def _chunks(self) -> bytes:
        assert self._reader is not None
        parts = []
        while size := int((await self._reader.readuntil(b"\r\n")).strip(), 16):
            parts.append((await self._reader.readexactly(size + 2))[:-2])
        await self._reader.readuntil(b"\r\n")
        return b"".join(parts)

    async def stream(self, data: bytes) -> asyncio.StreamReader:
        """Send `data` and read the answer's head; the body is read by whoever called."""
        await self._open()
        assert self._reader is not None
        assert self._writer is not None
        self._writer.write(data)
        head = await self._reader.readuntil(b"\r\n\r\n")
        assert head[9:12] == b"200", head
        return self._reader

    def close(self) -> None:
        if self._writer is not None:
            with suppress(Exception):
                self._writer.close()
        self._reader = self._writer = None
