"""What is tried again, and when: the network and a service that restarts, never what the service has refused."""

from __future__ import annotations

import random
from collections.abc import Iterator

import httpx

from farm.client.calls import Call

BUSY = frozenset({429, 502, 503, 504})
FIRST_S = 0.2
MOST_S = 10.0


def waits(tries: int, draw: random.Random) -> Iterator[float]:
    """Seconds before each further try: doubled each time, and shaken, so that clients do not come at once."""
    for number in range(tries - 1):
        yield min(MOST_S, FIRST_S * 2**number) * (0.5 + draw.random() / 2)


def again(call: Call, answer: httpx.Response | None) -> bool:
    """Whether to try once more; `answer` None is a connection that failed. What is not safe is sent again only where
    it certainly was not taken."""
    if answer is None:
        return call.safe
    return answer.status_code in BUSY and (call.safe or answer.status_code == 503)


def told_wait(answer: httpx.Response | None) -> float:
    """What the service asks to wait, in seconds."""
    text = answer.headers.get("Retry-After", "") if answer is not None else ""
    return min(MOST_S, float(text)) if text.isdecimal() else 0.0
