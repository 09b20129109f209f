"""Fixtures for every area: one folder of clips a session, so that each clip is made once."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `make_clip` and `make_damaged` write into."""
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(scope="session")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model cache: the embedded models, and twins of width 8 of all others."""
    from tests.twins import fill  # noqa: PLC0415 - loads onnx

    return fill(tmp_path_factory.mktemp("twins"))
