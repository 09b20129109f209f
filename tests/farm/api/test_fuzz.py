"""Requests that schemathesis makes of the service's own description: none is answered with a fault of the service, and
every answer is one that the description names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    positive_data_acceptance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from farm.service.jobs import cancel
from tests.farm.api.conftest import House, Server
from tests.farm.api.flows import asked, film_bytes, sent
from tests.farm.api.test_openapi import FILE

# `make fuzz` asks for more.
EXAMPLES = int(os.environ.get("FARM_FUZZ_EXAMPLES", "2"))
CALLS = sorted(
    operation["operationId"]
    for methods in json.loads(FILE.read_text())["paths"].values()
    for operation in methods.values()
)
# The others of schemathesis: unsupported_method, allow_header_conformance and missing_required_header look at cases of
# its coverage phase alone, which `test_the_tool_by_itself` runs (and test_methods.py asks every path for every method);
# use_after_free and ensure_resource_availability look at chains of calls by OpenAPI links, and it has none;
# ignored_auth and object_level_authorization ask again without a key, or with another tenant's, as test_security.py
# does of every call.
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    positive_data_acceptance,
]


@schemathesis.serializer("application/toml")
def toml(_context: schemathesis.SerializationContext, value: object) -> bytes:
    """A cast as text."""
    return str(value).encode(errors="replace")


@pytest.fixture(scope="module")
def schema(server: Server) -> schemathesis.BaseSchema:
    """As the service gives it, with the limits of its settings; test_openapi.py holds it against the file."""
    return schemathesis.openapi.from_url(f"{server.url}/openapi.json")


@pytest.mark.parametrize("call", CALLS)
def test_whatever_is_asked_is_answered(call: str, house: House, schema: schemathesis.BaseSchema) -> None:
    operation = schema.find_operation_by_id(call)
    modes = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    key = {"Authorization": f"Bearer {house.secret}"}

    @given(case=st.one_of(*(operation.as_strategy(generation_mode=mode) for mode in modes)))
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate],
    )
    def asked_for(case: schemathesis.Case) -> None:
        # A key is the test's own, but where the tool leaves it out: what comes without one is to be refused.
        headers = key if "Authorization" in (case.headers or {}) else None
        answer = case.call(base_url=house.server.url, headers=headers, timeout=60)
        case.validate_response(answer, checks=CHECKS)

    asked_for()


@pytest.mark.heavy
def test_the_tool_by_itself(house: House, clips: Path, tmp_path: Path) -> None:
    """All of its checks, with cases that cover every rule of the description. Left out: the stream, which has no end
    while its job has none, the call that revokes the key it is asked with, and those that take a file's bytes: no
    schema says whether they are the film that was announced."""
    with house.http() as http:
        job = asked(http, sent(http, "target", "film.mp4", film_bytes(clips))["id"])["id"]
    cancel(house.db, house.name, job)
    tool = Path(sys.executable).with_name("st")
    command = [str(tool), "run", f"{house.server.url}/openapi.json", "-n", "15"]
    command += ["--phases", "examples,coverage,fuzzing", "-H", f"Authorization: Bearer {house.secret}"]
    for left_out in ("watchJob", "revokeKey", "sendUpload", "sendHead", "sendPart"):
        command += ["--exclude-operation-id", left_out]
    done = subprocess.run(command, capture_output=True, timeout=600, check=False, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-8000:]
