"""What one tenant and one key may hold of the service."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import io
import os
import select
import shutil
import threading
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from core.errors import InputError, StorageError
from core.media.image import image_size, read_image
from farm.api import receiving
from farm.api.picture import picture_size
from farm.api.problems import Refused
from farm.api.turns import Rates, Slots, Turns, to_its_end
from farm.service.errors import Conflict, TooFast

BOUND_S = 20.0


def test_a_tenant_has_its_share_of_the_turns() -> None:
    async def story() -> None:
        turns = Turns(3, 2)
        over = asyncio.Event()
        began: list[str] = []

        async def work(tenant: str) -> None:
            async with turns.turn(tenant):
                began.append(tenant)
                await over.wait()

        greedy = [asyncio.create_task(work("a")) for _ in range(5)]
        for _ in range(10):
            await asyncio.sleep(0)
        assert began == ["a", "a"]
        async with turns.turn("b", 1.0):
            with pytest.raises(TooFast):
                async with turns.turn("c", 0.0):
                    pass
            with pytest.raises(TooFast):
                async with turns.turn("a", 0.0):
                    pass
        over.set()
        await asyncio.gather(*greedy)
        assert began == ["a"] * 5
        async with turns.turn("a", 0.0), turns.turn("a", 0.0), turns.turn("c", 0.0):
            pass

    asyncio.run(story())


def test_a_key_calls_so_often() -> None:
    now = [0.0]
    rates = Rates(2.0, 3.0, lambda: now[0])
    for _ in range(3):
        rates.call("a")
    with pytest.raises(TooFast):
        rates.call("a")
    rates.call("b")
    now[0] = 0.5
    rates.call("a")
    with pytest.raises(TooFast):
        rates.call("a")
    now[0] = 1000.0
    for _ in range(3):
        rates.call("a")
    with pytest.raises(TooFast):
        rates.call("a")


def bomb(side: int) -> bytes:
    """A PNG of side x side black pixels that say nothing else."""
    picture = io.BytesIO()
    Image.fromarray(np.zeros((1, 1), np.uint8)).save(picture, "png")
    data = picture.getvalue()
    packer = zlib.compressobj(9)
    rows = b"".join([packer.compress(bytes(1 + side)) for _ in range(side)]) + packer.flush()

    def chunk(kind: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4) + kind + body + zlib.crc32(kind + body).to_bytes(4)

    head = side.to_bytes(4) * 2 + bytes([8, 0, 0, 0, 0])
    return data[:8] + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_the_size_is_that_of_the_picture_that_is_read(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "x.jpg", exif=exif)
    assert image_size(tmp_path / "x.jpg") == read_image(tmp_path / "x.jpg").shape[:2]


def test_a_picture_is_decoded_in_a_child(tmp_path: Path) -> None:
    file = tmp_path / "x.png"
    file.write_bytes(bomb(2000))
    assert picture_size(file) == (2000, 2000)
    file.write_bytes(bomb(9000))
    with pytest.raises(InputError, match="pixels"):
        picture_size(file)
    file.write_bytes(bomb(2000)[:-200])
    with pytest.raises(InputError, match="cannot be read"):
        picture_size(file)


def test_a_disk_is_not_filled(tmp_path: Path) -> None:
    receiving.check_room(tmp_path, 1)
    with pytest.raises(Refused, match="disk is full") as told:
        receiving.check_room(tmp_path, shutil.disk_usage(tmp_path).free)
    assert told.value.status == 507


def test_so_many_are_in_and_no_more() -> None:
    slots = Slots(3, 2, "files are being sent")
    with slots.slot("a"), slots.slot("a"):
        with pytest.raises(TooFast, match="2 files are being sent already"), slots.slot("a"):
            pass
        with slots.slot("b"), pytest.raises(TooFast, match="full"), slots.slot("c"):
            pass
        with pytest.raises(ZeroDivisionError), slots.slot("c"):
            raise ZeroDivisionError
        with slots.slot("d"):
            pass
    with slots.slot("a"), slots.slot("a"), slots.slot("b"):
        pass


def test_a_replica_has_room_beside_calls_that_last() -> None:
    from farm.api.ingress import ONGOING, UPLOADS, WATCHERS, WATCHERS_A_TENANT, Calls  # noqa: PLC0415 - loads Ray Serve

    calls: Any = Calls
    assert calls.max_ongoing_requests == ONGOING >= 2 * (WATCHERS + UPLOADS)
    assert WATCHERS_A_TENANT <= 100


def test_a_turn_is_held_until_its_thread_ends() -> None:
    async def story() -> list[str]:
        turns, began, over = Turns(1, 1), threading.Event(), threading.Event()
        ended: list[str] = []

        def work() -> None:
            began.set()
            over.wait(BOUND_S)
            ended.append("thread")
            raise InputError("nobody hears of this")

        async def call() -> None:
            async with turns.turn("a"):
                await to_its_end(work)

        task = asyncio.create_task(call())
        await asyncio.to_thread(began.wait, BOUND_S)
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0)
        with pytest.raises(TooFast):
            async with turns.turn("b", 0.0):
                pass
        over.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with turns.turn("b", 0.0):
            return ended

    assert asyncio.run(story()) == ["thread"]


def test_an_answer_and_an_error_come_from_the_thread() -> None:
    assert asyncio.run(to_its_end(divmod, 7, 2)) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        asyncio.run(to_its_end(divmod, 7, 0))


def piece_of(reader: int, most: int) -> bytes:
    """What comes next out of a pipe, which has a bound."""
    assert select.select([reader], [], [], BOUND_S)[0]
    piece = os.read(reader, most)
    assert piece, "it was closed before all was written"
    return piece


def test_a_file_is_closed_after_what_is_written(tmp_path: Path) -> None:
    """A pipe is a file whose writer is held until somebody reads: who closes meanwhile waits for him."""
    pipe, size = tmp_path / "pipe", 1 << 20
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    part = receiving.Part(pipe)
    handle = os.open(pipe, os.O_RDWR)  # what `begin` makes of a file; a pipe has no offset
    part._handle = handle
    writer = threading.Thread(target=part.write, args=(b"x" * size,), daemon=True)
    writer.start()
    came = len(piece_of(reader, 1))
    closer = threading.Thread(target=part.close, daemon=True)
    closer.start()
    while came < size:
        came += len(piece_of(reader, size))
    for thread in (writer, closer):
        thread.join(BOUND_S)
        assert not thread.is_alive()
    os.close(reader)
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(handle)


def test_a_folder_without_locks_is_no_other_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    monkeypatch.setattr(fcntl, "flock", refuse)
    part = receiving.Part(tmp_path / "one")
    try:
        with pytest.raises(StorageError, match="Stale file handle; tell the operator"), receiving.told_of_disks("u"):
            part.begin(0, 9)
    finally:
        part.close()


def test_nothing_is_written_after_the_end(tmp_path: Path) -> None:
    one, other = receiving.Part(tmp_path / "one"), receiving.Part(tmp_path / "one")
    assert one.begin(0, 9) == b""
    with pytest.raises(Conflict, match="sent already"):
        other.begin(0, 9)
    other.close()
    one.write(b"mine")
    one.close()
    one.close()
    late = receiving.Part(tmp_path / "late")
    late.close()
    neighbour = os.open(tmp_path / "neighbour", os.O_RDWR | os.O_CREAT)  # has the number that was given back
    try:
        for call in (lambda: one.write(b"yours"), one.sync, lambda: late.begin(0, 9)):
            with pytest.raises(StorageError, match="closed"):
                call()
    finally:
        os.close(neighbour)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"one": b"mine", "neighbour": b""}
