"""One thread of a process does a thing at a time, and the others neither do it nor wait."""

from __future__ import annotations

import threading

from farm.service import keys
from farm.service.database import Database
from tests.farm.service.farmhouse import ACME, Hand, tenants


def test_one_at_a_time_and_nobody_waits(db: Database) -> None:
    with db.alone("a") as first, db.alone("a") as second, db.alone("b") as other:
        assert (first, second, other) == (True, False, True)
        with db.alone("a") as third:
            assert not third
    with db.alone("a") as again:
        assert again


def test_many_calls_at_once_note_the_use_of_a_key_once(db: Database, clock: Hand) -> None:
    tenants(db)
    secret = keys.make_key(db, ACME, "crowd", ["jobs:read"]).secret
    threads = [threading.Thread(target=keys.check_key, args=(db, secret)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert keys.check_key(db, secret).used_ms == clock.now_ms
    clock.forward(61)
    keys.check_key(db, secret)
    assert keys.check_key(db, secret).used_ms == clock.now_ms
