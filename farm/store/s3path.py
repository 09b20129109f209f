"""s3:// addresses as paths, so that what takes a film's path takes an object's too, and a folder's a prefix.

Only what is done with films, outputs, stores and the folders of casts and reports is here: their names, `stat`,
`open` to read, whole small objects, and what lies under a prefix. A path of the file system that is asked of the
object store says what a file that is not there says; what the store refuses is a `StorageError`, and an `InputError`
from `look` alone, which is asked before any work.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import posixpath
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any

from core.errors import InputError
from core.media.far import FarPath
from farm.store.bucket import Bucket
from farm.store.heads import Head
from farm.store.ranged import AHEAD_BLOCKS, BLOCK_BYTES, Blocks, ObjectFile
from farm.store.refusals import Patience
from farm.store.s3 import LOOK, early, s3_place

__all__ = ["AHEAD_BLOCKS", "BLOCK_BYTES", "ObjectPath", "is_s3", "place_of"]

SCHEME = "s3://"
FIRST_LOOK = Patience(tries=4, read_s=20.0)


def is_s3(text: str) -> bool:
    return text.startswith(SCHEME)


def place_of(text: str) -> Path:
    """The path that `text` means: an object's for s3://bucket/key, else one of the file system."""
    return ObjectPath(text) if is_s3(text) else Path(text)


def looked_at(text: str) -> Path:
    """The object at `text` for a first look at it, during which somebody waits."""
    return ObjectPath(text).patient(FIRST_LOOK)


def as_object(path: Path) -> ObjectPath:
    """`path`, of which it is known that it is in a bucket."""
    return path if isinstance(path, ObjectPath) else ObjectPath(str(path))


def joined(url: str, name: str) -> str:
    """The address that the relative path `name` means from the prefix `url`; `InputError` outside of the bucket."""
    bucket, _, key = url.removeprefix(SCHEME).partition("/")
    path = posixpath.normpath(posixpath.join(key, name))
    if path == ".." or path.startswith("../"):
        raise InputError("leads out of the bucket", where=f"{url}/{name}", hint="write the whole address")
    return f"{SCHEME}{bucket}" if path == "." else f"{SCHEME}{bucket}/{path}"


class ObjectPath(FarPath):
    """The object at s3://bucket/key. Blocks that were read are shared by all files opened through one instance.

    `stat` gives size and time of change, and as inode what tells two versions of an object apart: its ETag and
    version, hashed. `machine` stands where a file's machine does in its stamp, because every machine sees the same.
    """

    machine = "s3"
    opener = "farm.store.s3path:looked_at"
    wait_s = FIRST_LOOK.longest_s

    def __new__(cls, url: str) -> ObjectPath:
        bucket, key = s3_place(url)
        made: ObjectPath = super().__new__(cls, f"/{bucket}/{key}")
        return made

    def __init__(self, url: str) -> None:
        bucket, key = s3_place(url)
        if sys.version_info >= (3, 12):  # before that __new__ does it
            super().__init__(f"/{bucket}/{key}")
        self.url, self.key, self.bucket = url.rstrip("/"), key.rstrip("/"), Bucket(bucket)
        self._blocks: Blocks | None = None
        self._guard = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return ObjectPath, (self.url,)

    def __str__(self) -> str:
        return self.url

    def __fspath__(self) -> str:
        return self.url

    def __repr__(self) -> str:
        return f"ObjectPath({self.url!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ObjectPath) and self.url == other.url

    def __hash__(self) -> int:
        return hash(self.url)

    def absolute(self) -> ObjectPath:
        return self

    def resolve(self, strict: bool = False) -> ObjectPath:  # noqa: ARG002 - the name is Path's
        return self

    def with_name(self, name: str) -> ObjectPath:
        return self._at(f"{self.url.rpartition('/')[0]}/{name}")

    def with_suffix(self, suffix: str) -> ObjectPath:
        return self.with_name(f"{self.stem}{suffix}")

    def __truediv__(self, name: Any) -> Any:
        """What `name` means from here: another address, a path of this machine where it is absolute, or below this."""
        text = str(name)
        return place_of(text) if is_s3(text) or text.startswith("/") else self._at(joined(self.url, text))

    def joinpath(self, *names: Any) -> Any:
        made: Any = self
        for name in names:
            made = made / name
        return made

    @property
    def parent(self) -> ObjectPath:
        return self._at(self.url.rpartition("/")[0]) if self.key else self

    def _at(self, url: str) -> ObjectPath:
        """Another address in this bucket, through the same client."""
        made = ObjectPath(url)
        made.bucket = self.bucket
        return made

    def patient(self, patience: Patience) -> ObjectPath:
        """The same address, asked with another patience; so is what is below it."""
        made = ObjectPath(self.url)
        made.bucket = self.bucket.settled(patience=patience)
        return made

    # ------------------------------------------------------------ the object

    def head(self) -> Head | None:
        """What is there now."""
        return self.bucket.head(self.key) if self.key else None

    def look(self) -> None:
        """With little patience; a bucket that is not there is told apart from an object that is not."""
        with early("check the address"):
            bucket = self.bucket.settled(patience=LOOK)
            if not self.key or bucket.head(self.key) is None:
                bucket.call("list_objects_v2", "", Prefix=self.key, MaxKeys=1)

    def exists(self, **_: Any) -> bool:
        return self.is_file() or self.is_dir()

    def is_file(self, **_: Any) -> bool:
        return self.head() is not None

    def is_dir(self, **_: Any) -> bool:
        """Whether something lies below; a bucket is a folder, empty or not."""
        return not self.key or any(True for _ in self.bucket.list(self._below, folders=True))

    def iterdir(self) -> Iterator[ObjectPath]:
        """What lies directly below: objects, and prefixes as folders."""
        for entry in self.bucket.list(self._below, folders=True):
            name = entry.key.removeprefix(self._below).rstrip("/")
            if name:  # else it is what consoles make for an empty folder
                yield self._at(f"{self.url}/{name}")

    def read_bytes(self) -> bytes:
        found = self.bucket.get(self.key) if self.key else None
        if found is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.url)
        return found[0]

    def read_text(self, encoding: str | None = None, errors: str | None = None, *_: Any) -> str:
        """A small object as text, UTF-8 unless another encoding is named."""
        return self.read_bytes().decode(encoding or "utf-8", errors or "strict")

    def write_bytes(self, data: Any) -> int:
        """Put a small object, whole, in the place of what is there."""
        self.bucket.put(self.key, bytes(data))
        return len(data)

    def unlink(self, missing_ok: bool = False) -> None:
        if not missing_ok:
            self._there()
        self.bucket.delete([self.key])

    def mkdir(self, *_: Any, **__: Any) -> None:
        """Nothing: a prefix needs no making."""

    def rmdir(self) -> None:
        """Nothing: a prefix is gone with the last object below it."""

    @property
    def _below(self) -> str:
        return f"{self.key}/" if self.key else ""

    def stat(self, **_: Any) -> os.stat_result:
        head = self._there()
        inode = int.from_bytes(hashlib.sha256(f"{head.etag} {head.version}".encode()).digest()[:7], "big")
        seconds = int(head.modified.timestamp())
        fields = {"st_atime_ns": seconds * 10**9, "st_mtime_ns": seconds * 10**9, "st_ctime_ns": seconds * 10**9}
        ten = (stat.S_IFREG | 0o444, inode, 0, 1, 0, 0, head.size, seconds, seconds, seconds)
        return os.stat_result(ten, fields)

    def open(self, mode: str = "r", *_: Any, **__: Any) -> IO[Any]:
        """The object as it is now, to read its bytes; what changes while it is read is an `InputError`."""
        if mode != "rb":
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), self.url)
        return io.BufferedReader(ObjectFile(self._current(), self.url), BLOCK_BYTES)

    def hashed(self) -> AbstractContextManager[Callable[[], str]]:
        return self._current().hashed()

    @property
    def bytes_fetched(self) -> int:
        """Bytes of the object that came over the line through this instance."""
        return self._blocks.bytes_fetched if self._blocks is not None else 0

    def _current(self) -> Blocks:
        head = self._there()
        with self._guard:
            if self._blocks is None or self._blocks.head.etag != head.etag:
                self._blocks = Blocks(self.bucket, head)
            return self._blocks

    def _there(self) -> Head:
        head = self.head()
        if head is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.url)
        return head
