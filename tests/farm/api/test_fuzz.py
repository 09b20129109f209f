"""Requests that schemathesis makes of the service's own description: none is answered with a fault of the service, and
every answer is one that the description names."""

from __future__ import annotations

import json
import os

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance

from tests.farm.api.conftest import House
from tests.farm.api.test_openapi import FILE

# `make fuzz` asks for more.
EXAMPLES = int(os.environ.get("FARM_FUZZ_EXAMPLES", "3"))
CALLS = sorted(
    operation["operationId"]
    for methods in json.loads(FILE.read_text())["paths"].values()
    for operation in methods.values()
    if operation["operationId"] != "watchJob"  # has no end
)
CHECKS = [not_a_server_error, content_type_conformance, response_schema_conformance]


@schemathesis.serializer("application/toml")
def toml(_context: schemathesis.SerializationContext, value: object) -> bytes:
    """A cast as text."""
    return str(value).encode(errors="replace")


@pytest.mark.parametrize("call", CALLS)
def test_whatever_is_asked_is_answered(call: str, house: House) -> None:
    schema = schemathesis.openapi.from_path(str(FILE))
    operation = schema.find_operation_by_id(call)

    @given(case=operation.as_strategy())
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate],
    )
    def asked(case: schemathesis.Case) -> None:
        headers = {"Authorization": f"Bearer {house.secret}"}
        answer = case.call(base_url=house.server.url, headers=headers, timeout=60)
        case.validate_response(answer, checks=CHECKS)

    asked()
