"""What is tried again, and when: the network and a service that restarts, never what the service has refused."""

from __future__ import annotations

import random
from collections.abc import Iterator

import httpx

from farm.api.problems import MEDIA_TYPE, TYPES
from farm.client.calls import Call

UNKNOWN_ROUTE = "/-/routes"  # stands in the 404 of Ray Serve's proxy, which names this address
BUSY = frozenset({429, 502, 503, 504})
NOT_TAKEN = frozenset({429, 503})  # whoever answers so did nothing
USED_UP = (f"{TYPES}over-quota", f"{TYPES}too-long")  # of a 429 that no waiting of seconds mends
FIRST_S = 0.2
MOST_S = 10.0


def waits(tries: int, draw: random.Random) -> Iterator[float]:
    """Seconds before each further try: doubled each time, and shaken, so that clients do not come at once."""
    for number in range(tries - 1):
        yield min(MOST_S, FIRST_S * 2**number) * (0.5 + draw.random() / 2)


def again(call: Call, answer: httpx.Response | None) -> bool:
    """Whether to try once more; `answer` None is a connection that failed. What is not safe is sent again only where
    it certainly was not taken. The body of an answer that failed has been read."""
    if answer is None:
        return call.safe
    if answer.status_code == 429 and any(kind in answer.text for kind in USED_UP):
        return False
    if answer.status_code in BUSY or of_a_proxy(answer):
        return call.safe or answer.status_code in NOT_TAKEN
    return False


def of_a_proxy(answer: httpx.Response) -> bool:
    """Whether a proxy failed, and not the service, whose own refusals are problem+json. Ray Serve's answers 500 when a
    replica dies that has the call, and 404 as long as it has not heard of the application."""
    if answer.headers.get("content-type", "").startswith(MEDIA_TYPE):
        return False
    return answer.status_code >= 500 or (answer.status_code == 404 and UNKNOWN_ROUTE in answer.text)


def told_wait(answer: httpx.Response | None) -> float:
    """What the service asks to wait, in seconds."""
    text = answer.headers.get("Retry-After", "") if answer is not None else ""
    return min(MOST_S, float(text)) if text.isdecimal() else 0.0
