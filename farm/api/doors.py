"""The server's doors: what a connection may cost before its call is read, and an end that is not waited for."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import resource
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.auto import AutoHTTPProtocol

HEAD_S = 20.0  # from the first byte of a call, or from the connection, to the end of its headers
MOST_CONNECTIONS = 4000
LEAST_CONNECTIONS = 16
DESCRIPTORS = 1 << 14  # as many as a service needs; what it may have is often a thousand, until it asks for more


def ask_for_descriptors() -> None:
    """Raise how many descriptors this process may open, as far as the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):  # then the doors are as many as without it
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class Doors:
    """How many connections there are, in all and of each address. Half of the process's descriptors may be
    connections, and half of these of one address; this machine's own, where a proxy may stand, may have all, and so may
    the `proxies`: addresses and networks, "*" for every one. For one event loop."""

    def __init__(self, most: int | None = None, proxies: str | Sequence[str] = ()) -> None:
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        bound = MOST_CONNECTIONS if descriptors == resource.RLIM_INFINITY else descriptors // 2
        self.most = most if most is not None else max(LEAST_CONNECTIONS, min(MOST_CONNECTIONS, bound))
        self._open: Counter[str] = Counter()
        self._all = 0
        self._told = False
        self.trust(proxies)

    @property
    def open(self) -> int:
        """How many connections there are."""
        return self._all

    def trust(self, proxies: str | Sequence[str]) -> None:
        """Connections of `proxies` are those of many: in the form of uvicorn's `forwarded_allow_ips`."""
        names = proxies.split(",") if isinstance(proxies, str) else proxies
        self._proxies: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
        for name in names:
            every = ("0.0.0.0/0", "::/0") if name.strip() == "*" else (name.strip(),)
            with suppress(ValueError):  # the name of a socket, which has no address
                self._proxies += [ipaddress.ip_network(one, strict=False) for one in every]

    def enter(self, address: str) -> bool:
        """Whether one more of `address` may come in; it is counted then."""
        most = self.most if self._is_near(address) else self.most // 2
        if self._all >= self.most or self._open.get(address, 0) >= most:
            self._tell(address)
            return False
        self._open[address] += 1
        self._all += 1
        return True

    def leave(self, address: str) -> None:
        self._all -= 1
        self._open[address] -= 1
        if not self._open[address]:
            del self._open[address]

    def _is_near(self, address: str) -> bool:
        try:
            return is_near(address) or any(_ip(address) in network for network in self._proxies)
        except ValueError:
            return False

    def _tell(self, address: str) -> None:
        """Once: a log that every refused connection wrote to would be a door of its own."""
        if not self._told:
            self._told = True
            told = "connections are refused: %d are open of %d, %d of them from %s; a proxy's address belongs in %s"
            log = logging.getLogger("farm.api")
            log.warning(told, self._all, self.most, self._open.get(address, 0), address, "FORWARDED_ALLOW_IPS")


def is_near(address: str) -> bool:
    """Whether `address` is this machine's own; "" is a socket of no network."""
    try:
        return not address or _ip(address).is_loopback
    except ValueError:
        return False


def _ip(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """`address`, as IPv4 where a socket of both kinds says it in IPv6. `ValueError` where it is none."""
    made = ipaddress.ip_address(address)
    return (made.ipv4_mapped or made) if isinstance(made, ipaddress.IPv6Address) else made


def http_config(app: ASGIApp, doors: Doors, *, head_s: float = HEAD_S, log_level: str, stop_s: int) -> uvicorn.Config:
    """How uvicorn serves `app` behind `doors`, to which the proxies whose headers it believes are near.

    No WebSockets: the service has none, and uvicorn hands such a connection to another protocol, which would never
    tell the doors of its end.
    """
    config = uvicorn.Config(
        app,
        http=protocol(doors, head_s),
        ws="none",
        log_level=log_level,
        timeout_graceful_shutdown=stop_s,
        server_header=False,
        proxy_headers=True,
    )
    doors.trust(config.forwarded_allow_ips)
    return config


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
