"""What is read on is fetched beside the work, and the ends of a film stay."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Any

import boto3
import pytest

from core.errors import StorageError
from farm.store.bucket import Bucket
from farm.store.ranged import AHEAD_BLOCKS, BESIDE_BLOCKS, Blocks, ObjectFile
from farm.store.refusals import Patience

BLOCK = 1000
DATA = random.Random(5).randbytes(400 * BLOCK + 123)
WAIT_S = 30.0  # for what comes at once


class Watched(Bucket):
    """A bucket that tells of each range before it is asked for."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.asked: list[tuple[int, int]] = []
        self.tries: list[tuple[int, int]] = []  # first block of a range, and how often it is tried at most
        self.before: Callable[[int], object] = lambda _: None

    def part(self, key: str, etag: str, first: int, size: int, patience: Patience | None = None) -> bytes:
        self.asked.append((first // BLOCK, -(-size // BLOCK)))
        self.tries.append((first // BLOCK, (patience or self.patience).tries))
        self.before(first // BLOCK)
        return super().part(key, etag, first, size, patience)


@pytest.fixture
def bucket(s3: str) -> Watched:
    made: Any = boto3.resource("s3").Bucket("films")
    made.create()
    made.put_object(Key="film", Body=DATA)
    return Watched("films")


def blocks_of(bucket: Bucket, kept: int = 4 * AHEAD_BLOCKS) -> Blocks:
    head = bucket.head("film")
    assert head is not None
    return Blocks(bucket, head, block_bytes=BLOCK, kept=kept)


def test_the_next_range_comes_while_one_is_worked_on(bucket: Watched) -> None:
    begun: dict[int, threading.Event] = {}
    bucket.before = lambda first: begun.setdefault(first, threading.Event()).set()
    far = ObjectFile(blocks_of(bucket), "film")
    until = 1 + 2 + 4  # after which a range of BESIDE_BLOCKS is entered
    assert far.read(until * BLOCK) == DATA[: until * BLOCK]
    assert len(bucket.asked) == 3, "nothing is fetched in advance for who has read little"
    for start, size in ((until, BESIDE_BLOCKS), (15, 16), (31, 32), (63, 32), (95, 32)):
        first_byte = far.read(1)
        assert first_byte == DATA[start * BLOCK : start * BLOCK + 1]
        after = start + size
        assert begun.setdefault(after, threading.Event()).wait(WAIT_S), f"nobody asked for block {after}"
        assert far.read(size * BLOCK - 1) == DATA[start * BLOCK + 1 : after * BLOCK]
    assert far.readall() == DATA[127 * BLOCK :]
    assert sum(size for _, size in bucket.asked) == len(DATA) // BLOCK + 1, "each block once"


def test_what_goes_wrong_in_advance_is_asked_again_by_the_read_that_needs_it(bucket: Watched) -> None:
    """And told to nobody else: neither to who reads elsewhere, nor to who reads what is there of that range."""
    failed = threading.Event()

    def fail(first: int) -> None:
        if first == 15 and not failed.is_set():
            failed.set()
            raise StorageError("the line is cut", where="film")

    bucket.before = fail
    blocks = blocks_of(bucket)
    far, other = ObjectFile(blocks, "film"), ObjectFile(blocks, "film")
    other.seek(20 * BLOCK)
    assert other.read(10) == DATA[20 * BLOCK : 20 * BLOCK + 10]
    assert far.read(15 * BLOCK) == DATA[: 15 * BLOCK]
    assert failed.wait(WAIT_S)
    far.seek(100)
    assert far.read(BLOCK) == DATA[100 : 100 + BLOCK]
    asked = len(bucket.asked)
    assert other.read(10) == DATA[20 * BLOCK + 10 : 20 * BLOCK + 20]
    assert len(bucket.asked) == asked, "it was there"
    far.seek(15 * BLOCK)
    assert far.readall() == DATA[15 * BLOCK :]
    assert bucket.asked[asked][0] == 15


def test_a_read_is_told_what_goes_wrong_when_it_asks_again_itself(bucket: Watched) -> None:
    cut = threading.Event()
    tried: list[int] = []

    def fail(first: int) -> None:
        if first == 15:
            tried.append(first)
            cut.set()
            raise StorageError("the line is cut", where="film")

    bucket.before = fail
    far = ObjectFile(blocks_of(bucket), "film")
    assert far.read(15 * BLOCK) == DATA[: 15 * BLOCK]
    assert cut.wait(WAIT_S)
    with pytest.raises(StorageError, match="the line is cut"):
        far.read(1)
    assert tried == [15, 15], "once in advance, and once by the read"
    often = Patience().tries
    assert bucket.tries[-2:] == [(15, 1), (15, often)], "a read in an outage waits once, not twice"
    bucket.before = lambda _: None
    assert far.read(BLOCK) == DATA[15 * BLOCK : 16 * BLOCK]


def test_both_ends_stay_however_much_is_read_between(bucket: Watched) -> None:
    blocks = blocks_of(bucket)
    ends = [0, 5, blocks.count - 3, blocks.count - 1]
    far = ObjectFile(blocks, "film")
    for number in ends:
        far.seek(number * BLOCK)
        far.read(10)
    far.seek(6 * BLOCK)
    far.readall()
    assert len(blocks._blocks) <= 4 * AHEAD_BLOCKS
    asked = len(bucket.asked)
    again = ObjectFile(blocks, "film")
    for number in ends:
        again.seek(number * BLOCK)
        assert again.read(10) == DATA[number * BLOCK : number * BLOCK + 10]
    assert len(bucket.asked) == asked


def test_many_readers_of_one_film_read_what_is_there(bucket: Watched) -> None:
    blocks = blocks_of(bucket)
    read: list[bytes] = []

    def read_all(start: int) -> None:
        with ObjectFile(blocks, "film") as far:
            far.seek(start)
            rest = far.readall()
            far.seek(0)
            read.append(far.read(start) + rest)

    readers = [threading.Thread(target=read_all, args=(start,)) for start in (0, 1, 100_500, 250_000)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(WAIT_S)
    assert read == [DATA] * 4


def test_a_machine_that_gives_no_thread_reads_without_one(bucket: Watched) -> None:
    blocks = blocks_of(bucket)
    far = ObjectFile(blocks, "film")
    until = 1 + 2 + 4
    assert far.read(until * BLOCK) == DATA[: until * BLOCK]
    gone = threading.Thread(target=lambda: None)
    before = threading.stack_size(1 << 46)  # more than there are addresses for
    try:
        with pytest.raises(RuntimeError, match="can't start new thread"):
            gone.start()
        assert blocks.beside(until, BESIDE_BLOCKS) == 0
    finally:
        threading.stack_size(before)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(far.readall()), daemon=True)
    reader.start()
    reader.join(WAIT_S)
    assert read == [DATA[until * BLOCK :]]
