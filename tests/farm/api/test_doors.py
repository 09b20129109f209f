"""What a connection costs before its call is read: no half of a call is held for ever."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import ExitStack
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from farm.api.doors import Doors, is_near
from farm.api.limits import Limits
from farm.api.receiving import LEAST_BYTES_A_S, Pace, TooSlow
from tests.farm.api.conftest import House

BOUND_S = 20.0


def test_half_a_head_is_let_go(house: House) -> None:
    half, whole = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    with ExitStack() as stack:
        clients = [
            stack.enter_context(socket.create_connection(("127.0.0.1", house.server.port), timeout=BOUND_S))
            for _ in range(3)
        ]
        clients[1].sendall(half)
        clients[2].sendall(whole)
        assert clients[2].recv(4096).startswith(b"HTTP/1.1 200")
        clients[2].sendall(half)
        for client in clients:
            while piece := client.recv(4096):  # to the end, which the server makes
                assert b"HTTP/1.1" not in piece


def test_an_address_has_half_of_the_doors() -> None:
    doors = Doors(4)
    assert [doors.enter("192.0.2.1") for _ in range(3)] == [True, True, False]
    assert [doors.enter("127.0.0.1") for _ in range(3)] == [True, True, False]
    doors.leave("127.0.0.1")
    assert not doors.enter("192.0.2.1")
    assert doors.enter("192.0.2.2")
    assert Doors().most >= 16
    assert [is_near(text) for text in ("", "127.0.0.1", "::1", "10.0.0.1", "x")] == [True, True, True, False, False]


def test_a_small_body_has_a_time() -> None:
    """A byte now and then is no body."""
    told: list[Message] = []

    async def read_all(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        raise AssertionError("there is no end of it")

    async def drop() -> Message:
        await asyncio.sleep(0)
        return {"type": "http.request", "body": b" ", "more_body": True}

    async def keep(message: Message) -> None:
        told.append(message)

    scope: dict[str, Any] = {"type": "http", "method": "POST", "path": "/v1/jobs", "headers": []}
    asyncio.run(Limits(read_all, whole_s=0.05)(scope, drop, keep))
    assert told[0]["status"] == 408
    assert json.loads(told[1]["body"])["type"].endswith("too-slow")


def test_an_upload_has_a_pace() -> None:
    pace = Pace(30.0)
    for _ in range(100):
        pace.came(29 * LEAST_BYTES_A_S, 29.0)
    pace = Pace(30.0)
    pace.came(1, 29.0)
    with pytest.raises(TooSlow, match="2 bytes came in 58 s"):
        pace.came(1, 29.0)
