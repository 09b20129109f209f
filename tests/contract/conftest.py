"""S3 servers on this machine, as in tests/farm."""

from collections.abc import Iterator

import pytest

from tests.farm.conftest import s3, s3_server
from tests.farm.s3_servers import Server, swift

__all__ = ["s3", "s3_server", "swift_server"]


@pytest.fixture(scope="session")
def swift_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with swift(tmp_path_factory.mktemp("swift")) as server:
        yield server
