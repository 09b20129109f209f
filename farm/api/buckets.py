"""Uploads and results that go between the client and the bucket, past the service: presigned addresses, and what the
service asks the bucket about them.

An upload is a multipart upload of S3: each part has an address of its own, signed with its length, so that no more can
be put than was announced. Which parts are there is what the bucket says; nothing of it is kept here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from core.errors import FarmError, InputError
from farm.api.parting import Part, check_all, parts_of
from farm.api.turns import Turns, to_its_end
from farm.paths import place as path_of
from farm.service.errors import Conflict
from farm.store.bucket import Bucket
from farm.store.refusals import Missing, Patience
from farm.store.s3path import ObjectPath, as_object

SOON = Patience(tries=4, connect_s=5.0, read_s=20.0)  # somebody waits for the answer
READS, READS_A_TENANT = 12, 6  # at once: of the 40 threads that all calls share
SENDS, SENDS_A_TENANT = 12, 6  # as well, of what has to do with uploads
WAIT_S = 10.0
PART_S = 3600  # how long the address of a part is good: a slow line sends a part in it
HEAD_BYTES = 1 << 20
AGAIN = "begin another one with POST /v1/uploads"
T = TypeVar("T")


@dataclass(frozen=True)
class Buckets:
    """What the calls ask of buckets. `endpoint`: the S3 server as clients reach it, "" as the service does."""

    endpoint: str = ""
    reading: Turns = field(default_factory=lambda: Turns(READS, READS_A_TENANT))
    sending: Turns = field(default_factory=lambda: Turns(SENDS, SENDS_A_TENANT))

    async def read(self, tenant: str, work: Callable[[], T]) -> T:
        """What `work` reads of a job's files, in a thread, when a turn comes: a bucket that does not answer keeps only
        so many threads waiting. `TooFast` where no turn comes."""
        async with self.reading.turn(tenant, WAIT_S):
            return await to_its_end(work)

    async def send(self, tenant: str, work: Callable[[], T]) -> T:
        """The same for what `work` asks of uploads, some of which takes a bucket long: putting many parts together."""
        async with self.sending.turn(tenant, WAIT_S):
            return await to_its_end(work)

    def begin(self, place: str) -> str:
        """Begin an upload to `place`: the bucket's id of it."""
        far, bucket = _at(place)
        return str(bucket.call("create_multipart_upload", far.key)["UploadId"])

    def end(self, place: str, ref: str) -> None:
        """End an upload that nobody goes on with; where the bucket does not do it now, it goes with the file."""
        far, bucket = _at(place)
        with suppress(FarmError):
            bucket.call("abort_multipart_upload", far.key, UploadId=ref)

    def here(self, place: str, ref: str) -> dict[int, tuple[int, str]]:
        """The parts that are there: number -> size and ETag. `Conflict` where the bucket knows no such upload."""
        far, bucket = _at(place)
        found: dict[int, tuple[int, str]] = {}
        more: dict[str, Any] = {}
        while True:
            try:
                page = bucket.call("list_parts", far.key, UploadId=ref, **more)
            except Missing:
                raise Conflict("the bucket does not know this upload any more", hint=AGAIN) from None
            for entry in page.get("Parts", []):
                found[int(entry["PartNumber"])] = int(entry["Size"]), str(entry["ETag"])
            if not page.get("IsTruncated"):
                return found
            more = {"PartNumberMarker": page["NextPartNumberMarker"]}

    def there(self, place: str, ref: str, size_bytes: int) -> set[int]:
        """The numbers of the parts that are there whole."""
        here = self.here(place, ref)
        return {part.number for part in parts_of(size_bytes) if here.get(part.number, (0, ""))[0] == part.size}

    def address(self, place: str, ref: str, part: Part) -> str:
        """Where to PUT the part, for an hour."""
        far, bucket = _at(place)
        wanted = {"UploadId": ref, "PartNumber": part.number, "ContentLength": part.size}
        return bucket.signed("upload_part", far.key, PART_S, endpoint=self.endpoint, **wanted)

    def finish(self, place: str, ref: str, size_bytes: int) -> None:
        """Put the parts together. `Conflict` where some are missing, or the bucket does not know the upload."""
        far, bucket = _at(place)
        parts = parts_of(size_bytes)
        try:
            here = self.here(place, ref)
        except Conflict:
            head = bucket.head(far.key)
            if head is not None and head.size == size_bytes:  # was finished, and the answer was lost
                return
            raise
        check_all(parts, [part.number for part in parts if here.get(part.number, (0, ""))[0] == part.size])
        listed = [{"PartNumber": part.number, "ETag": here[part.number][1]} for part in parts]
        try:
            bucket.call("complete_multipart_upload", far.key, UploadId=ref, MultipartUpload={"Parts": listed})
        except Missing:
            head = bucket.head(far.key)
            if head is None or head.size != size_bytes:
                raise Conflict("the bucket does not know this upload any more", hint=AGAIN) from None

    @contextmanager
    def finishing(self, place: str, ref: str, size_bytes: int) -> Iterator[None]:
        """`finish`; nothing can be put into an object."""
        self.finish(place, ref, size_bytes)
        yield

    def link(self, place: str, name: str, media: str, seconds: int, *, download: bool = True) -> str:
        """An address from which the object at `place` can be read as `name` for so long."""
        far, bucket = _at(place)
        how = "attachment" if download else "inline"
        wanted: Mapping[str, Any] = {
            "ResponseContentDisposition": f"{how}; filename*=UTF-8''{quote(name, safe='')}",
            "ResponseContentType": media,
        }
        return bucket.signed("get_object", far.key, seconds, endpoint=self.endpoint, **wanted)

    def origin(self, root: Path) -> str:
        """The origin of such addresses, for a page's Content-Security-Policy."""
        parts = urlsplit(self.link(str(root / "origin"), "origin", "text/plain", 1))
        return f"{parts.scheme}://{parts.netloc}"


def soon(path: Path) -> Path:
    """`path`, for somebody who waits: a bucket is asked with little patience."""
    return path.patient(SOON) if isinstance(path, ObjectPath) else path


def _at(place: str) -> tuple[ObjectPath, Bucket]:
    far = as_object(path_of(place))
    return far, far.bucket.settled(patience=SOON)


def head_of(far: ObjectPath) -> bytes:
    """The first megabyte of an object. `InputError` where there is none."""
    head = far.head()
    if head is None or not head.size:
        raise InputError("nothing came", hint=AGAIN)
    return far.bucket.part(far.key, head.etag, 0, min(HEAD_BYTES, head.size))
