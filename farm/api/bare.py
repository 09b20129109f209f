"""Calls that take no body have none (RFC 9110, section 9.3.1, lets a server refuse one): nobody would read it, and a
proxy before the service may keep all that comes for as long as the call lasts.
"""

from __future__ import annotations

from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from farm.api.limits import refuse

WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
HINT = "send this call without a body"


def announces_body(scope: Scope) -> bool:
    """Whether a call has a body, or one of unknown length, which may be empty."""
    headers = dict(scope.get("headers", ()))
    return bool(headers.get(b"content-length", b"").strip(b"0")) or b"transfer-encoding" in headers


class Bare:
    """ASGI middleware inside `Limits`, which bounds how long is waited and adds the headers, and inside `Methods`,
    which answers for methods that a path has not: 413 for a body of any other method. One that is announced without a
    length and is empty, as proxies make of HTTP/2, is none."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in WITH_BODY or not announces_body(scope):
            await self._app(scope, receive, send)
            return
        first = await receive()
        if first.get("body") or first.get("more_body"):
            await refuse(send, scope, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, 0, {}, HINT)
            return
        left = [first]

        async def again() -> Message:
            return left.pop() if left else await receive()

        await self._app(scope, again, send)
