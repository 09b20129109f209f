"""Calls whose key is not valid: how many of them may come from one address before the database is asked."""

from __future__ import annotations

import hashlib
import ipaddress
import math
import threading
import time
from collections.abc import Callable

from farm.api.turns import FORGET_AT, Rates
from farm.service import keys
from farm.service.database import Database
from farm.service.errors import NoKey, TooFast
from farm.service.records import KeyRow

NET_BITS = 64  # of IPv6, whose smallest network is what one client has
LISTED_S = 1.0  # how often all valid keys are read, and only while keys that are not valid come too often
FIRST_S = 1.0  # how long one that comes while they are read for the first time waits for that


class Strangers:
    """Looks keys up. One that was not valid here before counts against its address, until it turns out to be valid:
    what comes too often asks the database for nothing. Keys that were valid here are known, by their hashes, and pass
    whatever else comes from their address; whether they still are valid is asked at every call. Those that nobody came
    with yet pass too: behind a proxy all share one address, and a service that was begun again knows none of them. So
    that this costs the database no more, their hashes are read all at once, every `LISTED_S`. `clock` in seconds."""

    def __init__(self, a_second: float, at_once: float, clock: Callable[[], float] = time.monotonic) -> None:
        told = f"more than {a_second:g} keys a second come from this address that are not valid"
        self._rates = Rates(a_second, at_once, told=told, hint="wait, and send a valid key")
        self._known: set[bytes] = set()
        self._lock = threading.Lock()
        self._clock = clock
        self._listed: frozenset[bytes] | None = None
        self._tried_s = -math.inf  # when they were read last, or should have been
        self._reading = threading.Lock()

    def key(self, db: Database, secret: str, address: str) -> KeyRow:
        """The key that `secret` is; `NoKey` where it is none that is valid, `TooFast` where `address` comes with such
        too often."""
        mark, net = hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest(), net_of(address)
        with self._lock:
            known = mark in self._known
        if not known:
            try:
                self._rates.call(net)
            except TooFast:
                if not self._is_listed(db, mark):
                    raise
                known = True
        try:
            key = keys.check_key(db, secret)
        except NoKey:
            with self._lock:
                self._known.discard(mark)
            raise
        except BaseException:  # nobody knows whether it is valid
            if not known:
                self._rates.give_back(net)
            raise
        if not known:
            self._rates.give_back(net)
            with self._lock:
                if len(self._known) >= FORGET_AT:
                    self._known.clear()
                self._known.add(mark)
        return key

    def _is_listed(self, db: Database, mark: bytes) -> bool:
        """Whether a key with this hash was valid when all were read last."""
        # Who comes while another one reads waits for that only where there is nothing to go by yet.
        first = self._listed is None
        if (first or self._is_due()) and self._reading.acquire(timeout=FIRST_S if first else 0):
            try:
                if self._is_due():
                    self._tried_s = self._clock()  # one that fails is not tried again by every call either
                    self._listed = keys.valid_hashes(db)
            finally:
                self._reading.release()
        return self._listed is not None and mark in self._listed

    def _is_due(self) -> bool:
        return self._clock() >= self._tried_s + LISTED_S


def net_of(address: str) -> str:
    """What counts as one address: of IPv6 its network."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:  # of a socket, or made up by who wrote the header: those count as one, whatever they say
        return ""
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(ip), NET_BITS), strict=False))
