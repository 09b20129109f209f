"""Fixtures for every area: one folder of clips a session, so that each clip is made once."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

# The same examples each time, however fast the machine is; `make test-heavy` draws new ones.
settings.register_profile("fixed", derandomize=True, deadline=None)
settings.register_profile("random", deadline=None)
settings.load_profile("fixed")


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `make_clip` and `make_damaged` write into."""
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(scope="session")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model cache: the embedded models, and twins of width 8 of all others."""
    from tests.twins import fill  # noqa: PLC0415 - loads onnx

    return fill(tmp_path_factory.mktemp("twins"))
