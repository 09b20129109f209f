"""Every test of the table runs on both databases, with a clock that only the test moves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from farm.service.database import Database, open_database
from tests.farm.service.farmhouse import Hand
from tests.postgres import Postgres


@pytest.fixture
def clock() -> Hand:
    return Hand()


@pytest.fixture(scope="session")
def template(postgres: Postgres) -> str:
    """A database of PostgreSQL with the tables in it, to be copied."""
    url = postgres.new_database()
    open_database(url).close()
    return url.split("/")[3].split("?")[0]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/farm.db"
    server: Postgres = request.getfixturevalue("postgres")
    return server.new_database(request.getfixturevalue("template"))


@pytest.fixture
def db(url: str, clock: Hand) -> Iterator[Database]:
    with open_database(url, clock=clock) as opened:
        yield opened
