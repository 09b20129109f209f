"""The store at a place, locked for one driver."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from farm.store.base import THE_OUTPUT
from farm.store.disk import DiskStore, open_disk


@contextmanager
def open_store(root: Path, owner: str = THE_OUTPUT, *, option: str = "--store") -> Iterator[DiskStore]:
    """The store at `root`, made if need be and locked for this driver. `InputError` when another driver has it.

    `option` is the command's name for the place, for its hints.
    """
    with open_disk(root, owner, option=option) as store:
        yield store
