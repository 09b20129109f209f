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

from farm.store.bucket import Bucket
from farm.store.clients import ATTEMPTS, EC2, expects_role
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
