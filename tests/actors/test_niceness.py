"""Renderers let others of their machine go first, also where Ray's workers do not."""

from __future__ import annotations

import subprocess
import sys

from actors.ray.renderer import NICENESS

# Its threads, one that begins later, and a program that it starts: the niceness of each.
SCRIPT = """
import os, subprocess, sys, threading
from actors.ray.renderer import let_others_go_first

def mine():
    return {os.getpriority(os.PRIO_PROCESS, int(thread)) for thread in os.listdir("/proc/self/task")}

over = threading.Event()
threading.Thread(target=over.wait).start()
before = mine()
let_others_go_first()
threading.Thread(target=over.wait).start()
child = subprocess.run([sys.executable, "-c", "import os; print(os.getpriority(os.PRIO_PROCESS, 0))"],
                       capture_output=True, text=True, check=True)
print(before, mine(), child.stdout.strip())
over.set()
"""


def test_all_threads_of_a_renderer_and_what_it_starts_are_nice() -> None:
    told = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True).stdout
    assert told.strip().endswith(f"{{{NICENESS}}} {NICENESS}"), told
