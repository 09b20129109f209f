"""A large object as a seekable file: ranged reads, read-ahead where it is read on, and a bounded cache of blocks.

Blocks are of BLOCK_BYTES. A read that goes on where the last fetched range ended asks for twice as many blocks as
before, up to AHEAD_BLOCKS; any other read asks for one. So a demuxer that jumps pays for little, and one that reads on
pays for few requests.

One that has read on for a while finds the next range there: as soon as it enters a range of BESIDE_BLOCKS or more, a
thread fetches the one after it. There is one such thread an object at most, whoever reads it, and it ends with its
range. It tries once: what it could not fetch, though some of it may have come, is as if nobody had asked, and the read
that needs it tries as often as any, and is told what is wrong.

All files of one object share the cache: CACHED_BLOCKS, the range under way, and, once they were read, the first and the
last eighth as many, in which demuxers find headers and tables again and again. So a header within them is fetched once.
"""

from __future__ import annotations

import hashlib
import io
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from core.errors import InputError
from farm.store.bucket import Bucket
from farm.store.heads import Head
from farm.store.refusals import ONCE, Conflict, Missing, NoRange, Patience

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BLOCK_BYTES = 256 << 10
AHEAD_BLOCKS = 32
BESIDE_BLOCKS = 8  # 2 MiB: what was read on is as much as what is fetched in advance
CACHED_BLOCKS = 256  # 64 MiB an object
PINNED_SHARE = 8  # of the cached blocks so many times less at either end: 8 MiB
BESIDE_SHARE = 4  # a range fetched in advance must not push out what is read


@dataclass
class _Following:
    """The hash of the blocks before `next`."""

    next: int = 0
    sha256: hashlib._Hash = field(default_factory=hashlib.sha256)


@dataclass
class _Coming:
    """A range of `count` blocks from `first` that a thread fetches, or could not fetch once it is `done`."""

    first: int
    count: int
    done: threading.Event = field(default_factory=threading.Event)


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
        self._pinned: dict[int, bytes] = {}
        self._hash: _Following | None = None
        self._coming: _Coming | None = None

    def block(self, number: int, ahead: int) -> tuple[bytes, int]:
        """Block `number`, and how many blocks were fetched for it: none, or up to `ahead`."""
        self._wait_for(number)
        with self._lock:
            found = self._cached(number)
            if found is not None:
                return found, 0
            # What is skipped but must be hashed comes along where it is little.
            wanted = self._hash.next if self._hash is not None else number
            start = wanted if 0 < number - wanted <= AHEAD_BLOCKS else number
        data = self._take(start, number + ahead - start)
        skipped = (number - start) * self._size
        return data[skipped : skipped + self._size], -(-(len(data) - skipped) // self._size)

    def beside(self, first: int, count: int) -> int:
        """Begin to fetch `count` blocks from `first` on, and do not wait for them; how many those are.

        None where the object ends before, where the first of them is there, where they would push out what is read,
        while others are fetched, and where the system gives no thread.
        """
        count = min(count, self.count - first)
        if count <= 0 or count * BESIDE_SHARE > self._kept:
            return 0
        with self._lock:
            busy = self._coming is not None and not self._coming.done.is_set()
            if busy or self._cached(first) is not None:
                return 0
            coming = self._coming = _Coming(first, count)
        try:
            threading.Thread(target=self._fetch_beside, args=(coming,), name="film ahead", daemon=True).start()
        except Exception:  # no more threads, or no memory for one: whoever reads the range fetches it
            with self._lock:
                self._coming = None
            coming.done.set()
            return 0
        return count

    def _fetch_beside(self, coming: _Coming) -> None:
        try:
            with suppress(Exception):  # whoever needs it asks again, and is told then
                self._take(coming.first, coming.count, ONCE)
        finally:
            coming.done.set()

    def _wait_for(self, number: int) -> None:
        """Wait until block `number` is there, or could not be fetched, if it is on its way."""
        with self._lock:
            coming = self._coming
            if coming is None or not coming.first <= number < coming.first + coming.count:
                return
            if self._cached(number) is not None:
                return
        coming.done.wait()
        with self._lock:
            if self._coming is coming:
                self._coming = None

    def _take(self, first: int, count: int, patience: Patience | None = None) -> bytes:
        """Fetch blocks and keep them."""
        place = first * self._size
        data = self._fetch(place, min(self.head.size, place + count * self._size) - place, patience)
        with self._lock:
            self.bytes_fetched += len(data)
            for number in range(first, first + -(-len(data) // self._size)):
                start = (number - first) * self._size
                block = self._blocks[number] = data[start : start + self._size]
                self._blocks.move_to_end(number)
                ends = self._kept // PINNED_SHARE
                if number < ends or number >= self.count - ends:
                    self._pinned[number] = block
            self._feed()
            while len(self._blocks) > max(self._kept, count):
                self._blocks.popitem(last=False)
        return data

    def _cached(self, number: int) -> bytes | None:
        """Block `number` if it is there. With the lock held."""
        if number in self._blocks:
            self._blocks.move_to_end(number)
            return self._blocks[number]
        return self._pinned.get(number)

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
        while following is not None and (found := self._cached(following.next)) is not None:
            following.sha256.update(found)
            following.next += 1

    def _fetch(self, first: int, size: int, patience: Patience | None) -> bytes:
        try:
            return self._bucket.part(self.head.key, self.head.etag, first, size, patience)
        except (Conflict, Missing, NoRange) as error:
            raise InputError(
                "the film changed while it was read",
                where=self._bucket.where(self.head.key),
                hint="wait until it is complete, then run the same command again",
            ) from error

    @property
    def block_bytes(self) -> int:
        return self._size

    @property
    def count(self) -> int:
        """The blocks of the object."""
        return -(-self.head.size // self._size)


class ObjectFile(io.RawIOBase):
    """The object behind `blocks`, read from the start; `name` is what it is called in errors. For one thread."""

    def __init__(self, blocks: Blocks, name: str) -> None:
        super().__init__()
        self.name = name
        self._blocks = blocks
        self._place = 0
        self._ahead, self._next = 1, -1  # blocks to ask for, and the block after the last range
        self._beside = 0  # blocks from `_next` on that are fetched in advance

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
            block = self._block(number)
            some = block[offset : offset + size - filled]
            view[filled : filled + len(some)] = some
            filled += len(some)
            self._place += len(some)
        return filled

    def _block(self, number: int) -> bytes:
        goes_on = number == self._next
        self._ahead = min(2 * self._ahead, AHEAD_BLOCKS) if goes_on else self._ahead_of(number)
        block, fetched = self._blocks.block(number, self._ahead)
        if goes_on and not fetched:
            fetched = self._beside
        if fetched:
            self._next = number + fetched
            reads_on = goes_on and self._ahead >= BESIDE_BLOCKS
            self._beside = self._blocks.beside(self._next, min(2 * self._ahead, AHEAD_BLOCKS)) if reads_on else 0
        return block

    def _ahead_of(self, number: int) -> int:
        """Inside the range that was fetched last the window stays; elsewhere it starts again."""
        return self._ahead if self._next - self._ahead <= number < self._next else 1
