"""Keys that are not valid: so many from one address, and no word with the database about more."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from farm.api.app import secret_of
from farm.api.context import ApiSettings
from farm.api.strangers import Strangers, net_of
from farm.service import keys
from farm.service.database import Database, open_database
from farm.service.errors import NoKey, TooFast
from farm.service.places import ServicePlaces
from tests.farm.api.conftest import House, Server
from tests.farm.api.test_calls import is_problem
from tests.farm.api.test_security import asked_of

NEVER = 1e-9  # a second: nothing comes back while a test runs
HERE, THERE = "192.0.2.1", "192.0.2.2"


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    with open_database(f"sqlite:///{tmp_path}/farm.db") as made:
        keys.make_tenant(made, "A", tenant_id="a")
        yield made


def test_an_address_has_so_many_tries(db: Database) -> None:
    strangers = Strangers(NEVER, 3.0)
    valid = [keys.make_key(db, "a", "x", ("jobs:read",)) for _ in range(6)]
    for made in valid[:5]:  # they are more, and count for nothing
        assert strangers.key(db, made.secret, HERE).id == made.row.id
    for wrong in ("", "nonsense", keys.new_secret()):
        with pytest.raises(NoKey):
            strangers.key(db, wrong, HERE)
    for secret in (keys.new_secret(), ""):
        with pytest.raises(TooFast, match="not valid"):
            strangers.key(db, secret, HERE)
    for address in (HERE, HERE, THERE):  # who was let in before comes in whatever his neighbours do
        assert strangers.key(db, valid[0].secret, address).id == valid[0].row.id
    assert strangers.key(db, valid[5].secret, THERE).id == valid[5].row.id
    assert strangers.key(db, valid[5].secret, HERE).id == valid[5].row.id


def test_what_is_not_valid_shuts_no_key_out_that_is(db: Database) -> None:
    """All come from one address, as those behind a proxy do, and the service knows none of them yet."""
    now = [0.0]
    strangers = Strangers(NEVER, 1.0, lambda: now[0])
    valid = [keys.make_key(db, "a", "x", ("jobs:read",)) for _ in range(3)]
    over = keys.make_key(db, "a", "x", ("jobs:read",), expires_ms=1)
    keys.revoke(db, "a", valid[2].row.id)
    with pytest.raises(NoKey):
        strangers.key(db, "nonsense", HERE)
    for _ in range(2):
        for made in valid[:2]:
            assert strangers.key(db, made.secret, HERE).id == made.row.id
        for secret in (valid[2].secret, over.secret, keys.new_secret()):
            with pytest.raises(TooFast, match="not valid"):
                strangers.key(db, secret, HERE)
    late = keys.make_key(db, "a", "x", ("jobs:read",))
    with asked_of(db) as asked, pytest.raises(TooFast):
        strangers.key(db, late.secret, HERE)
    assert asked == [], "they are read every second, and not at every call"
    now[0] += 1.0
    assert strangers.key(db, late.secret, HERE).id == late.row.id
    keys.revoke(db, "a", late.row.id)
    with pytest.raises(NoKey):
        strangers.key(db, late.secret, HERE)


def test_who_comes_while_the_keys_are_read_for_the_first_time_waits_for_that(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    strangers = Strangers(NEVER, 1.0)
    made = keys.make_key(db, "a", "x", ("jobs:read",))
    with pytest.raises(NoKey):
        strangers.key(db, "nonsense", HERE)
    begun, go_on, read = threading.Event(), threading.Event(), keys.valid_hashes

    def slowly(db: Database) -> frozenset[bytes]:
        begun.set()
        assert go_on.wait(60)
        return read(db)

    monkeypatch.setattr(keys, "valid_hashes", slowly)
    with ThreadPoolExecutor() as threads:
        first = threads.submit(strangers.key, db, made.secret, HERE)
        assert begun.wait(60)
        second = threads.submit(strangers.key, db, made.secret, HERE)
        go_on.set()
        assert first.result(60).id == second.result(60).id == made.row.id


def test_a_key_that_was_revoked_is_a_strangers(db: Database) -> None:
    strangers = Strangers(NEVER, 1.0)
    made = keys.make_key(db, "a", "x", ("jobs:read",))
    strangers.key(db, made.secret, HERE)
    keys.revoke(db, "a", made.row.id)
    for _ in range(2):
        with pytest.raises(NoKey):
            strangers.key(db, made.secret, HERE)
    with pytest.raises(TooFast):
        strangers.key(db, made.secret, HERE)


def test_an_address_of_ipv6_is_its_network() -> None:
    assert net_of("2001:db8::1") == net_of("2001:db8::ffff:1") != net_of("2001:db8:0:1::1")
    assert net_of("::ffff:192.0.2.1") == net_of(HERE) == HERE
    assert {net_of(name) for name in ("", "testclient", "made-up-1")} == {""}


def test_the_service_says_when_to_come_again(tmp_path: Path, db: Database) -> None:
    places = ServicePlaces(tmp_path / "data")
    places.make()
    server = Server(db, places, ApiSettings(secret=secret_of(places), calls_a_second=NEVER, calls_at_once=3.0))
    try:
        house = House(server, "a", "")
        house.secret, other = house.key("a"), house.key("a")
        with house.http() as known, httpx.Client(base_url=server.url) as nobody:
            assert known.get("/v1/me").status_code == 200
            for _ in range(3):
                is_problem(nobody.get("/v1/jobs"), 401)
            answer = nobody.get("/v1/jobs")
            is_problem(answer, 429, "address", "valid key")
            assert answer.headers["retry-after"]
            assert known.get("/v1/me").status_code == 200
            assert nobody.get("/v1/me", headers={"Authorization": f"Bearer {other}"}).status_code == 200
    finally:
        server.stop()
