"""Uploads in a bucket are looked at once, in turns, and whoever waits is told what went wrong."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import InputError, StorageError
from core.media.far import FarPath
from farm.api.looking import LOOKS_A_TENANT, MOST_FAULTS, Found, Looks
from farm.api.receiving import MOST_PICTURE_BYTES, check_first, film_facts
from farm.service import keys, uploads
from farm.service.database import Database, open_database
from farm.service.records import UploadRow
from tests.media_clips import make_clip

BOUND_S = 20.0
FOUND: Found = ("a" * 64, {"kind": "film"})
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    with open_database(f"sqlite:///{tmp_path}/farm.db") as made:
        for tenant in ("a", "b"):
            keys.make_tenant(made, tenant.upper(), tenant_id=tenant)
        yield made


def whole(db: Database, tenant: str) -> UploadRow:
    """An upload whose parts are put together."""
    row = uploads.begin(
        db, tenant, purpose="target", name="film.mp4", size_bytes=9, place=lambda made: f"s3://bucket/{made}"
    )
    uploads.set_ref(db, tenant, row.id, "ref")
    return uploads.whole(db, tenant, row.id, "ref")


class Eye:
    """Looks that last until they may end; how often each upload was looked at."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.seen: Counter[str] = Counter()
        self.tenants: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __call__(self, row: UploadRow, sha256: str) -> Found:
        del sha256
        with self._lock:
            self.seen[row.id] += 1
            self.tenants[row.tenant] += 1
        assert self.over.wait(BOUND_S)
        return FOUND


def test_a_tenant_has_two_looks_and_an_upload_one(db: Database) -> None:
    many, gone, other = [whole(db, "a") for _ in range(5)], whole(db, "a"), whole(db, "b")
    eye = Eye()

    async def story() -> list[UploadRow]:
        looks = Looks(db, eye)
        try:
            for _ in range(3):  # whoever asks again begins nothing
                for row in [*many, gone, other]:
                    assert (await looks.at(row, "", 0.0)).state == "open"
            async with asyncio.timeout(BOUND_S):
                while not (eye.tenants["a"] == LOOKS_A_TENANT and eye.tenants["b"] == 1):
                    await asyncio.sleep(0)
            # What waits for a turn here is nobody's: another replica may take it.
            claimed = [uploads.claim_look(db, row.tenant, row.id) for row in [*many, other]]
            assert claimed == [False, False, True, True, True, False]
            for row in many[2:]:
                uploads.give_up_look(db, row.tenant, row.id)
            uploads.remove(db, gone.tenant, gone.id)
            eye.over.set()
            return [await looks.at(row, "", BOUND_S) for row in [*many, other]]
        finally:
            eye.over.set()
            looks.close()

    assert [row.state for row in asyncio.run(story())] == ["ready"] * 6
    assert eye.seen == {row.id: 1 for row in [*many, other]}


def test_a_look_that_fails_is_told_and_can_be_done_again(db: Database) -> None:
    row, calls = whole(db, "a"), [0]

    def away(row: UploadRow, sha256: str) -> Found:
        calls[0] += 1
        if calls[0] <= MOST_FAULTS + 1:
            raise StorageError("the bucket is away", hint="wait")
        return FOUND

    async def story() -> UploadRow:
        looks = Looks(db, away)
        try:
            for _ in range(MOST_FAULTS + 1):
                with pytest.raises(StorageError, match="bucket is away"):
                    await looks.at(row, "", BOUND_S)
            return await looks.at(row, "", BOUND_S)
        finally:
            looks.close()

    assert asyncio.run(story()).state == "ready"


@pytest.mark.parametrize("error", [ValueError("a fault"), InputError("is no film")])
def test_a_file_that_is_never_seen_through_is_refused(db: Database, error: Exception) -> None:
    row = whole(db, "a")

    def fails(row: UploadRow, sha256: str) -> Found:
        raise error

    async def story() -> int:
        looks = Looks(db, fails)
        failed = 0
        try:
            while uploads.get(db, "a", row.id).state == "open":
                try:
                    await looks.at(row, "", BOUND_S)
                except StorageError:
                    failed += 1
                assert failed <= MOST_FAULTS
        finally:
            looks.close()
        return failed

    assert asyncio.run(story()) == (MOST_FAULTS if isinstance(error, ValueError) else 0)
    end = uploads.get(db, "a", row.id)
    assert end.state == "refused"
    assert end.problem is not None
    assert end.problem.where == "film.mp4"


def test_a_picture_is_no_gigabyte(db: Database) -> None:
    row = replace(whole(db, "a"), purpose="source", size_bytes=MOST_PICTURE_BYTES)
    check_first(row, PNG)
    with pytest.raises(InputError, match="128 MiB"):
        check_first(replace(row, size_bytes=MOST_PICTURE_BYTES + 1), PNG)
    check_first(replace(row, size_bytes=1 << 40), b"\x00\x00\x00\x20ftypisom")


class Shut(FarPath):
    """A film that only another process than this one may touch."""

    opener = "tests.farm.api.test_looking:ajar"
    wait_s = BOUND_S

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:  # noqa: ARG002 - the names are Path's
        raise AssertionError("asked for in the service's own process")

    def open(self, mode: str = "r", *rest: object) -> None:  # type: ignore[override]  # noqa: ARG002
        raise AssertionError("opened in the service's own process")


def ajar(text: str) -> Path:
    return Path(text)


def test_only_a_child_opens_a_film_that_came(clips: Path) -> None:
    told = film_facts(Shut(make_clip("cfr_mp4", clips)))
    size = {"width": 128, "height": 96}
    assert told == {"kind": "film", **size, "codec": "h264", "seconds": 3.0, "frames_per_s": 25.0, "frames": 75}
