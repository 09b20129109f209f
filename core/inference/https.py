"""Reading a file over HTTPS from any byte on (RFC 9110, sections 13.1.5 If-Range and 14 Range)."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from http.client import HTTPException, HTTPMessage
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from core.errors import ModelError
from core.inference.download import Broken, Stream

WAIT_S = 30.0
CHUNK_BYTES = 1 << 20
THIS_MACHINE = {"localhost", "127.0.0.1", "::1"}
NOT_SATISFIABLE = 416
TRY_AGAIN = {408, 425, 429, 500, 502, 503, 504}
FORBIDDEN = {401, 403}


def open_https(url: str, first: int, version: str) -> Stream:
    """The bytes of `url` from `first` on, or from 0 on where the server has another version than `version`.

    `version` is the validator of an earlier answer, "" for none. Plain http is only taken from this machine, also
    behind redirects, because nothing else would vouch for a file whose hash is not known. Raises `Broken` for what
    another try may mend, `ModelError` for the rest.
    """
    _allow(url)
    headers = {"User-Agent": "face-farm", "Accept-Encoding": "identity"}
    if first and version:
        headers |= {"Range": f"bytes={first}-", "If-Range": version}
    try:
        answer = build_opener(_Redirects()).open(Request(url, headers=headers), timeout=WAIT_S)
    except HTTPError as error:
        with error:
            if error.code == NOT_SATISFIABLE and first:
                return open_https(url, 0, "")
            raise _refusal(url, error.code) from error
    except URLError as error:
        if isinstance(error.reason, ssl.SSLError):
            raise ModelError(f"no trusted connection: {error.reason}", where=url) from error
        raise Broken(str(error.reason)) from error
    except (OSError, HTTPException) as error:
        raise Broken(str(error) or type(error).__name__) from error
    start, total = 0, answer.headers.get("Content-Length")
    if answer.status == 206:
        span, _, total = answer.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
        start = int(span.partition("-")[0]) if span.partition("-")[0].isdigit() else -1
        if start != first:
            answer.close()
            raise ModelError("the server sent another part of the file than asked for", where=url)
    return Stream(start, int(total) if total and total.isdigit() else None, _validator(answer.headers), _chunks(answer))


class _Redirects(HTTPRedirectHandler):
    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        _allow(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _allow(url: str) -> None:
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError as error:
        raise ModelError(f"not an address: {error}", where=url) from error
    if not host or not (parts.scheme == "https" or (parts.scheme == "http" and host in THIS_MACHINE)):
        raise ModelError("only https addresses are fetched", where=url, hint="download the file and add it")


def _validator(headers: HTTPMessage) -> str:
    """What If-Range may hold: a strong ETag, else the time of the last change, else nothing."""
    etag = str(headers.get("ETag") or "")
    return etag if etag.startswith('"') else str(headers.get("Last-Modified") or "")


def _refusal(url: str, code: int) -> Exception:
    if code in TRY_AGAIN:
        return Broken(f"the server answers {code}")
    hint = "check the address"
    if code in FORBIDDEN:
        hint = "it may need a login: download the file and run: farm models add NAME FILE"
    return ModelError(f"the server answers {code}", where=url, hint=hint)


def _chunks(answer: IO[bytes]) -> Iterator[bytes]:
    with answer:
        while True:
            try:
                chunk = answer.read(CHUNK_BYTES)
            except (OSError, HTTPException) as error:
                raise Broken(str(error) or type(error).__name__) from error
            if not chunk:
                return
            yield chunk
