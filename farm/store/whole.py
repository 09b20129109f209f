"""A small file beside others, in a folder or under a prefix: written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from core.media.far import FarPath
from farm.store.disk import sync_folder


def put_whole(path: Path, data: bytes) -> None:
    """`data` as the content of `path`, in the place of what is there; OSError and `StorageError` pass."""
    if isinstance(path, FarPath):
        path.write_bytes(data)  # one request, which a server obeys whole
        return
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        sync_folder(path.parent)
    finally:
        part.unlink(missing_ok=True)


def move(path: Path, new: Path) -> Path:
    """Give the file `path` the name `new` in the same folder, in the place of what is there; returns `new`."""
    if not isinstance(path, FarPath):
        return path.replace(new)
    new.write_bytes(path.read_bytes())
    path.unlink()
    return new
