"""What the collector of cycles goes through in a process that answers calls."""

from __future__ import annotations

import subprocess
import sys

from tests.system.runs import ROOT

SETTLED = """
import gc
import farm.api.app
from farm.api.heap import settle

class Knot: pass

knot = Knot()
knot.self = knot
del knot
before = len(gc.get_objects())
settle()
left = [thing for thing in gc.get_objects() if type(thing) is Knot]
print(before > 100_000, gc.get_freeze_count() > 100_000, len(gc.get_objects()) < 1_000, left)
"""


def test_what_was_made_before_is_not_looked_through_again() -> None:
    """In a process of its own, of which it is true from then on."""
    told = subprocess.run([sys.executable, "-c", SETTLED], cwd=ROOT, check=True, capture_output=True, text=True)
    assert told.stdout == "True True True []\n"
