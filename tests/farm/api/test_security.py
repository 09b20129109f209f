"""Who may what: every call without, with a foreign, an expired, a revoked and a poor key; names that are paths."""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import event

from farm.api.app import make_app
from farm.api.links import read, sign
from farm.service import keys
from farm.service.database import Database
from farm.service.errors import NotFound
from tests.farm.api.conftest import House
from tests.farm.api.flows import asked, film_bytes, finished, sent
from tests.farm.api.test_calls import is_problem

OPEN = {"/healthz", "/readyz", "/metrics", "/openapi.json", "/v1/files/{token}"}
BODIES: dict[str, Any] = {
    "submitJob": {"target": {"upload": "upl_x"}, "swapper": "none"},
    "announceUpload": {"purpose": "target", "name": "x.mp4", "size_bytes": 10},
    "putCast": {"people": {"p1": {}}},
    "makeWebhook": {"url": "https://example.com/x"},
    "makeKey": {"name": "x", "scopes": ["jobs:read"]},
}
PLAIN = defaultdict(lambda: "p1.jpg", number="1")  # of a path, where a test has no id for it


def calls(house: House) -> list[tuple[str, str, str]]:
    """(method, path, operation) of every call of the service."""
    schema = make_app(house.db, house.server.places, house.server.settings).openapi()
    return [
        (method.upper(), path, operation["operationId"])
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    ]


def ask(client: httpx.Client, method: str, path: str, operation: str, ids: dict[str, str]) -> httpx.Response:
    filled = re.sub(r"\{(\w+)\}", lambda found: ids.get(found[1], PLAIN[found[1]]), path)
    body = BODIES.get(operation)
    content = b"data" if operation == "sendUpload" else None
    return client.request(method, filled, json=body, content=content)


def test_no_call_works_without_a_valid_key(house: House) -> None:
    expired = house.key(house.name, expires_ms=1)
    revoked = keys.make_key(house.db, house.name, "old", ("admin",))
    keys.revoke(house.db, house.name, revoked.row.id)
    wrong = house.secret[:-1] + ("A" if house.secret[-1] != "A" else "B")
    told: set[str] = set()
    for key in (None, "nonsense", expired, revoked.secret, wrong, house.secret + "x", "x" * 5000):
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        with httpx.Client(base_url=house.server.url, headers=headers, timeout=60) as client:
            some = calls(house) if key in (None, expired) else calls(house)[:3]
            for method, path, operation in some:
                if path in OPEN:
                    continue
                answer = ask(client, method, path, operation, {})
                body = is_problem(answer, 401)
                assert answer.headers["www-authenticate"].startswith("Bearer")
                told.add(f"{body['type']} {body['detail']} {body['next_step']}")
    assert len(told) == 1, "all keys that are not valid are told the same"


@contextmanager
def asked_of(db: Database) -> Iterator[list[tuple[str, int]]]:
    """What the service asks of its database meanwhile, and how many rows that changes: how long an answer
    takes, without a clock."""
    statements: list[tuple[str, int]] = []

    def note(_: object, cursor: Any, statement: str, *__: object) -> None:
        statements.append((statement, cursor.rowcount))

    event.listen(db._engine, "after_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(db._engine, "after_cursor_execute", note)


def test_a_key_may_what_its_scopes_say(house: House) -> None:
    reader, writer = house.key(house.name, ("jobs:read",)), house.key(house.name, ("jobs:write",))
    for secret, forbidden in ((reader, {"POST", "PUT", "DELETE"}), (writer, {"GET"})):
        with house.http(secret) as client:
            for method, path, operation in calls(house):
                if path in OPEN or operation == "whoAmI" or method not in forbidden:
                    continue
                is_problem(ask(client, method, path, operation, {}), 403, "scope")


def test_another_tenant_sees_nothing_and_cannot_tell_that_it_is_there(house: House, clips: Path) -> None:
    with house.http() as mine:
        upload = sent(mine, "target", "film.mp4", film_bytes(clips))["id"]
        job = asked(mine, upload)["id"]
        finished(house, job, film_bytes(clips))
        hook = mine.post("/v1/webhooks", json={"url": "https://example.com/hook"})
    assert hook.status_code == 201, hook.text
    ids = {"job_id": job, "upload_id": upload, "webhook_id": hook.json()["id"], "key_id": house.secret.split("_")[1]}
    fake = {name: f"{value[:-6]}zzzzzz" for name, value in ids.items()}
    with house.http(house.key("stranger")) as other:
        other.get("/v1/me")  # the first call of a key notes that it is used
        for method, path, operation in calls(house):
            if "{" not in path or path in OPEN:
                continue
            with asked_of(house.db) as of_real:
                real = ask(other, method, path, operation, ids)
            with asked_of(house.db) as of_none:
                none = ask(other, method, path, operation, fake)
            assert of_real == of_none, f"{operation} takes longer for what is there"
            if operation == "eraseJob":
                assert (real.status_code, none.status_code) in ((404, 404), (204, 204))
            else:
                assert (real.status_code, none.status_code) == (404, 404), (operation, real.text, none.text)
            blank = [re.sub(r"[a-z]*_?[0-9a-z]{10,26}", "ID", answer.text) for answer in (real, none)]
            assert blank[0] == blank[1], operation
        assert other.get("/v1/jobs").json()["items"] == []
        assert other.get("/v1/uploads").json()["items"] == []
        body = {"target": {"upload": upload}, "swapper": "none"}
        is_problem(other.post("/v1/jobs", json=body), 404)
    with house.http() as mine:
        assert mine.get(f"/v1/jobs/{job}").json()["state"] == "succeeded"


@pytest.mark.parametrize(
    "trick", ["../x", "..%2Fx", "%2e%2e%2fx", "a%00b", ".%2e/%2e%2e/etc/passwd", "a\\b", "x" * 300]
)
def test_names_are_no_paths(http: httpx.Client, trick: str) -> None:
    for path in ("/v1/jobs/{}", "/v1/jobs/job_1/cast/{}", "/v1/uploads/{}", "/v1/files/{}", "/{}"):
        answer = http.get(path.format(trick))
        assert answer.status_code in (404, 422), (path, answer.status_code)
        assert "root:" not in answer.text


def test_links_are_signed_and_end() -> None:
    secret, now = b"k" * 32, int(time.time())
    token = sign(secret, "a", "job_1", now + 10)
    assert read(secret, token, now) == ("a", "job_1")
    for bad, key, at in (
        (token, secret, now + 11),
        (token, b"x" * 32, now),
        (token[:-2] + "zz", secret, now),
        ("", secret, now),
        ("%", secret, now),
    ):
        with pytest.raises(NotFound):
            read(key, bad, at)


def test_webhooks_go_nowhere_inside(http: httpx.Client) -> None:
    for url in ("http://127.0.0.1/x", "https://[::1]/x", "http://169.254.169.254/latest", "https://10.1.2.3/x"):
        is_problem(http.post("/v1/webhooks", json={"url": url}), 403, "public")
    for url in ("ftp://example.com/x", "https://user:pass@example.com/x", "http://", "https://a:99999/"):
        is_problem(http.post("/v1/webhooks", json={"url": url}), 422, "address")


def test_a_cast_names_no_file_of_the_server(house: House, http: httpx.Client, clips: Path) -> None:
    job = asked(http, sent(http, "target", "film.mp4", film_bytes(clips))["id"], swapper="mesh", wait_for_cast=True)[
        "id"
    ]
    for place in ("/etc/passwd", "../x.png", "s3://bucket/x.png", "file:///etc/passwd"):
        toml = f'[[people]]\nid = "p1"\nsource = "{place}"\n'
        answer = http.put(f"/v1/jobs/{job}/cast", content=toml, headers={"Content-Type": "application/toml"})
        assert answer.status_code in (403, 422), answer.text
        assert answer.json()["detail"]
