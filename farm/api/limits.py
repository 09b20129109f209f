"""What a call may cost before it is understood: its size, its time, and headers that every answer carries."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from farm.api.problems import MEDIA_TYPE, TYPES

JSON_BYTES = 1 << 20
SILENCE_S = 30.0  # between two pieces of a body
WHOLE_S = 60.0  # for all of a small body
DATA = re.compile(r".*/v1/uploads/[^/]+/data")
PART = re.compile(r".*/v1/uploads/[^/]+/parts/[^/]+")
ELSE = "send films and pictures to /v1/uploads"
CUT = "announce the file again, and send it in parts: `head`, `parts`, `finish`"

# The page runs no script but its own, and no other page may hold it in a frame.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "connect-src {reached}; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def security(origins: Sequence[str] = ()) -> dict[str, str]:
    """Headers of every answer. The page reaches `origins` too: the bucket that films go into."""
    return {
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
        "Content-Security-Policy": POLICY.format(reached=" ".join(["'self'", *origins])),
    }


class TooMuch(Exception):
    """A body that is longer than it may be, or came too slowly; `status` says which."""

    def __init__(self, status: HTTPStatus) -> None:
        self.status = status


class Limits:
    """ASGI middleware. Bodies of anything but an upload's data are at most `json_bytes` long, and here within
    `whole_s`; the pace of an upload's, and how long a part is, are measured where it is written. `data_bytes`: the
    longest body of a file that is sent as it is, None for any."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        json_bytes: int = JSON_BYTES,
        data_bytes: int | None = None,
        silence_s: float = SILENCE_S,
        whole_s: float = WHOLE_S,
        origins: Sequence[str] = (),
    ) -> None:
        self._app = app
        self._headers = security(origins)
        self._json_bytes = json_bytes
        self._data_bytes = data_bytes
        self._silence_s = silence_s
        self._whole_s = whole_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        data = scope["method"] == "PUT" and DATA.fullmatch(path) is not None
        uploads = data or (scope["method"] == "PUT" and PART.fullmatch(path) is not None)
        most = self._json_bytes if not uploads else self._data_bytes if data else None
        hint = CUT if data else ELSE
        taken = 0
        end_s = asyncio.get_running_loop().time() + self._whole_s
        began = False
        over: TooMuch | None = None

        async def measured() -> Message:
            nonlocal taken, over
            try:
                # Once the body is in, what is waited for is the client's leaving, which may take hours.
                silence_s = None if body_in else self._silence_s
                if silence_s is not None and not uploads:
                    silence_s = min(silence_s, end_s - asyncio.get_running_loop().time())
                message = await asyncio.wait_for(receive(), silence_s)
            except TimeoutError:
                over = TooMuch(HTTPStatus.REQUEST_TIMEOUT)
                raise over from None
            if message["type"] == "http.request":
                self_note(message)
                taken += len(message.get("body", b""))
                if most is not None and taken > most:
                    over = TooMuch(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
                    raise over
            return message

        body_in = False

        def self_note(message: Message) -> None:
            nonlocal body_in
            body_in = not message.get("more_body", False)

        async def sent(message: Message) -> None:
            nonlocal began
            if over is not None and not began:
                return  # what the application makes of a body that broke off is not what the client is told
            if message["type"] == "http.response.start":
                began = True
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        announced = dict(scope["headers"]).get(b"content-length", b"")
        if most is not None and announced.isdigit() and int(announced) > most:
            await refuse(send, scope, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, most, self._headers, hint)
            return
        try:
            await self._app(scope, measured, sent)
        except Exception:
            if over is None or began:
                raise
        if over is not None and not began:
            await refuse(send, scope, over.status, most, self._headers, hint)


async def refuse(
    send: Send, scope: Scope, status: HTTPStatus, most: int | None, security_headers: Mapping[str, str], hint: str
) -> None:
    """Answer without having read the body; the connection ends, because what is left of it would be the next call."""
    slow = status is HTTPStatus.REQUEST_TIMEOUT
    body: dict[str, Any] = {
        "type": f"{TYPES}{'too-slow' if slow else 'too-large'}",
        "title": status.phrase,
        "status": int(status),
        "detail": "the body did not come" if slow else f"the body is longer than {most} bytes",
        "instance": scope["path"],
        "next_step": "send it again" if slow else hint,
    }
    data = json.dumps(body).encode()
    headers = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", str(len(data)).encode()),
        (b"connection", b"close"),
        *((name.lower().encode(), value.encode()) for name, value in security_headers.items()),
    ]
    await send({"type": "http.response.start", "status": int(status), "headers": headers})
    await send({"type": "http.response.body", "body": data})
