"""Encoding leaves the machine's other programs their turn."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from core.media.encoders import try_encoder
from core.media.priority import TASKS
from core.media.trial import try_decoder


def policies() -> set[int]:
    """How the threads of this process are scheduled."""
    return {os.sched_getscheduler(int(task.name)) for task in Path(TASKS).iterdir()}


@pytest.mark.parametrize("look", [lambda: try_encoder("libsvtav1"), lambda: try_decoder("av1")])
def test_an_encoder_makes_no_thread_a_real_time_one(look: object) -> None:
    before = policies()
    assert before == {os.SCHED_OTHER}
    assert callable(look)
    assert look() is None
    assert policies() == before
