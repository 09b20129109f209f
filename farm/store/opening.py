"""The store at a place, locked for one driver."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from farm.store.base import THE_OUTPUT, Store
from farm.store.beat import unheard
from farm.store.disk import DiskStore, open_disk


def store_at(root: Path, owner: str = THE_OUTPUT) -> Store:
    """The store at `root` as it is, to read: not made, not looked at, not locked."""
    if not str(root).startswith("s3://"):
        return DiskStore(str(root), owner)
    from farm.store.s3 import S3Store  # noqa: PLC0415 - loads boto3
    from farm.store.s3path import as_object  # noqa: PLC0415

    far = as_object(root)
    return S3Store(far.bucket, far.key, owner)


@contextmanager
def open_store(
    root: Path,
    owner: str = THE_OUTPUT,
    *,
    option: str = "--store",
    begin: bool = True,
    say: Callable[[str], None] = unheard,
) -> Iterator[Store]:
    """The store at `root`, made if need be and locked for this driver: a folder, or an ObjectPath.

    `InputError` when it cannot be one, or another driver has it. `option` is the command's name for the place.
    Not to `begin` leaves what the last run left, and all else, as it is; `say` hears why opening takes long.
    """
    if str(root).startswith("s3://"):
        from farm.store.s3 import open_s3_store  # noqa: PLC0415 - loads boto3
        from farm.store.s3path import as_object  # noqa: PLC0415

        far_root = as_object(root)
        with open_s3_store(far_root.url, owner, bucket=far_root.bucket, option=option, begin=begin) as far:
            yield far
    else:
        with open_disk(root, owner, option=option, begin=begin, say=say) as near:
            yield near
