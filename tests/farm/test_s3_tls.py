"""A line over TLS that breaks in the middle of a body: it is asked again, as any line that breaks."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from core.inference.download import Broken
from farm.s3 import open_s3
from farm.store.bucket import Bucket
from farm.store.refusals import Patience, Unreachable

BODY = bytes(range(256)) * 2048
FAST = Patience(tries=3, base_s=0.001, cap_s=0.01, connect_s=5.0, read_s=20.0)
DATE = "Sat, 21 Nov 2026 20:00:00 GMT"


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate of 127.0.0.1 with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    day = datetime.timedelta(days=1)
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "own.pem"
    encoding = serialization.Encoding.PEM
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    file.write_bytes(made.public_bytes(encoding) + key.private_bytes(encoding, *plain))
    return file


@pytest.fixture
def broken_first(certificate: Path, s3: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """A server of one object that spoils the TLS records of as many answers as the list's one number says."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    listener = socket.create_server(("127.0.0.1", 0))
    left = [0]

    def serve(line: socket.socket) -> None:
        raw = socket.socket(fileno=socket.dup(line.fileno()))
        with suppress(OSError), raw, context.wrap_socket(line, server_side=True) as safe:
            asked = safe.recv(1 << 16).decode().lower()
            first = int(asked.split("range: bytes=")[1].split("-")[0]) if "range: bytes=" in asked else 0
            rows = [
                "HTTP/1.1 206 Partial Content",
                'ETag: "e"',
                f"Last-Modified: {DATE}",
                f"Date: {DATE}",
                f"Content-Length: {len(BODY) - first}",
                f"Content-Range: bytes {first}-{len(BODY) - 1}/{len(BODY)}",
                "Connection: close",
            ]
            safe.sendall("\r\n".join([*rows, "", ""]).encode())
            if left[0] > 0:
                left[0] -= 1
                safe.sendall(BODY[first : first + 1000])
                raw.sendall(b"\x17\x03\x03\x00\x40" + bytes(64))  # a record whose code for authenticity is wrong
            else:
                safe.sendall(BODY[first:])

    def listen() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=listen, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"https://127.0.0.1:{listener.getsockname()[1]}")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    yield left
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def test_a_spoiled_record_is_met_by_another_try(broken_first: list[int]) -> None:
    bucket = Bucket("films", patience=FAST)
    broken_first[0] = 2
    assert bucket.part("film", '"e"', 0, len(BODY)) == BODY
    broken_first[0] = 100
    with pytest.raises(Unreachable, match="cannot be reached"):
        bucket.part("film", '"e"', 0, len(BODY))


def test_a_spoiled_record_breaks_the_download_of_a_model_alone(broken_first: list[int]) -> None:
    broken_first[0] = 1
    with pytest.raises(Broken):
        list(open_s3("s3://films/model", 0, "").chunks)
    assert b"".join(open_s3("s3://films/model", 0, "").chunks) == BODY
