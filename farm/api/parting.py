"""How a file is cut for an upload in parts: its first bytes, which the service sees, and the parts. The same size is
always cut in the same way. Where the parts go is a `PartStore`'s: a bucket (farm.api.buckets) or a folder
(farm.api.folders)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from farm.service.errors import Conflict
from farm.service.records import UploadRow

# https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html: 10,000 parts of 5 MiB to 5 GiB, the last of less
PART_BYTES = 8 << 20
MOST_PARTS = 10_000
PART_STEP = 1 << 20
HEAD_BYTES = 1 << 16  # farm.api.sniff looks at less; a slow line sends them in seconds


def is_far(place: str) -> bool:
    """Whether a place of the service's is in a bucket."""
    return place.startswith("s3://")


def in_parts(row: UploadRow) -> bool:
    """Whether an open upload comes in parts: into a bucket always, into a folder where it was begun so."""
    return is_far(row.place) or bool(row.upload_ref)


def part_bytes_of(size_bytes: int) -> int:
    """The length of all parts but the last one of an upload of so many bytes."""
    least = -(-size_bytes // MOST_PARTS)
    return max(PART_BYTES, -(-least // PART_STEP) * PART_STEP)


def head_bytes_of(size_bytes: int) -> int:
    """How many bytes of the beginning the service is sent before the parts."""
    return min(HEAD_BYTES, size_bytes)


@dataclass(frozen=True)
class Part:
    """One part of an upload: `number` from 1 on, where it begins in the file, and its length."""

    number: int
    first: int
    size: int


def parts_of(size_bytes: int) -> list[Part]:
    step = part_bytes_of(size_bytes)
    return [
        Part(number, first, min(step, size_bytes - first))
        for number, first in enumerate(range(0, size_bytes, step), start=1)
    ]


def part_of(size_bytes: int, number: int) -> Part | None:
    """The part of this number in `parts_of`, without the others; None where there is none."""
    step = part_bytes_of(size_bytes)
    first = (number - 1) * step
    return Part(number, first, min(step, size_bytes - first)) if 0 <= first < size_bytes else None


def check_all(wanted: Sequence[Part], there: Collection[int]) -> None:
    """`Conflict` where some of the wanted parts are not there."""
    missing = [part.number for part in wanted if part.number not in there]
    if missing:
        told = f"{len(missing)} of {len(wanted)} parts are not there, the first is {missing[0]}"
        raise Conflict(told, hint="ask for `parts`, put what it lists, then finish")


class StillSent(Conflict):
    """A part of an upload is being written, so that the parts cannot be put together yet."""


class PartStore(Protocol):
    """Where the parts of uploads go. `place` is the upload's, `ref` what `begin` answered for it. All of it may wait
    for a bucket or a disk, and is called from threads."""

    def begin(self, place: str) -> str:
        """Begin an upload to `place`: its `ref`."""

    def end(self, place: str, ref: str) -> None:
        """End what `begin` began and nobody goes on with."""

    def there(self, place: str, ref: str, size_bytes: int) -> set[int]:
        """The numbers of the parts that are there whole. `Conflict` where nobody knows of the upload."""

    def address(self, place: str, ref: str, part: Part) -> str:
        """Where to PUT the part."""

    def finishing(self, place: str, ref: str, size_bytes: int) -> AbstractContextManager[None]:
        """Within it all parts are one file at `place`, and no part can change it. `Conflict` where some are missing,
        `StillSent` where one is on its way; done again it is done."""
