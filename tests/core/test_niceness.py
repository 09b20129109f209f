"""What can wait lets others of its machine go first, also where Ray's workers do not by themselves."""

from __future__ import annotations

import subprocess
import sys

import pytest

from core.niceness import NICENESS

# The niceness of a thread that was there, of one that comes after, and of a program that this one starts.
SCRIPT = """
import os, subprocess, sys, threading
from core import niceness

over = threading.Event()
heard = {}

def thread(name):
    made = threading.Thread(target=over.wait, daemon=True)
    made.start()
    heard[name] = made.native_id

thread("before")
getattr(niceness, sys.argv[1])()
thread("after")
told = {name: os.getpriority(os.PRIO_PROCESS, number) for name, number in heard.items()}
child = [sys.executable, "-c", "import os; print(os.getpriority(os.PRIO_PROCESS, 0))"]
told["child"] = int(subprocess.run(child, capture_output=True, text=True, check=True).stdout)
print(*told.values())
"""


@pytest.mark.parametrize(("call", "all_of_it"), [("go_last", False), ("all_go_last", True)])
def test_what_goes_last_and_what_it_begins_are_nice(call: str, all_of_it: bool) -> None:
    here = int(subprocess.run(["nice"], capture_output=True, text=True, check=True).stdout)
    run = subprocess.run([sys.executable, "-c", SCRIPT, call], capture_output=True, text=True, check=True, timeout=60)
    last = max(here, NICENESS)
    assert [int(word) for word in run.stdout.split()] == [last if all_of_it else here, last, last]
