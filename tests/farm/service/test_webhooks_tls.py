"""Webhooks over TLS: the name of the address is what the certificate is compared with, and the address that was checked
is what is called."""

from __future__ import annotations

import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from core.errors import InputError
from farm.service.guard import rules_of
from farm.service.posting import Letter, send
from tests.farm.service.authority import Authority, secure

NAME = "hooks.studio.example"
HERE = ("127.0.0.0/8",)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


def letter(host: str, port: int) -> Letter:
    return Letter("dlv_1", "hook_1", f"https://{host}:{port}/farm?a=1", "whsec_c2VjcmV0", '{"id": "dlv_1"}', 1)


def resolved(_host: str, _port: int) -> list[str]:
    """Every name leads here."""
    return ["127.0.0.1"]


def test_the_name_is_checked_and_the_address_is_called(authority: Authority) -> None:
    rules = rules_of(HERE, str(authority.file))
    with secure(authority.context(NAME)) as heard:
        answer = send(letter(NAME, heard.port), rules, resolve=resolved)
        assert (answer.status, answer.error) == (204, "")
        assert (heard.names, heard.hosts) == ([NAME], [f"{NAME}:{heard.port}"])
        assert heard.bodies == [b'{"id": "dlv_1"}']


def test_an_address_without_a_name_has_a_certificate_too(authority: Authority) -> None:
    with secure(authority.context("127.0.0.1")) as heard:
        assert send(letter("127.0.0.1", heard.port), rules_of(HERE, str(authority.file))).taken


def test_who_cannot_prove_the_name_is_told_nothing(authority: Authority, tmp_path: Path) -> None:
    ours = str(authority.file)
    late = datetime.now(UTC) - timedelta(hours=1)
    cases = (
        ("unable to get local issuer", authority.context(NAME), ""),
        ("unable to get local issuer", Authority(tmp_path / "other").context(NAME), ours),
        ("not valid for", authority.context("elsewhere.example"), ours),
        ("has expired", authority.context(NAME, until=late), ours),
    )
    for words, context, ca in cases:
        with secure(context) as heard:
            answer = send(letter(NAME, heard.port), rules_of(HERE, ca), resolve=resolved)
            assert answer.status is None
            assert words in answer.error, answer.error
            assert heard.bodies == []


def test_a_handshake_that_drips_is_cut(authority: Authority) -> None:
    """A server that sends a byte of its handshake now and then, each within what one read may wait."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def drip() -> None:
            line, _ = listening.accept()
            with line:
                line.recv(65536)
                for byte in b"\x16\x03\x03\x40\x00" + bytes(1000):
                    if over.wait(0.05):
                        return
                    try:
                        line.sendall(bytes([byte]))
                    except OSError:
                        return

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        began_s = time.monotonic()
        try:
            answer = send(
                letter(NAME, listening.getsockname()[1]),
                rules_of(HERE, str(authority.file)),
                resolve=resolved,
                whole_s=0.5,
            )
        finally:
            over.set()
            thread.join(10)
    assert answer.error == "no answer within 0.5 s"
    assert time.monotonic() - began_s < 20


def test_rules_that_cannot_be_are_told(tmp_path: Path) -> None:
    (tmp_path / "no.pem").write_text("nothing of the kind")
    with pytest.raises(InputError, match="certificates"):
        rules_of((), str(tmp_path / "no.pem"))
    with pytest.raises(InputError, match="certificates"):
        rules_of((), str(tmp_path / "missing.pem"))
    with pytest.raises(InputError, match="network"):
        rules_of(("10.0.0.1/8",))
    assert rules_of(()).networks == ()
    assert not rules_of((), "").http
