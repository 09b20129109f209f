"""The first key of a service: whatever dies while it is made, the next start has it in its file."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from farm.api.embedded import KEY_FILE, TENANT, first_key
from farm.service import keys
from farm.service.database import Database
from farm.service.errors import NoKey
from farm.service.places import ServicePlaces


@pytest.fixture
def places(tmp_path: Path) -> ServicePlaces:
    made = ServicePlaces(tmp_path / "data")
    made.make()
    return made


def opens(db: Database, places: ServicePlaces) -> None:
    assert keys.check_key(db, places.secret(KEY_FILE) or "").tenant == TENANT
    assert len(keys.listed(db, TENANT)) == 1


@pytest.mark.parametrize("died_at", ["make_tenant", "make_key"])
def test_a_start_that_died_is_gone_on_with(
    db: Database, places: ServicePlaces, monkeypatch: pytest.MonkeyPatch, died_at: str
) -> None:
    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(keys, died_at, die)
        with pytest.raises(KeyboardInterrupt):
            first_key(db, places, {})
    assert first_key(db, places, {"film_s": 60})
    opens(db, places)
    assert keys.tenant(db, TENANT).quota.film_s == 60
    assert not first_key(db, places, {})
    opens(db, places)


def test_one_that_died_with_the_key_made_leaves_its_secret_in_one_file(
    db: Database, places: ServicePlaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(ServicePlaces, "drop_secret", die)
        with pytest.raises(KeyboardInterrupt):
            first_key(db, places, {})
    assert not first_key(db, places, {})
    opens(db, places)
    assert [file.name for file in places.root.iterdir() if "key" in file.name] == [KEY_FILE]


def test_a_file_that_cannot_be_removed_keeps_no_service_from_its_work(db: Database, places: ServicePlaces) -> None:
    assert first_key(db, places, {})
    (places.root / f"{KEY_FILE}.{keys.tenant(db, TENANT).created_ms}").mkdir()
    assert not first_key(db, places, {"film_s": 60})
    assert keys.tenant(db, TENANT).quota.film_s == 60


def test_those_that_start_at_once_have_one_key(db: Database, places: ServicePlaces) -> None:
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: first_key(db, places, {}), range(4)))
    opens(db, places)


def test_a_file_that_holds_no_key_is_replaced(db: Database, places: ServicePlaces) -> None:
    places.put_secret(KEY_FILE, "nothing")
    assert first_key(db, places, {})
    opens(db, places)


def test_an_empty_file_holds_no_key(db: Database, places: ServicePlaces) -> None:
    """As a file is whose content was not on the disk when the power went."""
    for name in (KEY_FILE, f"{KEY_FILE}.{db_now(db)}", "links"):
        (places.root / name).touch()
    assert first_key(db, places, {})
    opens(db, places)
    assert places.keep_secret("links", "one") == places.keep_secret("links", "two") == places.secret("links") == "one"


def db_now(db: Database) -> int:
    with db.read() as connection:
        return db.now_ms(connection)


def test_the_key_of_a_database_that_was_here_before_is_none(db: Database, places: ServicePlaces) -> None:
    old = keys.new_secret()
    places.put_secret(KEY_FILE, old)
    assert first_key(db, places, {})
    opens(db, places)
    with pytest.raises(NoKey):
        keys.check_key(db, old)
    assert [file.name for file in places.root.iterdir() if "key" in file.name] == [KEY_FILE]


def test_an_operator_who_made_tenants_has_no_other(db: Database, places: ServicePlaces) -> None:
    keys.make_tenant(db, "Acme", tenant_id="acme")
    assert not first_key(db, places, {})
    assert places.secret(KEY_FILE) is None
