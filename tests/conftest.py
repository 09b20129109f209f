"""Fixtures for every area: one folder of clips a session, so that each clip is made once."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `make_clip` and `make_damaged` write into."""
    return tmp_path_factory.mktemp("clips")
