"""What the client sends again: what a restart of the service or of what stands before it breaks, and nothing else."""

from __future__ import annotations

import httpx
import pytest

from farm.client.calls import Call
from farm.client.retry import again

SAFE, ONCE = Call("GET", "/v1/jobs"), Call("POST", "/v1/uploads", safe=False)
SERVE_404 = "Path '/v1/jobs' not found. Ping http://.../-/routes for available routes."


def problem(status: int, kind: str = "x") -> httpx.Response:
    text = f'{{"type": "urn:farm:problem:{kind}"}}'
    return httpx.Response(status, headers={"content-type": "application/problem+json"}, text=text)


def plain(status: int, text: str = "Internal Server Error") -> httpx.Response:
    return httpx.Response(status, headers={"content-type": "text/plain; charset=utf-8"}, text=text)


@pytest.mark.parametrize(
    ("answer", "safe", "once"),
    [
        (None, True, False),
        (problem(503), True, True),
        (problem(429), True, True),
        (problem(429, "too-fast"), True, True),
        (problem(429, "over-quota"), False, False),
        (problem(429, "too-long"), False, False),
        (problem(500), False, False),
        (problem(404), False, False),
        (problem(409), False, False),
        (plain(500), True, False),
        (plain(502), True, False),
        (plain(503), True, True),
        (plain(404, SERVE_404), True, False),
        (plain(404, "Not Found"), False, False),
        (plain(401, "a login is wanted"), False, False),
    ],
)
def test_what_is_sent_again(answer: httpx.Response | None, safe: bool, once: bool) -> None:
    assert again(SAFE, answer) is safe
    assert again(ONCE, answer) is once
