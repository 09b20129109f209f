"""Films and pictures at s3://: whether an output can be put there, putting it, and a local copy of a small input."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from core.errors import FarmError, InputError, StorageError
from farm.store.bucket import FRESH
from farm.store.cache import Cache, cache_of
from farm.store.disk import storage_error
from farm.store.heads import Head
from farm.store.refusals import Conflict
from farm.store.s3 import LOOK, early
from farm.store.s3path import ObjectPath


def check_output_object(output: ObjectPath) -> None:
    """`InputError` unless an object can be put at `output`: an upload is begun there and ended again."""
    if not output.key or output.url.endswith("/"):
        raise InputError("the output is a folder", where=str(output), hint="give the object's name with -o")
    with early("choose another with -o"):
        bucket = output.bucket.settled(patience=LOOK)
        begun = bucket.call("create_multipart_upload", output.key)
        with suppress(StorageError):
            bucket.call("abort_multipart_upload", output.key, UploadId=str(begun["UploadId"]))


def publish_object(finished: Path, output: ObjectPath) -> None:
    """The verified film as `output`, in one upload, on the condition that what is there now stays there until then.

    `StorageError` where somebody else put another film there meanwhile, or the upload fails; `finished` is removed
    when it is published. Where the server has no conditional puts, the last writer stays.
    """
    try:
        with finished.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise storage_error(error, finished) from error
    bucket = output.bucket
    before = bucket.head(output.key)
    condition = {"IfMatch": before.etag} if before is not None else FRESH
    bucket.abort_uploads(output.key, whole=True)  # of runs that were killed here
    try:
        bucket.upload(output.key, finished, sha256, condition)
    except Conflict as error:
        raise StorageError(
            "another run wrote this output meanwhile", where=str(output), hint="look at it, then run the command again"
        ) from error
    finished.unlink(missing_ok=True)


def holds_object(output: ObjectPath, sha256: str, size_bytes: int) -> bool:
    """Whether the farm put the film with this hash at `output`; then what was left of uploads there is ended."""
    head = output.head()
    if head is None or (head.sha256, head.size) != (sha256, size_bytes):
        return False
    output.bucket.abort_uploads(output.key, whole=True)
    return True


@contextmanager
def near(path: str) -> Iterator[str]:
    """A file of this machine with what is at `path`, which errors still name; `path` itself where it is a file."""
    if not path.startswith("s3://"):
        yield path
        return
    far = ObjectPath(path)
    far.look()  # what is wrong with the address is the user's to mend
    head = far.head()
    if head is None:
        raise InputError("no such file", where=path, hint="check the path")
    cache = _inputs(far)
    file = str(cache.file(_name_in_cache(head), far.name, head.size, lambda file: far.bucket.download(head, file)))
    try:
        yield file
    except FarmError as error:
        if file in error.where or file in error.what:
            raise type(error)(
                error.what.replace(file, path), where=error.where.replace(file, path), hint=error.hint
            ) from error
        raise


def forget_near(far: ObjectPath) -> None:
    """Remove the copy of the object that `near` made on this machine."""
    head = far.head()
    if head is not None:
        _inputs(far).drop(_name_in_cache(head), far.name)


def _inputs(far: ObjectPath) -> Cache:
    """Where this machine keeps small inputs of a bucket."""
    return Cache(cache_of(f"s3://{far.bucket.name}"))


def _name_in_cache(head: Head) -> str:
    return head.sha256 or hashlib.sha256(head.etag.encode()).hexdigest()
