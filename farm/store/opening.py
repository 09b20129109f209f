"""The store at a place, locked for one driver."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from farm.store.base import THE_OUTPUT, Store
from farm.store.disk import open_disk


@contextmanager
def open_store(root: Path, owner: str = THE_OUTPUT, *, option: str = "--store") -> Iterator[Store]:
    """The store at `root`, made if need be and locked for this driver: a folder, or an ObjectPath.

    `InputError` when it cannot be one, or another driver has it. `option` is the command's name for the place.
    """
    if str(root).startswith("s3://"):
        from farm.store.s3 import open_s3_store  # noqa: PLC0415 - loads boto3

        with open_s3_store(str(root), owner, option=option) as far:
            yield far
    else:
        with open_disk(root, owner, option=option) as near:
            yield near
