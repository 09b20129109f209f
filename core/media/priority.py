"""Encoders that take more of a machine than they were given: SVT-AV1, run by root, makes the thread that opens it and
all of its own real-time threads (SCHED_FIFO), which starve every other process until the film is done."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

TASKS = Path("/proc/self/task")


@contextmanager
def same_priority() -> Iterator[None]:
    """What is done inside leaves this process's threads scheduled as the calling one was before. Nothing on machines
    that do not tell how threads are scheduled."""
    if not hasattr(os, "sched_getscheduler") or not TASKS.is_dir():
        yield
        return
    policy, given = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        for task in TASKS.iterdir():
            with suppress(OSError):  # a thread that ended meanwhile
                number = int(task.name)
                if os.sched_getscheduler(number) != policy:
                    os.sched_setscheduler(number, policy, given)
