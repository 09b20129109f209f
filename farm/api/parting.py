"""How a file is cut for an upload into a bucket: its first bytes, which the service sees, and the parts. The same size
is always cut in the same way."""

from __future__ import annotations

from dataclasses import dataclass

# https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html: 10,000 parts of 5 MiB to 5 GiB, the last of less
PART_BYTES = 8 << 20
MOST_PARTS = 10_000
PART_STEP = 1 << 20
HEAD_BYTES = 1 << 16  # farm.api.sniff looks at less; a slow line sends them in seconds


def is_far(place: str) -> bool:
    """Whether a place of the service's is in a bucket."""
    return place.startswith("s3://")


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
