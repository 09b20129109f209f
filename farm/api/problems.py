"""What a refused call looks like: application/problem+json (RFC 9457) with a next step, never a stack."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from core.errors import FarmError, InputError, ModelError, PolicyError, StorageError
from farm.api import schemas
from farm.api.auth import key_first
from farm.service import errors
from farm.service.guard import CALLED

MEDIA_TYPE = "application/problem+json"
TYPES = "urn:farm:problem:"
RETRY_S = "5"
SHOWN_FAULTS = 8
SQLITE_FULL = "disk is full"

# The first class that fits counts.
STATUS: tuple[tuple[type[FarmError], HTTPStatus], ...] = (
    (errors.NotFound, HTTPStatus.NOT_FOUND),
    (errors.Conflict, HTTPStatus.CONFLICT),
    (errors.BadCursor, HTTPStatus.NOT_FOUND),
    (errors.NoKey, HTTPStatus.UNAUTHORIZED),
    (errors.NotAllowed, HTTPStatus.FORBIDDEN),
    (errors.TooFast, HTTPStatus.TOO_MANY_REQUESTS),
    (PolicyError, HTTPStatus.FORBIDDEN),
    (ModelError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (InputError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (errors.Unreachable, HTTPStatus.SERVICE_UNAVAILABLE),
    (StorageError, HTTPStatus.SERVICE_UNAVAILABLE),
    (FarmError, HTTPStatus.INTERNAL_SERVER_ERROR),
)
HINTS = {
    HTTPStatus.NOT_FOUND: "check the address; the calls are listed in /openapi.json",
    HTTPStatus.METHOD_NOT_ALLOWED: "use one of the methods in the Allow header",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "send application/json",
}


# What a pattern of farm.api.schemas means, in words.
PATTERNS = {
    schemas.TEXT: "should have no control characters",
    schemas.NAME: "should be a name without folders and control characters",
    schemas.ID: "should be letters, digits, _ and -",
    schemas.MODEL: "should be letters, digits, _, ., + and -",
    schemas.IN_BUCKET: "should begin with s3://",
    CALLED: "should be an address, https://host/path, without user, password and fragment",
    schemas.SEGMENT: 'should be a number of seconds, as "10", "1.5" or "1001/30"',
    schemas.EVENT: "should be the id of the last event that was seen",
    schemas.CURSOR: "should be the `next` of a page",
    schemas.SHA256: "should be a SHA-256: 64 digits of 0 to 9 and a to f",
}


class Refused(FarmError):
    """A refusal of the HTTP layer itself, with its own status."""

    def __init__(self, status: HTTPStatus, what: str, *, hint: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(what, hint=hint)
        self.status = status
        self.headers = dict(headers or {})


def disk_full() -> Refused:
    return Refused(
        HTTPStatus.INSUFFICIENT_STORAGE,
        "the service's disk is full",
        hint="tell the operator; what was received is kept, and can be gone on with",
    )


def status_of(error: FarmError) -> HTTPStatus:
    if isinstance(error, Refused):
        return error.status
    return next(status for kind, status in STATUS if isinstance(error, kind))


def slug(name: str) -> str:
    """NotFound -> not-found."""
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("-")


def problem(
    request: Request,
    status: HTTPStatus,
    detail: str,
    *,
    kind: str = "",
    hint: str = "",
    headers: Mapping[str, str] | None = None,
    more: Mapping[str, object] | None = None,
) -> JSONResponse:
    """The answer; `hint` is what to do next and is in `next_step`."""
    body = {
        "type": f"{TYPES}{slug(kind)}" if kind else "about:blank",
        "title": status.phrase,
        "status": int(status),
        "detail": detail,
        "instance": request.url.path,
        "next_step": hint or HINTS.get(status, "see /openapi.json"),
        **(more or {}),
    }
    return JSONResponse(body, int(status), headers=dict(headers or {}), media_type=MEDIA_TYPE)


def told(request: Request, error: FarmError) -> JSONResponse:
    """A FarmError as an answer. Where it names a place of the server's, the place stays here."""
    if isinstance(error, StorageError) and SQLITE_FULL in error.what:
        error = disk_full()
    status = status_of(error)
    headers = dict(error.headers) if isinstance(error, Refused) else {}
    if status is HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="farm"'
    if status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS):
        headers.setdefault("Retry-After", RETRY_S)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        logging.getLogger("farm.api").error("%s %s: %s", request.method, request.url.path, error)
        if isinstance(error, StorageError):
            return problem(
                request,
                status,
                "the service cannot reach what it keeps its state in",
                kind="Unreachable",
                hint="try again in a few seconds",
                headers=headers,
            )
    where = "" if "/" in error.where else error.where
    detail = f"{where}: {error.what}" if where else error.what
    return problem(request, status, detail, kind=type(error).__name__, hint=error.hint, headers=headers)


def fault_text(fault: Mapping[str, object]) -> dict[str, str]:
    """One thing that is wrong with a body: where, and what."""
    place = fault.get("loc", ())
    parts = [str(part) for part in place] if isinstance(place, tuple | list) else []
    said = fault.get("ctx")
    told = said if isinstance(said, Mapping) else {}
    if fault.get("type") == "json_invalid":
        at = f" at character {parts[-1]}" if len(parts) > 1 else ""
        return {"where": "", "what": f"the body is no JSON{at}: {told.get('error', 'it cannot be read')}"}
    what = str(fault.get("msg", "is not valid"))
    if fault.get("type") == "string_pattern_mismatch":
        what = PATTERNS.get(str(told.get("pattern", "")), what)
    return {"where": ".".join(parts[1:] or parts), "what": what}


def is_no_json(request: Request, faults: Sequence[Mapping[str, object]]) -> bool:
    """Whether a body that JSON was expected of says itself that it is something else."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    plain = kind == "application/json" or kind.endswith("+json")
    return bool(kind) and not plain and any(fault.get("loc") == ("body",) for fault in faults)


def add_handlers(app: FastAPI) -> None:
    """Every way in which a call can fail is a problem+json."""

    @app.exception_handler(FarmError)
    async def farm_error(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, FarmError)
        return told(request, error)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        try:
            await key_first(request, of_body=any(fault.get("loc", ())[:1] == ("body",) for fault in error.errors()))
        except FarmError as refused:
            return told(request, refused)
        if is_no_json(request, error.errors()):
            kind = request.headers["content-type"][:80]
            return problem(request, HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"{kind} is not what is read here")
        faults = [fault_text(fault) for fault in error.errors()[:SHOWN_FAULTS]]
        first = faults[0] if faults else {"where": "", "what": "is not valid"}
        return problem(
            request,
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"{first['where']}: {first['what']}" if first["where"] else first["what"],
            kind="InputError",
            hint="mend what `faults` names; the fields are described in /openapi.json",
            more={"faults": faults},
        )

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        if error.status_code == HTTPStatus.BAD_REQUEST and isinstance(error.__cause__, ValueError):
            fault = {"type": "json_invalid", "loc": ("body",), "ctx": {"error": "it is not UTF-8"}}
            return await invalid(request, RequestValidationError([fault]))
        return problem(request, HTTPStatus(error.status_code), str(error.detail), headers=error.headers)

    @app.exception_handler(ClientDisconnect)
    async def nobody_there(request: Request, _error: Exception) -> JSONResponse:
        return problem(request, HTTPStatus.REQUEST_TIMEOUT, "the client left")  # nobody reads it

    @app.exception_handler(Exception)
    async def fault_of_ours(request: Request, error: Exception) -> JSONResponse:
        logging.getLogger("farm.api").exception("%s %s", request.method, request.url.path, exc_info=error)
        return problem(
            request,
            HTTPStatus.INTERNAL_SERVER_ERROR,
            "a fault of the service",
            hint="try again; if it happens again, tell the operator the time and this call",
        )
