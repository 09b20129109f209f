"""Python's collector of cycles, in a process that answers calls."""

from __future__ import annotations

import gc


def settle() -> None:
    """Leave what this process has made until now, modules and classes above all, out of every later search for cycles
    (`gc.freeze`). It lives as long as the process, and to go through half a million objects takes 150 ms, several times
    a minute, in which no call is answered. What was garbage is taken away before."""
    gc.collect()
    gc.freeze()
