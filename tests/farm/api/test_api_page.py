"""docs/api.md: its calls are those of deploy/openapi.json, all of them, with fields and parameters that there are."""

from __future__ import annotations

import json
import re
import shlex
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args
from urllib.parse import parse_qsl

import jsonschema
import pytest

from farm.api.schemas import NewCast
from farm.client import AsyncFarm, Farm
from farm.service.posting import WAITS_S, WHOLE_S, signature
from farm.service.records import SCOPES, EventKind, TenantQuota
from farm.service.states import JobState

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs" / "api.md").read_text()
SPEC: dict[str, Any] = json.loads((ROOT / "deploy" / "openapi.json").read_text())
FREE = {"/healthz", "/readyz", "/metrics", "/v1/files/{token}"}
FLAGS = {"-N", "-L"}


@dataclass
class Example:
    """One curl call of the text."""

    line: str
    method: str = "GET"
    path: str = ""
    query: list[tuple[str, str]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = None
    kind: str = ""


def example(line: str) -> Example:
    made, words = Example(line), iter(shlex.split(line.partition("curl ")[2]))
    method = ""
    for word in words:
        if word in ("-H", "-X", "-T", "-o", "-C", "--json"):
            value = next(words)
            if word == "-H" and value != "$KEY":
                name, _, text = value.partition(": ")
                made.headers[name.lower()] = text
            elif word == "-H":
                made.headers["authorization"] = value
            elif word == "-X":
                method = value
            elif word == "-T":
                made.method, made.kind = "PUT", made.headers.get("content-type", "application/octet-stream")
            elif word == "--json":
                made.method, made.kind, made.body = "POST", "application/json", json.loads(value)
        elif word.startswith("$FARM/"):
            address, _, query = word.removeprefix("$FARM").partition("?")
            made.path, made.query = address, parse_qsl(query)
        else:
            assert word in FLAGS, line
    made.method = method or made.method
    return made


EXAMPLES = [example(line) for line in TEXT.splitlines() if "curl " in line]


def operation_of(made: Example) -> tuple[str, dict[str, Any]]:
    """(template, operation) that the call reaches; a path without a parameter goes first."""
    for template in sorted(SPEC["paths"], key=lambda path: path.count("{")):
        form = re.sub(r"\{\w+\}", "[^/]+", template)
        if re.fullmatch(form, made.path) and made.method.lower() in SPEC["paths"][template]:
            return template, SPEC["paths"][template][made.method.lower()]
    raise AssertionError(f"no such call: {made.line}")


@pytest.mark.parametrize("made", EXAMPLES, ids=[f"{one.method} {one.path}" for one in EXAMPLES])
def test_an_example_is_a_call_of_the_service(made: Example) -> None:
    template, operation = operation_of(made)
    parameters = {(one["in"], one["name"].lower()): one for one in operation.get("parameters", ())}
    for name, value in made.query:
        schema = parameters["query", name]["schema"]
        number = {"integer": int, "number": float}.get(schema.get("type", ""), str)
        whole = [value] if "array" in json.dumps(schema) else number(value)
        jsonschema.validate(whole, {**schema, "components": SPEC["components"]})
    for name in set(made.headers) - {"authorization", "content-type"}:
        assert ("header", name) in parameters
    assert ("authorization" in made.headers) == (template not in FREE)
    content = operation.get("requestBody", {}).get("content", {})
    if operation["operationId"] == "putCast" and made.kind == "application/json":
        NewCast.model_validate_json(json.dumps(made.body))
        return
    assert (made.kind in content) if made.kind else not content
    if made.body is not None:
        jsonschema.validate(made.body, {**content[made.kind]["schema"], "components": SPEC["components"]})


def test_every_call_has_an_example() -> None:
    shown = {operation_of(made)[1]["operationId"] for made in EXAMPLES}
    assert shown == {one["operationId"] for path in SPEC["paths"].values() for one in path.values()}


def rows(heading: str) -> list[str]:
    """The names in the first column of the table under a heading."""
    part = TEXT.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return [name for line in re.findall(r"^\| (`?\w.*?) \|", part, re.M) for name in re.findall(r"[\w:]+", line)][1:]


def test_the_tables_name_all_there_is() -> None:
    assert set(rows("Jobs")) == set(JobState)
    assert set(rows("Events")) == {*get_args(EventKind), "job", "end", "gone"}
    assert set(rows("Keys and scopes")) == set(SCOPES)
    quotas = {name.replace("gpu_ms", "gpu_s") for name in TenantQuota.__dataclass_fields__}
    assert set(rows("Quotas")) == quotas
    calls = [call for path in SPEC["paths"].values() for call in path.values()]
    known = {int(status) for call in calls for status in call["responses"] if int(status) >= 400}
    assert {int(status) for status in rows("Errors")} == known | {405}  # the one that no call of a description has


def test_the_waits_of_webhooks_are_those_of_the_service() -> None:
    assert WAITS_S == (5, 30, 120, 600, 3600, 6 * 3600, 24 * 3600)
    assert "5 s, 30 s, 2 min, 10 min, 1 h, 6 h and\n24 h" in TEXT
    assert f"within {WHOLE_S:g} seconds" in TEXT


def test_the_check_of_a_signature_works() -> None:
    code = next(block for block in re.findall(r"```python\n(.*?)```", TEXT, re.S) if "def genuine" in block)
    names: dict[str, Any] = {}
    exec(code, names)
    secret, body, now = "whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0", '{"id":"dlv_1"}', int(time.time())
    headers = {
        "webhook-id": "dlv_1",
        "webhook-timestamp": str(now),
        "webhook-signature": signature(secret, "dlv_1", now, body),
    }
    assert names["genuine"](secret, headers, body.encode())
    assert not names["genuine"](secret, headers, body.encode() + b" ")
    assert not names["genuine"](secret.replace("c2V", "c2W"), headers, body.encode())
    old = {**headers, "webhook-timestamp": str(now - 900)}
    old["webhook-signature"] = signature(secret, "dlv_1", now - 900, body)
    assert not names["genuine"](secret, old, body.encode())


def test_the_methods_of_the_client_are_there() -> None:
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.S)
    used = {name for block in blocks for name in re.findall(r"\bfarm\.(\w+)\(", block)}
    assert used >= {"submit", "watch", "download", "cast", "put_cast", "upload", "wait"}
    for name in used:
        assert callable(getattr(Farm, name))
        assert callable(getattr(AsyncFarm, name))
    for block in blocks:
        compile(block, "docs/api.md", "exec")
