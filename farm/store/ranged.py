"""A large object as a seekable file: ranged reads, read-ahead where it is read on, and a bounded cache of blocks.

Blocks are of BLOCK_BYTES. A read that goes on where the last fetched range ended asks for twice as many blocks as
before, up to AHEAD_BLOCKS; any other read asks for one. So a demuxer that jumps pays for little, and one that reads on
pays for few requests. All files of one object share the cache: headers are fetched once.
"""

from __future__ import annotations

import hashlib
import io
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from core.errors import InputError
from farm.store.bucket import Bucket
from farm.store.heads import Head
from farm.store.refusals import Conflict, Missing, NoRange

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BLOCK_BYTES = 256 << 10
AHEAD_BLOCKS = 32
CACHED_BLOCKS = 256  # 64 MiB an object


@dataclass
class _Following:
    """The hash of the blocks before `next`."""

    next: int = 0
    sha256: hashlib._Hash = field(default_factory=hashlib.sha256)


class Blocks:
    """The blocks of the object `head`, as it was when that was asked for. Safe between threads."""

    def __init__(
        self, bucket: Bucket, head: Head, *, block_bytes: int = BLOCK_BYTES, kept: int = CACHED_BLOCKS
    ) -> None:
        self.head = head
        self.bytes_fetched = 0
        self._bucket, self._size, self._kept = bucket, block_bytes, kept
        self._lock = threading.Lock()
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._hash: _Following | None = None

    def block(self, number: int, ahead: int) -> tuple[bytes, int]:
        """Block `number`, and how many blocks were fetched for it: none, or up to `ahead`."""
        with self._lock:
            found = self._blocks.get(number)
            if found is not None:
                self._blocks.move_to_end(number)
                return found, 0
            # What is skipped but must be hashed comes along where it is little.
            wanted = self._hash.next if self._hash is not None else number
            start = wanted if 0 < number - wanted <= AHEAD_BLOCKS else number
        first = start * self._size
        last = min(self.head.size, (number + ahead) * self._size)
        data = self._fetch(first, last - first)
        with self._lock:
            self.bytes_fetched += len(data)
            for place in range(0, len(data), self._size):
                self._blocks[(first + place) // self._size] = data[place : place + self._size]
            self._feed()
            self._blocks.move_to_end(number)
            while len(self._blocks) > max(self._kept, ahead):
                self._blocks.popitem(last=False)
        skipped = (number - start) * self._size
        return data[skipped : skipped + self._size], -(-(len(data) - skipped) // self._size)

    @contextmanager
    def hashed(self) -> Iterator[Callable[[], str]]:
        """See `core.media.far.FarPath.hashed`; for one at a time."""
        with self._lock:
            following = self._hash = _Following()
            self._feed()

        def whole() -> str:
            while following.next * self._size < self.head.size:
                self.block(following.next, AHEAD_BLOCKS)
                with self._lock:
                    self._feed()
            return following.sha256.hexdigest()

        try:
            yield whole
        finally:
            self._hash = None

    def _feed(self) -> None:
        """Hash what is there of what comes next. With the lock held, before anything is dropped."""
        following = self._hash
        while following is not None and (found := self._blocks.get(following.next)) is not None:
            following.sha256.update(found)
            following.next += 1

    def _fetch(self, first: int, size: int) -> bytes:
        try:
            return self._bucket.part(self.head.key, self.head.etag, first, size)
        except (Conflict, Missing, NoRange) as error:
            raise InputError(
                "the film changed while it was read",
                where=self._bucket.where(self.head.key),
                hint="wait until it is complete, then run the same command again",
            ) from error

    @property
    def block_bytes(self) -> int:
        return self._size


class ObjectFile(io.RawIOBase):
    """The object behind `blocks`, read from the start; `name` is what it is called in errors. For one thread."""

    def __init__(self, blocks: Blocks, name: str) -> None:
        super().__init__()
        self.name = name
        self._blocks = blocks
        self._place = 0
        self._ahead, self._next = 1, -1  # blocks to ask for, and the block after the last range

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._blocks.head.size}[whence]
        if base + offset < 0:
            raise OSError(22, "cannot go before the start", self.name)
        self._place = base + offset
        return self._place

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        size = min(len(view), max(0, self._blocks.head.size - self._place))
        filled = 0
        while filled < size:
            number, offset = divmod(self._place, self._blocks.block_bytes)
            self._ahead = min(2 * self._ahead, AHEAD_BLOCKS) if number == self._next else self._ahead_of(number)
            block, fetched = self._blocks.block(number, self._ahead)
            if fetched:
                self._next = number + fetched
            some = block[offset : offset + size - filled]
            view[filled : filled + len(some)] = some
            filled += len(some)
            self._place += len(some)
        return filled

    def _ahead_of(self, number: int) -> int:
        """Inside the range that was fetched last the window stays; elsewhere it starts again."""
        return self._ahead if self._next - self._ahead <= number < self._next else 1
