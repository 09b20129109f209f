"""One Amazon a test process, with the farm's stack in it: moto keeps one state a process, whatever the server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.deploy.amazon import Amazon, amazon, raise_stack


@pytest.fixture(scope="session")
def raised() -> Iterator[Amazon]:
    with amazon() as here:
        raise_stack(here)
        yield here
