"""What a call may be answered beside its success, for the description (deploy/openapi.json).

Most of it follows from what the call takes: a key, a scope, parameters, a body, the database. `refuses` says the rest
of a route, and tests/farm/api/conftest.py holds every answer of its server to the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import Any

from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict

from farm.api.auth import caller_of, key_of
from farm.api.context import context
from farm.api.problems import MEDIA_TYPE

TEXTS = {
    HTTPStatus.UNAUTHORIZED: "no valid key",
    HTTPStatus.FORBIDDEN: "the key lacks the scope, the operator does not allow it, or a quota is used up",
    HTTPStatus.NOT_FOUND: "not there, or another tenant's",
    HTTPStatus.REQUEST_TIMEOUT: "the body did not come, or too slowly",
    HTTPStatus.CONFLICT: "not as things are now",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "too large",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "not a type that is read here",
    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE: "the file ends before this range",
    HTTPStatus.UNPROCESSABLE_ENTITY: "the request, or a file, is not valid",
    HTTPStatus.TOO_MANY_REQUESTS: "too often, or too much at once",
    HTTPStatus.INTERNAL_SERVER_ERROR: "a fault of the service",
    HTTPStatus.SERVICE_UNAVAILABLE: "the service cannot reach what it keeps its state in, or has too much to do",
    HTTPStatus.INSUFFICIENT_STORAGE: "the service's disk is full",
}
PASSING = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
ANY_TYPE = "application/octet-stream"  # such a body is taken as it is, whatever it says of itself


class ProblemBody(BaseModel):
    """What every refused call answers (RFC 9457)."""

    model_config = ConfigDict(frozen=True)

    type: str
    title: str
    status: int
    detail: str
    instance: str
    next_step: str
    faults: list[dict[str, str]] | None = None


def refuses(*statuses: HTTPStatus) -> dict[int | str, dict[str, Any]]:
    """`responses` of a route that may answer these too, by what it does."""
    return {int(status): {"description": TEXTS[status]} for status in statuses}


def statuses_of(route: APIRoute) -> set[HTTPStatus]:
    """What `route` may be refused with, by what it takes."""
    found = {HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.REQUEST_ENTITY_TOO_LARGE}  # with a body that none takes
    taken = route.dependant
    needs = set(called(route.dependant.dependencies))
    asks = [part for part in taken.dependencies if caller_of in called(part.dependencies)]
    scoped = any(part.call is not key_of for part in asks)  # `key_of` alone takes a key of any scope
    if context in needs:
        found.add(HTTPStatus.SERVICE_UNAVAILABLE)
    if caller_of in needs:  # when a key was used last is written down, now and then
        found |= {HTTPStatus.UNAUTHORIZED, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}
        found.add(HTTPStatus.INSUFFICIENT_STORAGE)
    if scoped:
        found.add(HTTPStatus.FORBIDDEN)
    if taken.path_params or any(param.name == "cursor" for param in taken.query_params):
        found.add(HTTPStatus.NOT_FOUND)
    if taken.path_params or taken.query_params or taken.header_params:
        found.add(HTTPStatus.UNPROCESSABLE_ENTITY)
    by_hand = (route.openapi_extra or {}).get("requestBody", {}).get("content", {})
    if route.body_field is not None or by_hand:
        found |= {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.UNPROCESSABLE_ENTITY}
        if ANY_TYPE not in by_hand:
            found.add(HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
    return found


def called(parts: Iterable[Any]) -> Iterator[Callable[..., Any]]:
    """What FastAPI calls before a route: its dependencies, and theirs."""
    for part in parts:
        if part.call is not None:
            yield part.call
        yield from called(part.dependencies)


def describe(made: dict[str, Any], routes: Mapping[str, APIRoute]) -> None:
    """Write into the description `made` what each call may be refused with; `routes` by their operation's id."""
    made["components"]["responses"] = {str(int(status)): answer(status) for status in TEXTS}
    made["components"]["schemas"]["ProblemBody"] = ProblemBody.model_json_schema()
    for name in ("HTTPValidationError", "ValidationError"):  # FastAPI's own, in the place of which there are problems
        made["components"]["schemas"].pop(name, None)
    for operation in (one for methods in made["paths"].values() for one in methods.values()):
        answers = operation["responses"]
        answers.pop("422", None)
        said = {HTTPStatus(int(status)) for status in answers if int(status) in set(TEXTS)}
        for status in sorted(said | statuses_of(routes[operation["operationId"]])):
            answers[str(int(status))] = {"$ref": f"#/components/responses/{int(status)}"}


def answer(status: HTTPStatus) -> dict[str, Any]:
    """A refusal, as the description has it."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemBody"}}}
    made: dict[str, Any] = {"description": TEXTS[status], "content": content}
    if status in PASSING:
        seconds = {"type": "integer", "minimum": 0}
        made["headers"] = {"Retry-After": {"description": "seconds", "required": True, "schema": seconds}}
    return made
