"""The server's doors: what a connection may cost before its call is read, and an end that is not waited for."""

from __future__ import annotations

import asyncio
import ipaddress
import resource
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.auto import AutoHTTPProtocol

HEAD_S = 20.0  # from the first byte of a call, or from the connection, to the end of its headers
MOST_CONNECTIONS = 4000
LEAST_CONNECTIONS = 16


class Doors:
    """How many connections there are, in all and of each address. Half of the process's descriptors may be
    connections, and half of these of one address; this machine's own, where a proxy may stand, may have all."""

    def __init__(self, most: int | None = None) -> None:
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        bound = MOST_CONNECTIONS if descriptors == resource.RLIM_INFINITY else descriptors // 2
        self.most = most if most is not None else max(LEAST_CONNECTIONS, min(MOST_CONNECTIONS, bound))
        self._open: Counter[str] = Counter()
        self._all = 0

    def enter(self, address: str) -> bool:
        """Whether one more of `address` may come in; it is counted then."""
        most = self.most if is_near(address) else self.most // 2
        if self._all >= self.most or self._open[address] >= most:
            return False
        self._open[address] += 1
        self._all += 1
        return True

    def leave(self, address: str) -> None:
        self._all -= 1
        self._open[address] -= 1
        if not self._open[address]:
            del self._open[address]


def is_near(address: str) -> bool:
    """Whether `address` is this machine's own; "" is a socket of no network."""
    try:
        return not address or ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def protocol(doors: Doors, head_s: float = HEAD_S) -> type[asyncio.Protocol]:
    """Uvicorn's protocol, behind `doors`: a connection of which no whole headers come within `head_s` is closed."""
    plain = cast("type[Any]", AutoHTTPProtocol)

    class Guarded(plain):  # type: ignore[misc, valid-type]
        _late: asyncio.TimerHandle | None = None
        _address: str | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            peer = transport.get_extra_info("peername")
            address = str(peer[0]) if isinstance(peer, tuple) and peer else ""
            if not doors.enter(address):
                transport.abort()
                return
            self._address = address
            self._look()

        def connection_lost(self, exc: Exception | None) -> None:
            if self._address is not None:
                doors.leave(self._address)
                self._address = None
            self._forget()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self._address is not None:
                self._look()

        def _answers(self) -> bool:
            return self.cycle is not None and not self.cycle.response_complete

        def _look(self) -> None:
            if self._answers():
                self._forget()
            elif self._late is None:
                self._late = self.loop.call_later(head_s, self._close)

        def _forget(self) -> None:
            if self._late is not None:
                self._late.cancel()
                self._late = None

        def _close(self) -> None:
            self._late = None
            if not self._answers():
                self.transport.close()

    return Guarded


class HttpServer(uvicorn.Server):
    """Uvicorn, which waits for connections when it stops; `ending` is awaited before, and ends those that have no end
    of their own."""

    def __init__(self, config: uvicorn.Config, ending: Callable[[], Awaitable[None]]) -> None:
        super().__init__(config)
        self._ending = ending

    async def shutdown(self, sockets: Any = None) -> None:
        await self._ending()
        await super().shutdown(sockets)
