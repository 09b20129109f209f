"""What a bucket's server knows and does, found out by trying before any work.

Servers differ in what they do with conditional puts: all of it (AWS, MinIO, Ceph, R2), `If-None-Match` alone (Swift),
nothing, with an error or without a word. And buckets may keep what is overwritten or removed.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from core.errors import StorageError
from farm.store.bucket import FRESH, Bucket
from farm.store.heads import md5_of
from farm.store.refusals import Conflict, Missing, NoConditions

PROBE = ".probe"
PROBE_DIGITS = 16
TRIES = 4
NOBODY_HAS = '"00000000000000000000000000000000"'  # an ETag
NO_CONDITIONS = "the bucket's server has no conditional puts: do not start one job twice at the same instant"
NO_MATCHING = "the bucket's server replaces nothing on condition: do not start one job twice at the same instant"
VERSIONS = "the bucket keeps versions: what a job removes is paid for until a lifecycle rule of the bucket expires it"


@dataclass(frozen=True)
class Ways:
    """`fresh`: If-None-Match is obeyed; `matching`: If-Match is. `versions`: the bucket keeps what is overwritten.

    `locked_until` is the day until which an object put now cannot be removed, "" where it can.
    """

    fresh: bool
    matching: bool
    versions: bool
    locked_until: str

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user must know of a store in such a bucket."""
        conditions = () if self.fresh and self.matching else (NO_MATCHING,) if self.fresh else (NO_CONDITIONS,)
        return (*conditions, *((VERSIONS,) if self.versions else ()))


def find_ways(bucket: Bucket, folder: str) -> Ways:
    """Try it out with small objects below `folder`, removed again: whoever may not put or remove is told so here.

    Each try has a name of its own, which no other driver that starts now puts to. Who clears the folder may still take
    it away meanwhile: then the object is missing, or a condition seems not to be obeyed. So the first is tried again,
    and the second believed when it was seen twice.
    """
    seen: Ways | None = None
    for left in reversed(range(TRIES)):
        try:
            found = _tried(bucket, f"{folder}{secrets.token_hex(PROBE_DIGITS // 2)}{PROBE}")
        except Missing:
            if not left:
                raise
            continue
        if found == seen or (found.fresh and found.matching):
            return found
        seen = found
    return found


def _tried(bucket: Bucket, key: str) -> Ways:
    try:
        bucket.call("put_object", key, Body=b"1", ContentMD5=md5_of(b"1"))
        fresh = _obeyed(bucket, key, FRESH)
        matching = _obeyed(bucket, key, {"IfMatch": NOBODY_HAS})
        seen = bucket.call("head_object", key)
    except BaseException:
        with suppress(StorageError):
            bucket.once("delete_object", key)
        raise
    with suppress(Missing):
        bucket.call("delete_object", key)
    until = seen.get("ObjectLockRetainUntilDate")
    return Ways(
        fresh=fresh,
        matching=matching,
        versions=seen.get("VersionId") not in {None, "", "null"},
        locked_until=until.date().isoformat() if until is not None else "",
    )


def _obeyed(bucket: Bucket, key: str, condition: Mapping[str, str]) -> bool:
    """Whether a put on a condition that does not hold is refused for that."""
    try:
        bucket.call("put_object", key, Body=b"2", ContentMD5=md5_of(b"2"), **condition)
    except (Conflict, Missing):
        return True
    except NoConditions:
        return False
    return False
