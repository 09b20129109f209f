"""Calls into libraries that print."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def in_silence() -> Iterator[None]:
    """Libraries print nothing meanwhile: what is wrong is in the error they raise.

    Some warn in Python, whose filters of warnings are put back at the end; C libraries (libtiff, Ray's clients) write
    to file descriptor 2 themselves, which leads nowhere meanwhile, for every thread of the process.
    """
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
