"""Which methods a path has, told alike by 405, by OPTIONS and by HEAD (RFC 9110, sections 9.3.2, 9.3.7, 10.2.1 and
15.5.6).

Each call of the service is a route of its own, and the page's files answer wherever no route does: neither knows which
other methods its path has, so they are asked for what is there alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import Request, Response
from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from farm.api.bare import announces_body
from farm.api.problems import problem


class Methods:
    """ASGI middleware: 404 where nothing is, 405 where it is not what was asked, the methods for OPTIONS; HEAD is GET
    without a body, wherever there is a GET."""

    def __init__(self, app: ASGIApp, *, paths: Mapping[str, Iterable[str]]) -> None:
        """`paths`: templates, as /v1/jobs/{job_id}, and what is answered there."""
        self._app = app
        own = {path: methods_of(names) for path, names in paths.items()}
        self._plain = {path: names for path, names in own.items() if "{" not in path}
        self._templates = [(compile_path(path)[0], names) for path, names in own.items() if "{" in path]

    def of(self, path: str) -> frozenset[str]:
        """All methods of `path`, which is without the prefix; empty where there is nothing. What has the path as its
        own comes before what has it by a parameter."""
        found = self._plain.get(path)
        if found is None:
            found = frozenset().union(*(names for at, names in self._templates if at.match(path)))
        return found

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = path_of(scope) if scope["type"] == "http" else ""
        if not path:  # the prefix alone is sent on to the page
            await self._app(scope, receive, send)
            return
        there, method = self.of(path), scope["method"]
        headers = {"Allow": ", ".join(sorted(there))} if there else {}
        if announces_body(scope):  # which is not read here
            headers["Connection"] = "close"
        if there and method == "OPTIONS":
            await Response(status_code=HTTPStatus.NO_CONTENT, headers=headers)(scope, receive, send)
        elif method not in there:
            status = HTTPStatus.METHOD_NOT_ALLOWED if there else HTTPStatus.NOT_FOUND
            await problem(Request(scope), status, status.phrase, headers=headers)(scope, receive, send)
        elif method == "HEAD":
            await headers_alone(self._app, scope, receive, send)
        else:
            await self._app(scope, receive, send)


def methods_of(names: Iterable[str]) -> frozenset[str]:
    """`names`, and what comes with them."""
    own = {name.upper() for name in names}
    return frozenset(own | {"OPTIONS"} | ({"HEAD"} if "GET" in own else set()))


def path_of(scope: Mapping[str, Any]) -> str:
    """The path of a call without what a proxy put before it."""
    path, prefix = str(scope["path"]), str(scope.get("root_path", ""))
    if not prefix or not f"{path}/".startswith(f"{prefix}/"):
        return path
    return path[len(prefix) :]


async def headers_alone(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """What GET answers, to the end of the headers: what would make the body ends then, as long as it might be. A range
    is GET's alone (section 14.2)."""
    begun = False

    async def sent(message: Message) -> None:
        nonlocal begun
        if message["type"] == "http.response.start" and not begun:
            begun = True
            scope["method"] = "HEAD"  # what is outside, the server too, goes by it
            await send(message)
            await send({"type": "http.response.body", "body": b""})
        raise HeadersAlone

    scope["method"] = "GET"
    scope["headers"] = [(name, value) for name, value in scope["headers"] if name not in {b"range", b"if-range"}]
    try:
        await app(scope, receive, sent)
    except Exception:
        if not begun:
            raise
    finally:
        scope["method"] = "HEAD"


class HeadersAlone(Exception):
    """Nothing more is wanted."""
