"""What a connection costs before its call is read: no half of a call is held for ever."""

from __future__ import annotations

import asyncio
import json
import logging
import resource
import socket
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send
from uvicorn.server import ServerState

from farm.api.doors import DESCRIPTORS, Doors, ask_for_descriptors, http_config, is_near
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


def test_a_proxy_is_everybody(caplog: pytest.LogCaptureFixture) -> None:
    doors = Doors(4, "10.1.0.0/16, 192.0.2.7,unix:x,2001:db8::/32")
    proxies = ("10.1.2.3", "::ffff:10.1.2.3", "192.0.2.7", "2001:db8::1", "::ffff:127.0.0.1")
    for address in proxies:
        assert [doors.enter(address) for _ in range(4)] == [True] * 4
        assert doors.open == 4
        for _ in range(4):
            doors.leave(address)
    with caplog.at_level(logging.WARNING, "farm.api"):
        assert [doors.enter("10.2.0.1") for _ in range(4)] == [True, True, False, False]
    assert len(caplog.records) == 1
    everybody = Doors(4, "*")
    assert [everybody.enter("198.51.100.1") for _ in range(5)] == [True] * 4 + [False]


def test_descriptors_are_asked_for() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, before[0]), before[1]))
        few = Doors().most
        ask_for_descriptors()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert hard == before[1]
        assert soft == (DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard))
        assert Doors().most >= few
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("upgrade", ["websocket", "h2c", "none at all"])
def test_an_upgrade_is_a_call_like_others(upgrade: str) -> None:
    """A connection that asks for another protocol is answered in this one, and its door is free again after it."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def story() -> None:
        doors = Doors(4)
        config = http_config(app, doors, log_level="error", stop_s=1)
        config.load()
        made: Any = config.http_protocol_class
        make = partial(made, config=config, server_state=ServerState(), app_state={})
        async with (
            asyncio.timeout(BOUND_S),
            await asyncio.get_running_loop().create_server(make, "127.0.0.1") as server,
        ):
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            head = f"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: {upgrade}\r\n"
            writer.write(f"{head}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {'A' * 22}==\r\n\r\n".encode())
            assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 204")
            assert doors.open == 1
            writer.close()
            while doors.open:
                await asyncio.sleep(0)

    asyncio.run(story())


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
