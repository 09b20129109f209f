"""Webhooks from the transition to the other side: what is sent, how often, to whom, and to whom never."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.server
import ipaddress
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InputError, PolicyError
from farm.service import jobs, webhooks
from farm.service.database import Database
from farm.service.errors import Conflict, NotFound
from farm.service.guard import CALLED, STRICT, Rules, check_url, may_call, target_of
from farm.service.posting import WAITS_S, Answer, Letter, Postman, claim, send, settle, signature
from farm.service.states import JobState
from tests.farm.service.farmhouse import ACME, OTHER, Hand, job_in, submit, tenants
from tests.farm.service.running import wait_for

HERE = Rules((ipaddress.IPv4Network("127.0.0.0/8"),), http=True)
URL = "https://hooks.example.com/farm"


@dataclass
class Receiver:
    """A web server that keeps what it is sent, and answers with the next of `answers`, then 200."""

    answers: list[int] = field(default_factory=list)
    got: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    known = Receiver()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            known.got.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(known.answers.pop(0) if known.answers else 200)
            self.send_header("Location", f"{known.url}/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    known.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield known
    server.shutdown()
    thread.join()
    server.server_close()


# ------------------------------------------------------------ what is told


def test_every_transition_is_told_to_whom_it_concerns(db: Database) -> None:
    tenants(db)
    everything, _ = webhooks.make(db, ACME, URL)
    ends, _ = webhooks.make(db, ACME, URL, states=[JobState.cancelled, JobState.succeeded])
    webhooks.make(db, OTHER, URL)
    job = submit(db).id
    one, _ = webhooks.make(db, ACME, URL, job=job)
    jobs.pause(db, ACME, job)
    jobs.cancel(db, ACME, job)
    submit(db)
    letters = webhooks.deliveries(db, ACME).items
    told = {hook.id: [letter.seq for letter in reversed(letters) if letter.webhook == hook.id] for hook in (ends, one)}
    assert told == {ends.id: [3], one.id: [2, 3]}
    assert len([letter for letter in letters if letter.webhook == everything.id]) == 4
    assert len({letter.id for letter in letters}) == len(letters)
    assert webhooks.deliveries(db, OTHER).items == ()
    first = webhooks.deliveries(db, ACME, limit=3)
    rest = webhooks.deliveries(db, ACME, cursor=first.cursor, limit=100)
    assert first.items + rest.items == letters


def test_a_letter_is_signed_and_sent_until_it_is_taken(db: Database, clock: Hand, receiver: Receiver) -> None:
    tenants(db)
    _, secret = webhooks.make(db, ACME, receiver.url + "/hook?a=1", rules=HERE)
    job = submit(db).id
    receiver.answers = [500, 302, 200]
    for tries in range(3):
        (letter,) = claim(db)
        assert claim(db) == [], "claimed by one"
        answer = send(letter, HERE)
        settle(db, letter, answer, chance=lambda: 0.5)
        if tries < 2:
            assert claim(db) == []
            clock.forward(WAITS_S[tries])
    clock.forward(1_000_000)
    assert claim(db) == []
    (delivery,) = webhooks.deliveries(db, ACME).items
    assert (delivery.state, delivery.tries, delivery.last_status) == ("delivered", 3, 200)
    assert len(receiver.got) == 3, "a redirect is not followed"
    for path, headers, body in receiver.got:
        assert path == "/hook?a=1"
        assert headers["webhook-id"] == delivery.id
        key = base64.urlsafe_b64decode(secret.removeprefix("whsec_") + "=")
        signed = f"{delivery.id}.{headers['webhook-timestamp']}.".encode() + body
        expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        assert headers["webhook-signature"] == f"v1,{expected}"
        told = json.loads(body)
        assert (told["type"], told["data"]["job"], told["data"]["seq"]) == ("job.queued", job, 1)
        assert told["id"] == delivery.id


def test_the_signature_of_the_specification() -> None:
    """The example of the specification, whose secret is in plain base64 of the same letters."""
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    body = '{"test": 2432232314}'
    assert signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body) == (
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    )


def test_a_letter_that_nobody_takes_is_dead_at_last(db: Database, clock: Hand) -> None:
    tenants(db)
    webhooks.make(db, ACME, URL)
    submit(db)
    waited_s = 0
    for wait_s in (*WAITS_S, 0):
        (letter,) = claim(db)
        settle(db, letter, Answer(503, "busy"), chance=lambda: 1.0)
        clock.forward(1.2 * wait_s)
        waited_s += wait_s
    assert waited_s > 86_400
    clock.forward(1_000_000)
    assert claim(db) == []
    (delivery,) = webhooks.deliveries(db, ACME).items
    assert (delivery.state, delivery.tries, delivery.last_error) == ("dead", len(WAITS_S) + 1, "busy")


def test_gone_means_gone(db: Database, clock: Hand) -> None:
    tenants(db)
    """An answer 410 ends the webhook and every letter to it, those that are under way too."""
    webhooks.make(db, ACME, URL)
    for _ in range(12):
        submit(db)
    first, *others = claim(db)
    settle(db, first, Answer(410))
    for letter in others:
        settle(db, letter, Answer(500, "busy"))
    assert webhooks.listed(db, ACME) == ()
    submit(db)
    clock.forward(100_000)
    assert claim(db) == []
    assert {one.state for one in webhooks.deliveries(db, ACME).items} == {"dead"}


def test_who_claimed_a_letter_and_died_gives_it_up(db: Database, clock: Hand) -> None:
    tenants(db)
    webhooks.make(db, ACME, URL)
    submit(db)
    (first,) = claim(db)
    clock.forward(59)
    assert claim(db) == []
    clock.forward(2)
    (second,) = claim(db)
    assert (second.id, second.tries) == (first.id, first.tries + 1)


def test_a_webhook_that_was_removed_is_told_nothing(db: Database, clock: Hand) -> None:
    tenants(db)
    row, _ = webhooks.make(db, ACME, URL)
    job = submit(db).id
    with pytest.raises(NotFound):
        webhooks.remove(db, OTHER, row.id)
    webhooks.remove(db, ACME, row.id)
    with pytest.raises(NotFound):
        webhooks.remove(db, ACME, row.id)
    clock.forward(1000)
    assert claim(db) == []
    jobs.erase(db, ACME, job)
    assert webhooks.deliveries(db, ACME).items == ()


def test_a_tenant_has_so_many_webhooks_and_of_its_own_jobs(db: Database) -> None:
    tenants(db)
    job, _ = job_in(db, JobState.queued)
    with pytest.raises(NotFound):
        webhooks.make(db, OTHER, URL, job=job)
    for _ in range(webhooks.MOST_OF_TENANT):
        webhooks.make(db, ACME, URL)
    with pytest.raises(Conflict):
        webhooks.make(db, ACME, URL)
    webhooks.make(db, ACME, URL, job=job)


def test_the_postman(db: Database, clock: Hand, receiver: Receiver) -> None:
    tenants(db)
    webhooks.make(db, ACME, receiver.url, rules=HERE)
    made = [submit(db).id for _ in range(20)]
    postman = Postman(db, HERE, every_s=0.02)
    postman.start()
    wait_for(lambda: all(letter.state == "delivered" for letter in webhooks.deliveries(db, ACME, limit=100).items))
    postman.close()
    assert sorted(json.loads(body)["data"]["job"] for _, _, body in receiver.got) == sorted(made)


# ------------------------------------------------------------ who is called, and who never

INSIDE = [
    "0.0.0.0",
    "10.0.0.1",
    "100.64.0.1",
    "127.0.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "192.0.2.1",
    "192.168.1.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "2001:db8::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "2002:7f00:1::1",
    "2002:a9fe:a9fe::1",
    "2001:0:7f00:1::1",
]


@pytest.mark.parametrize("address", INSIDE)
def test_inner_addresses_are_not_called(address: str) -> None:
    """As a literal, and as what a public name leads to, alone or beside a public address."""
    assert not may_call(ipaddress.ip_address(address))
    literal = f"[{address}]" if ":" in address else address
    with pytest.raises(PolicyError, match="not public"):
        check_url(f"https://{literal}/")
    for found in ([address], ["93.184.215.14", address], [address, "93.184.215.14"]):
        with pytest.raises(PolicyError, match="leads to an address that is not public"):
            target_of("https://public.example.com/", STRICT, lambda *_, found=found: found)  # type: ignore[misc]


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "::ffff:8.8.8.8"])
def test_public_addresses_are_called(address: str) -> None:
    assert may_call(ipaddress.ip_address(address))
    target = target_of("https://name.example.com:8443/a?b=c", STRICT, lambda *_: [address])
    assert (target.host, target.port, target.address, target.path) == ("name.example.com", 8443, address, "/a?b=c")


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com/",
        "https://",
        "https:///path",
        "https://user:secret@example.com/",
        "https://user@example.com/",
        "https://example.com:0/",
        "https://example.com:99999/",
        "https://example.com/#part",
        "https://exa mple.com/",
        "https://example.com\\@127.0.0.1/",
        "https://example.com/\r\nHost: inner",
        "https://[::1",
        "https://ex\u00e4mple.com/",
        "//example.com/",
        "example.com",
        "",
        "https://example.com/" + "a" * 3000,
    ],
)
def test_what_is_no_plain_https_address_is_refused(url: str) -> None:
    with pytest.raises(InputError):
        check_url(url)


@given(st.from_regex(CALLED, fullmatch=True))
def test_what_the_description_calls_an_address_is_one(url: str) -> None:
    with suppress(PolicyError):  # it may not be called, but it is one
        check_url(url)


def test_http_is_a_matter_of_what_the_operator_allows() -> None:
    with pytest.raises(PolicyError, match="only https"):
        check_url("http://example.com/")


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "017700000001", "127.1", "localhost", "0"])
def test_other_ways_to_write_an_inner_address(host: str) -> None:
    """Whatever the resolver makes of them is what is checked."""
    with pytest.raises((InputError, PolicyError)):
        target_of(f"https://{host}/")


def test_what_a_name_means_a_moment_later_does_not_matter(receiver: Receiver) -> None:
    """The first answer of the resolver is called; a second one is never asked for."""
    port = receiver.url.rsplit(":", 1)[1]
    asked: list[str] = []

    def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["127.0.0.2"]

    letter = Letter("dlv_1", "hook_1", f"http://name.example.com:{port}/", "whsec_AAAA", "{}", 1)
    assert send(letter, HERE, resolve=resolve) == Answer(200)
    assert asked == ["name.example.com"]
    assert receiver.got[0][1]["host"] == f"name.example.com:{port}"


def test_http_is_called_in_allowed_networks_alone() -> None:
    with pytest.raises(PolicyError, match="http is called"):
        target_of("http://public.example.com/", HERE, lambda *_: ["93.184.215.14"])


def silent(connection: socket.socket) -> None:
    connection.recv(65536)


def dripping(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    try:
        while True:
            connection.sendall(b"X-A: b\r\n")
            threading.Event().wait(0.05)
    except OSError:
        return


@pytest.mark.parametrize("behave", [silent, dripping])
def test_a_slow_other_side_is_cut_off(behave: Callable[[socket.socket], None]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        held: list[socket.socket] = []

        def serve() -> None:
            connection, _ = server.accept()
            held.append(connection)
            behave(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        answer = send(Letter("dlv_1", "hook_1", url, "whsec_AAAA", "{}", 1), HERE, whole_s=0.5)
        assert answer.status is None
        assert answer.error == "no answer within 0.5 s"
        held[0].close()
        thread.join()


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    answer = send(Letter("dlv_1", "hook_1", f"http://127.0.0.1:{port}/", "whsec_AAAA", "{}", 1), HERE)
    assert answer.status is None
    assert "refused" in answer.error.lower()
    assert send(Letter("d", "h", "https://127.0.0.1/", "whsec_AAAA", "{}", 1)).error.startswith("127.0.0.1: this addr")
