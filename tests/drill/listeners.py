"""Who listens to a service that is being killed: clients on event streams, and a web server that webhooks call."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx

LONGEST = 1 << 16


class Counting(httpx.AsyncBaseTransport):
    """Passes on, and keeps what event streams were asked for from where, and how often a call had no answer."""

    def __init__(self) -> None:
        self._inner = httpx.AsyncHTTPTransport(limits=httpx.Limits(max_connections=100))
        self.asked: dict[str, list[int]] = defaultdict(list)
        self.refused: dict[int, int] = defaultdict(int)
        self.broken = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/events"):
            self.asked[request.url.path.split("/")[-2]].append(int(request.headers["Last-Event-ID"]))
        try:
            answer = await self._inner.handle_async_request(request)
        except httpx.TransportError:
            self.broken += 1
            raise
        if not answer.is_success and not answer.is_redirect:
            self.refused[answer.status_code] += 1
        return answer

    async def aclose(self) -> None:
        await self._inner.aclose()


@dataclass
class Receiver:
    """`got`: webhook-id -> every body that came with it. Some ids are answered 503 at their first try."""

    chance: random.Random
    got: dict[str, list[bytes]] = field(default_factory=lambda: defaultdict(list))
    signed: dict[str, tuple[str, str]] = field(default_factory=dict)
    refused: int = 0
    url: str = ""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One call of a webhook."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
            body = await reader.readexactly(int(headers["content-length"]))
            name = headers["webhook-id"]
            first = name not in self.got
            self.got[name].append(body)
            self.signed[name] = (headers["webhook-timestamp"], headers["webhook-signature"])
            refuse = first and self.chance.random() < 0.2
            self.refused += refuse
            status = b"503 Service Unavailable" if refuse else b"200 OK"
            writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


@asynccontextmanager
async def receiver(chance: random.Random) -> AsyncIterator[Receiver]:
    made = Receiver(chance)
    server = await asyncio.start_server(made.answer, "127.0.0.1", 0, limit=LONGEST)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    async with server:
        yield made
