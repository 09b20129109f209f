"""The objects of one bucket: conditional and multipart puts, ranged and resumed reads, listings, with retries.

Endpoint, region, keys, profile and path style are boto3's own settings (AWS_ENDPOINT_URL, AWS_REGION, ..., and
`s3 = addressing_style = path` in AWS_CONFIG_FILE; with an endpoint of its own a bucket stands in the path anyway).
A Bucket travels between processes as its name: each makes its own client with its own credentials.

Every put carries the MD5 of its body, which the server compares (all that speak S3 do), and the SHA-256 of the whole
as metadata, which readers compare. Trailing checksums of newer protocols are not sent, because older servers refuse
them.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from core.errors import StorageError
from farm.store.clients import Clients, expects_role
from farm.store.disk import storage_error
from farm.store.heads import SHA256, WRITER, Head, Listed, age_s, head_of, md5_of
from farm.store.pace import pieces
from farm.store.refusals import (
    Broken,
    Conflict,
    Missing,
    NoConditions,
    NoKeys,
    Patience,
    Refused,
    refusal,
    translate,
)

PART_BYTES = 16 << 20
MOST_PARTS = 10_000  # https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
PARTS_AT_ONCE = 4
DELETE_AT_ONCE = 1000
KEY_TRIES = 2  # each waits for keys by itself (farm.store.clients)
Answer = TypeVar("Answer")
FRESH: Mapping[str, str] = {"IfNoneMatch": "*"}
# Without these an answer was cut off among its headers, which HTTP libraries take for the end of them.
NEEDED: Mapping[str, tuple[str, ...]] = {
    "put_object": ("ETag",),
    "upload_part": ("ETag",),
    "create_multipart_upload": ("UploadId",),
    "complete_multipart_upload": ("ETag",),
    "head_object": ("ETag", "LastModified", "ContentLength"),
    "get_object": ("ETag", "LastModified", "ContentLength"),
    "list_objects_v2": ("IsTruncated",),
}


class Bucket:
    """One bucket. `conditional` and `matching` say whether its server obeys If-None-Match and If-Match when something
    is put (see `farm.store.ways`)."""

    def __init__(
        self, name: str, *, conditional: bool = True, matching: bool = True, patience: Patience | None = None
    ) -> None:
        self.name = name
        self.conditional = conditional
        self.matching = matching
        self.patience = patience or Patience()
        self._clients = Clients()

    def __reduce__(self) -> tuple[Any, ...]:
        return _bucket, (self.name, self.conditional, self.matching, self.patience)

    def settled(self, *, patience: Patience, conditional: bool | None = None, matching: bool | None = None) -> Bucket:
        """The same bucket with other ways: the same clients, of which each waits as long as one patience says."""
        other = Bucket(
            self.name,
            conditional=self.conditional if conditional is None else conditional,
            matching=self.matching if matching is None else matching,
            patience=patience,
        )
        other._clients = self._clients
        return other

    def where(self, key: str) -> str:
        return f"s3://{self.name}/{key}".rstrip("/")

    def call(self, doing: str, key: str, **wanted: Any) -> Any:
        """The answer to one request, tried until it is one. Raises `Refused`, or `Broken` when patience is over."""
        return self.retried(lambda: self.once(doing, key, **wanted))

    def once(self, doing: str, key: str, **wanted: Any) -> Any:
        """One try of `call`."""
        if key:
            wanted["Key"] = key
        client = self._client()
        try:
            answer = getattr(client, doing)(Bucket=self.name, **wanted)
        except Exception as error:
            told = translate(error, self.where(key), doing.replace("_", " "))
            if isinstance(told, NoKeys):
                self._clients.forget(client)
            raise told from error
        if any(name not in answer for name in NEEDED.get(doing, ())):
            raise Broken("S3's answer was cut off", where=self.where(key), hint="check the network")
        return answer

    def retried(self, attempt: Callable[[], Answer], patience: Patience | None = None) -> Answer:
        """`attempt` until it is not `Broken`, with pauses between; as often as `patience` says, or the bucket's."""
        keyless = 0
        for pause in (patience or self.patience).pauses():
            try:
                return attempt()
            except Broken:
                time.sleep(pause)
            except NoKeys:
                keyless += 1
                if keyless == KEY_TRIES or not expects_role():
                    raise
        return attempt()

    # ------------------------------------------------------------ reading

    def head(self, key: str) -> Head | None:
        """What is at `key`; None where nothing is."""
        try:
            return head_of(key, self.call("head_object", key))
        except Missing:
            return None
        except Refused:
            # An answer to HEAD has no body, and so no word on what is wrong: ask in a way that has one.
            self.call("get_object", key, Range="bytes=0-0")["Body"].close()
            raise

    def get(self, key: str) -> tuple[bytes, Head] | None:
        """A small object whole, compared with its hash; None where nothing is."""

        def attempt() -> tuple[bytes, Head]:
            answer = self.once("get_object", key)
            head = head_of(key, answer)
            data = b"".join(self._body(answer, key))
            if len(data) != head.size or (head.sha256 and hashlib.sha256(data).hexdigest() != head.sha256):
                raise Broken("S3 gave other bytes than were put", where=self.where(key), hint="remove the object")
            return data, head

        try:
            return self.retried(attempt)
        except Missing:
            return None

    def part(self, key: str, etag: str, first: int, size: int, patience: Patience | None = None) -> bytes:
        """Bytes [first, first + size) of the object that has `etag`; a broken line goes on where it broke, as often as
        `patience` says, or the bucket's.

        `Conflict` where the object is another one now.
        """
        got = bytearray()

        def attempt() -> None:
            start = first + len(got)
            answer = self.once("get_object", key, Range=f"bytes={start}-{first + size - 1}", IfMatch=etag)
            for chunk in self._body(answer, key):
                got.extend(chunk)
            if len(got) != size:
                raise Broken("S3's answer was cut off", where=self.where(key), hint="check the network")

        self.retried(attempt, patience)
        return bytes(got)

    def download(self, head: Head, file: Path) -> str:
        """The object of `head` as the new local `file`; its sha256, which is that of `head` where it has one.

        A broken line goes on where it broke. Raises `Conflict`, `Missing`, or `StorageError`.
        """
        digest = hashlib.sha256()
        try:
            with file.open("wb") as out:

                def attempt() -> None:
                    if out.tell() == head.size:
                        return
                    answer = self.once("get_object", head.key, Range=f"bytes={out.tell()}-", IfMatch=head.etag)
                    for chunk in self._body(answer, head.key):
                        digest.update(chunk)
                        out.write(chunk)
                    if out.tell() != head.size:
                        raise Broken("S3's answer was cut off", where=self.where(head.key), hint="check the network")

                self.retried(attempt)
        except OSError as error:
            raise storage_error(error, file) from error
        if head.sha256 and digest.hexdigest() != head.sha256:
            raise StorageError("is not what its hash says", where=self.where(head.key), hint="remove the object")
        return digest.hexdigest()

    def _body(self, answer: Any, key: str) -> Iterator[bytes]:
        body = answer["Body"]
        try:
            yield from pieces(body, int(answer["ContentLength"]), self.patience.grace_s, self.where(key))
        except Broken:
            raise
        except Exception as error:
            raise translate(error, self.where(key), "get object") from error
        finally:
            body.close()

    def list(self, prefix: str, *, folders: bool = False) -> Iterator[Listed]:
        """The objects under `prefix` page by page, by name; with `folders` names end after their next slash."""
        more: dict[str, str] = {"Delimiter": "/"} if folders else {}
        while True:
            page = self.call("list_objects_v2", "", Prefix=prefix, **more)
            for entry in page.get("CommonPrefixes", []):
                yield Listed(str(entry["Prefix"]), 0)
            for entry in page.get("Contents", []):
                yield Listed(str(entry["Key"]), int(entry["Size"]), age_s(entry["LastModified"], page))
            if not page.get("IsTruncated"):
                return
            more["ContinuationToken"] = page["NextContinuationToken"]

    # ------------------------------------------------------------ writing

    def put(self, key: str, data: bytes, condition: Mapping[str, str] | None = None) -> str:
        """Put `data`; the version (ETag) that it made. Raises `Conflict` where `condition` does not hold.

        A try whose answer was lost has put the object: the next one meets its own writer's name there.
        """
        writer = secrets.token_hex(16)
        wanted = dict(condition or {})
        meta = {SHA256: hashlib.sha256(data).hexdigest(), WRITER: writer}
        try:
            made = self.call("put_object", key, Body=data, ContentMD5=md5_of(data), Metadata=meta, **wanted)
            return str(made["ETag"])
        except Conflict:
            head = self.head(key)
            if head is None or head.writer != writer:
                raise
            return head.etag

    def create(self, key: str, data: bytes) -> bool:
        """Put `data` where nothing is; False where something is."""
        if not self.conditional and self.head(key) is not None:
            return False
        return self._create(lambda condition: self.put(key, data, condition))

    def create_from(self, key: str, file: Path, sha256: str) -> bool:
        """Upload `file` to where nothing is; False where something is."""
        if self.head(key) is not None:
            return False
        return self._create(lambda condition: self.upload(key, file, sha256, condition))

    def _create(self, put: Callable[[Mapping[str, str] | None], str]) -> bool:
        # Where the server has no conditional puts, two writers that look at the same instant both put: each whole,
        # the last one stays. What is published under one name is equal in meaning, so that does no harm.
        try:
            put(FRESH if self.conditional else None)
        except Conflict:
            return False
        return True

    def upload(self, key: str, file: Path, sha256: str, condition: Mapping[str, str] | None = None) -> str:
        """Put a file, in parts when it is large; its ETag. It appears whole or not at all. Raises as `put`.

        On a server that says it knows no conditions the last writer stays.
        """
        try:
            size = file.stat().st_size
            if size <= PART_BYTES:
                return self._unless_unknown(lambda wanted: self.put(key, file.read_bytes(), wanted), condition)
        except OSError as error:
            raise storage_error(error, file) from error
        step = max(PART_BYTES, -(-size // MOST_PARTS))
        writer = secrets.token_hex(16)
        meta = {SHA256: sha256, WRITER: writer}
        upload = str(self.call("create_multipart_upload", key, Metadata=meta)["UploadId"])
        try:
            with ThreadPoolExecutor(PARTS_AT_ONCE) as pool:
                todo = [pool.submit(self._part, key, upload, file, first, step) for first in range(0, size, step)]
                try:
                    tags = [job.result() for job in todo]
                finally:
                    pool.shutdown(wait=True, cancel_futures=True)
            parts = [{"PartNumber": number, "ETag": tag} for number, tag in enumerate(tags, 1)]
            complete = partial(
                self.call, "complete_multipart_upload", key, UploadId=upload, MultipartUpload={"Parts": parts}
            )
            return str(self._unless_unknown(lambda wanted: complete(**dict(wanted or {})), condition)["ETag"])
        except BaseException as error:
            if isinstance(error, (Conflict, Missing)):
                head = self.head(key)
                if head is not None and head.writer == writer:
                    return head.etag
            with suppress(StorageError):
                self.once("abort_multipart_upload", key, UploadId=upload)
            raise

    @staticmethod
    def _unless_unknown(
        put: Callable[[Mapping[str, str] | None], Answer], condition: Mapping[str, str] | None
    ) -> Answer:
        """`put` on the condition, or on none where the server does not know such."""
        try:
            return put(condition)
        except NoConditions:
            if not condition:
                raise
            return put(None)

    def _part(self, key: str, upload: str, file: Path, first: int, size: int) -> str:
        with file.open("rb") as source:
            data = os.pread(source.fileno(), size, first)
        answer = self.call(
            "upload_part", key, UploadId=upload, PartNumber=first // size + 1, Body=data, ContentMD5=md5_of(data)
        )
        return str(answer["ETag"])

    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects; those that are not there are no error."""
        todo = list(keys)
        for first in range(0, len(todo), DELETE_AT_ONCE):
            some = todo[first : first + DELETE_AT_ONCE]
            self.retried(partial(self._delete, some))

    def _delete(self, keys: Sequence[str]) -> None:
        try:
            asked = {"Objects": [{"Key": key} for key in keys], "Quiet": True}
            answer = self.once("delete_objects", "", Delete=asked)
        except NoConditions:  # a server that removes them one by one
            for key in keys:
                self.once("delete_object", key)
            return
        for error in answer.get("Errors", []):
            raise refusal(str(error.get("Code", "")), self.where(str(error.get("Key", ""))), "delete object")

    def abort_uploads(self, prefix: str, *, whole: bool = False) -> None:
        """End the uploads under `prefix`, or to the `whole` key, that nobody finished. Those that we may not list, or
        the server cannot, stay: a lifecycle rule of the bucket ends them (docs/storage.md)."""
        more: dict[str, str] = {}
        with suppress(Refused):
            while True:
                page = self.call("list_multipart_uploads", "", Prefix=prefix, **more)
                for entry in page.get("Uploads", []):
                    if whole and entry["Key"] != prefix:
                        continue
                    with suppress(Missing):
                        self.call("abort_multipart_upload", str(entry["Key"]), UploadId=str(entry["UploadId"]))
                if not page.get("IsTruncated"):
                    return
                more = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}

    def signed(self, doing: str, key: str, seconds: int, *, endpoint: str = "", **wanted: Any) -> str:
        """An address by which anybody may do one thing for so many seconds, or as long as our credentials last.

        `endpoint` is the server as that one reaches it, "" as we do. A `ContentLength` is part of what is signed.
        """
        signer = None
        try:
            signer = self._clients.signer(endpoint)
            made = signer.generate_presigned_url(
                doing, Params={"Bucket": self.name, "Key": key, **wanted}, ExpiresIn=seconds
            )
        except Exception as error:
            told = translate(error, self.where(key), doing.replace("_", " "))
            if isinstance(told, NoKeys):
                self._clients.forget(signer)
            raise told from error
        return str(made)

    def _client(self) -> Any:
        """This process's client that waits so long."""
        try:
            return self._clients.waiting(self.patience.connect_s, self.patience.read_s)
        except Exception as error:
            raise translate(error, self.where(""), "client") from error


def _bucket(name: str, conditional: bool, matching: bool, patience: Patience) -> Bucket:
    return Bucket(name, conditional=conditional, matching=matching, patience=patience)
