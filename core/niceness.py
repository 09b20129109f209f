"""Who goes first where cores are short: what answers people, before what renders and decodes for them.

Ray makes its workers nice, all alike; where an operator has them not be (RAY_worker_niceness=0, as the image does, for
the service's replicas), what can wait says so itself. Nobody needs a privilege for that.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

NICENESS = 15  # what Ray gives its workers by itself
TASKS = Path("/proc/self/task")


def go_last() -> None:
    """This thread, and whatever it begins from now on, lets others go first."""
    if os.getpriority(os.PRIO_PROCESS, 0) < NICENESS:
        os.setpriority(os.PRIO_PROCESS, 0, NICENESS)


def all_go_last() -> None:
    """All threads of this process do, and whatever they begin; on machines that do not list them, this one."""
    go_last()
    for task in TASKS.iterdir() if TASKS.is_dir() else ():
        with suppress(OSError):  # it ended meanwhile
            if os.getpriority(os.PRIO_PROCESS, int(task.name)) < NICENESS:
                os.setpriority(os.PRIO_PROCESS, int(task.name), NICENESS)
