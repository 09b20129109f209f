"""What the collector of cycles goes through in a process that answers calls."""

from __future__ import annotations

import subprocess
import sys

from tests.system.runs import DEADLINE_S, ROOT

SETTLED = """
import gc, weakref
import farm.api.app
from farm.api.heap import settle

class Knot: pass

knot = Knot()
knot.self = knot
gone = weakref.ref(knot)
gc.disable()
del knot
assert gone() is not None
before = len(gc.get_objects())
settle()
print(before > 100_000, gc.get_freeze_count() > 100_000, len(gc.get_objects()) < 1_000, gone())
"""


def test_what_was_made_before_is_not_looked_through_again() -> None:
    """In a process of its own, of which it is true from then on."""
    program = [sys.executable, "-c", SETTLED]
    told = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert told.stdout + told.stderr == "True True True None\n"
