"""Keys that a machine is given by its metadata service, and a service that hiccups."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import boto3
import pytest
from botocore.exceptions import NoCredentialsError

from core.errors import ModelError
from core.inference.download import Broken
from farm.s3 import open_s3
from farm.store.bucket import Bucket
from farm.store.clients import ATTEMPTS, EC2, Keys, expects_role
from farm.store.refusals import NoKeys, Patience

FAST = Patience(tries=6, base_s=0.001, cap_s=0.01, connect_s=5.0)
ROLE = "/latest/meta-data/iam/security-credentials/"


class Service(BaseHTTPRequestHandler):
    """IMDSv2 with one role; it answers 503 as often as `ill` says."""

    ill: ClassVar[list[int]] = [0]

    def log_message(self, *_: Any) -> None:
        pass

    def do_PUT(self) -> None:
        self._answer(b"token")

    def do_GET(self) -> None:
        until = (datetime.now(UTC) + timedelta(hours=6)).strftime("%Y-%m-%dT%H:%M:%SZ")
        keys = {"AccessKeyId": "key", "SecretAccessKey": "secret", "Token": "t", "Expiration": until}
        told = {"Code": "Success", "Type": "AWS-HMAC", "LastUpdated": until, **keys}
        self._answer(b"role" if self.path == ROLE else json.dumps(told).encode())

    def _answer(self, body: bytes) -> None:
        self.ill[0] -= 1
        self.send_response(503 if self.ill[0] >= 0 else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def films(s3: str) -> str:
    boto3.client("s3").create_bucket(Bucket="films")
    return s3


@pytest.fixture
def service(films: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The service, for a machine that has no other keys; the list holds how often it is ill from now on."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_EC2_METADATA_DISABLED"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    yield Service.ill
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("ill", [1, ATTEMPTS - 1, ATTEMPTS, 2 * ATTEMPTS + 1])
def test_a_hiccup_of_the_service_takes_no_keys_away(service: list[int], ill: int) -> None:
    service[0] = ill
    assert Bucket("films", patience=FAST).head("nothing") is None


def test_a_bucket_finds_keys_that_come_later(films: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    bucket = Bucket("films", patience=FAST)
    with pytest.raises(NoKeys, match="no credentials for S3"):
        bucket.head("nothing")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    assert bucket.head("nothing") is None


def test_a_role_is_expected_where_one_is_given(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vendor = tmp_path / "sys_vendor"
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
    assert not expects_role(vendor), "a laptop without such a file"
    vendor.write_text("LENOVO\n")
    assert not expects_role(vendor)
    vendor.write_text(f"{EC2}\n")
    assert expects_role(vendor)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    assert not expects_role(vendor)
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "/var/run/secrets/token")
    assert expects_role(vendor)


def test_a_service_that_stays_silent_is_waited_for_once(service: list[int]) -> None:
    much = service[0] = 10**6
    keys = Keys(patience_s=0.0)
    with pytest.raises(NoCredentialsError):
        keys.session()
    asked = much - service[0]
    assert ATTEMPTS <= asked <= 2 * ATTEMPTS, "one round, and nobody asks again behind it"
    with pytest.raises(NoCredentialsError):
        keys.session()
    assert much - service[0] == asked, "who comes next is told at once"
    service[0] = 0
    assert Keys().session().get_credentials() is not None


def test_addresses_are_signed_with_keys_that_come_later(films: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    bucket = Bucket("films", patience=FAST)
    with pytest.raises(NoKeys, match="no credentials for S3"):
        bucket.signed("get_object", "film", 60)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    assert bucket.signed("get_object", "film", 60).startswith(f"{films}/films/film?")


class Task(Service):
    """Gives a task keys that end at once, and no others after them."""

    given: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.given.append(self.path)
        self.ill[0] = len(self.given) - 1
        keys = {"AccessKeyId": "key", "SecretAccessKey": "secret", "Token": "t"}
        self._answer(json.dumps({**keys, "Expiration": "2020-01-01T00:00:00Z"}).encode())


def test_keys_that_cannot_be_renewed_just_now_are_asked_for_again(
    films: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Task)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"http://127.0.0.1:{server.server_port}/task")
        with pytest.raises(Broken):
            open_s3("s3://films/film", 0, "")
    finally:
        server.shutdown()
        server.server_close()
    monkeypatch.delenv("AWS_CONTAINER_CREDENTIALS_FULL_URI")
    settings = tmp_path / "config"
    settings.write_text("[default]\ncredential_process = /bin/false\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(settings))
    with pytest.raises(ModelError, match="no keys for S3"):
        open_s3("s3://films/film", 0, "")
