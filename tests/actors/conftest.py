"""One Ray for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import ray

from actors.ray.joining import start_own_ray

CORES = 4


@pytest.fixture(scope="package")
def cluster() -> Iterator[None]:
    """A Ray of four cores, whatever the machine has, that this process is connected to."""
    start_own_ray(CORES)
    yield
    ray.shutdown()
