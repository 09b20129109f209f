"""A job's store under s3://bucket/prefix, on any server that speaks S3 (AWS, MinIO, Ceph, R2).

What is published is put under its name in one request, or in one multipart upload, with `If-None-Match: *`: the
server itself lets the first writer win. Files of it are read from a cache by content on each machine; what a renderer
made stays in one only where its driver runs too.

A server that does not know conditional puts (it answers 501, or takes a second one) is found out when the store is
opened (farm.store.ways), and the job's notes say so. There a name is looked for before it is put: two writers of one
name at the same instant may both put, and the last one stays. What a job publishes under one name is equal in meaning,
whoever made it, so the film is the same; only the lock of the driver then rests on time (farm.store.lease).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from core.codec import decode
from core.errors import InputError, StorageError
from core.lean import Shared
from farm.store.base import ORDERS, THE_OUTPUT, Entry, ReceiptT, Store, looks_like_store
from farm.store.bucket import DELETE_AT_ONCE, Bucket
from farm.store.cache import Cache, cache_of
from farm.store.heads import Head
from farm.store.holder import Holder
from farm.store.lease import Lease, holder_at
from farm.store.refusals import ONCE, Missing, Patience, Refused, Unfit, Unreachable
from farm.store.ways import PROBE, find_ways

QUESTIONS_AT_ONCE = 32  # as many lines as a client keeps
RECEIPTS_AT_ONCE = 1000
PROBES = "tmp/"  # below which drivers that start try out what the server knows
PROBE_S = 3600.0  # what a driver that starts puts is gone long before
LOOK = Patience(tries=3, connect_s=5.0)  # before any work: a wrong address is told early


T = TypeVar("T")
Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


class S3Store(Store):
    """The state of jobs under `prefix` of a bucket; `cache` is where this machine keeps files of it."""

    def __init__(
        self,
        bucket: Bucket,
        prefix: str,
        owner: str = THE_OUTPUT,
        cache: Path | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        self.bucket = bucket
        self._notes = notes
        self.owner = owner
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._cache_root = cache
        self._cache: Cache | None = None
        self._lease: Lease | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Credentials, connections, lease and cache stay here: each process has its own."""
        return self.__dict__ | {"_cache": None, "_lease": None}

    @property
    def run(self) -> str:
        return self._lease.run if self._lease is not None else ""

    def holder(self) -> Holder | None:
        return holder_at(self.bucket, self._key("lock"))

    @property
    def where(self) -> str:
        return self.bucket.where(self._prefix).rstrip("/")

    @property
    def notes(self) -> tuple[str, ...]:
        return self._notes

    @property
    def cache(self) -> Cache:
        if self._cache is None:
            self._cache = Cache(self._cache_root or cache_of(self.where))
        return self._cache

    # ------------------------------------------------------------ names and what is behind them

    def path(self, name: str) -> Path:
        head = self._head(name)
        return self.cache.absent(name) if head is None else self._local(name, head)

    def size(self, name: str) -> int | None:
        head = self._head(name)
        return None if head is None else head.size

    def read(self, name: str) -> bytes:
        found = self.bucket.get(self._key(name))
        if found is None:
            raise StorageError("no such object", where=self.bucket.where(self._key(name)), hint="run the command again")
        return found[0]

    def load(self, name: str, kind: type[T]) -> T | None:
        found = self.bucket.get(self._key(name))  # one question, and not another one before it whether it is there
        try:
            return None if found is None else decode(found[0], kind)
        except InputError:
            self.discard(name)
            return None

    def scratch(self, suffix: str) -> Path:
        return self.cache.scratch(suffix)

    def write(self, name: str, data: bytes) -> bool:
        self.check_held()
        return self.bucket.create(self._key(name), data)

    def adopt(self, temporary: Path, name: str) -> bool:
        self.check_held()
        try:
            with temporary.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            made = self.bucket.create_from(self._key(name), temporary, sha256)
            if made and self.cache.is_held:  # else nobody on this machine reads it again
                self.cache.take(temporary, sha256, name)
            return made
        finally:
            temporary.unlink(missing_ok=True)

    def replace(self, name: str, data: bytes) -> None:
        self.check_held()
        self.bucket.settled(patience=ONCE).put(self._key(name), data)

    def discard(self, name: str) -> None:
        self.check_held()
        try:
            self.bucket.call("delete_object", self._key(name))
        except Missing:
            return

    def named(self, start: str) -> list[str]:
        return self._names(f"{start}.")

    def listed(self, kind: str) -> list[str]:
        return self._names(f"{kind}/")

    def entries(self, kind: str) -> Iterator[Entry]:
        for found in self.bucket.list(self._key(f"{kind}/")):
            yield Entry(found.key.removeprefix(self._prefix), found.size, found.age_s)

    def age_s(self, name: str) -> float | None:
        head = self._head(name)
        return None if head is None else head.age_s

    def intact(self, name: str, sha256: str) -> bool:
        """By the hash that was put with the object; one without it is read from end to end."""
        head = self._head(name)
        if head is None:
            return False
        if head.sha256:
            return head.sha256 == sha256
        with self._local(name, head).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256

    def receipts(self, kind: type[ReceiptT], folder: str, orders: Sequence[str]) -> dict[str, ReceiptT]:
        finished = self.done(folder)
        asked = [order for order in orders if order in finished]
        found: dict[str, ReceiptT] = {}
        shared = Shared()
        for first in range(0, len(asked), RECEIPTS_AT_ONCE):  # one as it was read takes four times the memory
            some = asked[first : first + RECEIPTS_AT_ONCE]
            answers = _at_once(lambda order: self.receipt(kind, folder, order), some)
            read = zip(some, answers, strict=True)
            found |= {shared.one(order): shared.receipt(answer) for order, answer in read if answer is not None}
        return found

    def paths(self, names: Sequence[str]) -> list[Path]:
        return _at_once(self.path, names)

    def altered(self, files: Mapping[str, str]) -> list[str]:
        if len(files) < QUESTIONS_AT_ONCE:  # asked by one of many who ask at once
            return super().altered(files)
        whole = _at_once(lambda file: self.intact(*file), list(files.items()))
        return [name for name, kept in zip(files, whole, strict=True) if not kept]

    def sweep(self) -> None:
        self.check_held()
        self.cache.sweep()
        self.bucket.abort_uploads(self._prefix)
        self._delete_probes(PROBE_S)
        for folder in ORDERS:
            self._delete(self._strays(self.listed(folder)))

    def _remove_all(self, names: Iterable[str]) -> None:
        self.check_held()
        wanted = set(names)
        for kind in sorted({name.split("/")[0] for name in wanted}):
            self._delete(name for name in self.listed(kind) if "/".join(name.split("/")[:2]) in wanted)

    def finish(self) -> None:
        super().finish()
        self._delete_probes(0)

    def close_down(self) -> None:
        self.check_held()  # another run on this machine has the same cache
        self._delete_probes(0)
        self.cache.remove()
        self._cache = None
        if self._lease is not None:
            self._lease.remove()
            self._lease = None

    # ------------------------------------------------------------ below

    def lock(self, lease: Lease) -> None:
        """Do what follows only as long as `lease` is held."""
        self._lease = lease

    def unlock(self) -> None:
        if self._cache is not None:
            self._cache.release()
        if self._lease is not None:
            self._lease.give_back()
            self._lease = None

    def check_held(self) -> None:
        if self._lease is not None:
            self._lease.check()

    def _key(self, name: str) -> str:
        return f"{self._prefix}{name}"

    def _head(self, name: str) -> Head | None:
        return self.bucket.head(self._key(name)) if name else None

    def _names(self, start: str) -> list[str]:
        return sorted(entry.key.removeprefix(self._prefix) for entry in self.bucket.list(self._key(start)))

    def _delete(self, names: Iterable[str]) -> None:
        """Remove objects as long as the lock is ours: what lies under their names later is another run's."""
        todo = [self._key(name) for name in names]
        for first in range(0, len(todo), DELETE_AT_ONCE):
            self.check_held()
            self.bucket.delete(todo[first : first + DELETE_AT_ONCE])

    def _delete_probes(self, older_s: float) -> None:
        """Remove what drivers left that were killed as they started. One that starts now tries again (find_ways), so
        at the end of a job all of it may go; while jobs come and go only what nobody can be using."""
        found = (entry for entry in self.entries(PROBES.rstrip("/")) if entry.age_s >= older_s)
        self._delete([entry.name for entry in found if entry.name.endswith(PROBE)])

    def _local(self, name: str, head: Head) -> Path:
        """The object of `head` as a file; what is in the cache is known by its hash, else by its ETag."""
        key = head.sha256 or f"etag-{hashlib.sha256(head.etag.encode()).hexdigest()}"
        return self.cache.file(key, name, head.size, lambda file: self.bucket.download(head, file))


def _at_once(ask: Callable[[Asked], Answer], asked: Sequence[Asked]) -> list[Answer]:
    """The answers, in order, to questions that wait for the line and not for this machine."""
    with ThreadPoolExecutor(QUESTIONS_AT_ONCE) as pool:
        return list(pool.map(ask, asked))


def s3_place(url: str) -> tuple[str, str]:
    """Bucket and key (or prefix) of an s3:// address; `InputError` where it is none."""
    scheme, _, rest = url.partition("://")
    name, _, key = rest.partition("/")
    bad = {"", ".", ".."} & set(key.rstrip("/").split("/")) if key else set()
    if scheme != "s3" or not name or bad or "\\" in key or "\0" in key:
        raise InputError("not an address in a bucket", where=url, hint="write s3://BUCKET/KEY")
    return name, key


@contextmanager
def early(hint: str = "") -> Iterator[None]:
    """What is refused before any work is the user's to mend: an `InputError`."""
    try:
        yield
    except (Unfit, Unreachable) as error:
        raise InputError(error.what, where=error.where, hint=error.hint or hint) from error
    except Refused as error:
        raise InputError(error.what, where=error.where, hint=hint or error.hint) from error


@contextmanager
def open_s3_store(
    url: str, owner: str = THE_OUTPUT, *, bucket: Bucket | None = None, option: str = "--store", begin: bool = True
) -> Iterator[S3Store]:
    """The store at `url`, locked for this driver. `InputError` when it cannot be one, or another driver has it."""
    name, prefix = s3_place(url)
    with early(f"choose another with {option}"):
        looking = S3Store((bucket or Bucket(name)).settled(patience=LOOK), prefix, owner)
        start = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        found = {entry.key.removeprefix(start).rstrip("/") for entry in looking.bucket.list(start, folders=True)}
        if not looks_like_store(found, lambda: (one.key.removeprefix(start) for one in looking.bucket.list(start))):
            raise InputError("not a store and not empty", where=url, hint=f"give a new prefix with {option}")
        ways = find_ways(looking.bucket, f"{start}{PROBES}")
    if ways.locked_until:
        told = f"the bucket keeps all that is put there until {ways.locked_until} (object lock), and a store is cleared"
        raise InputError(told, where=url, hint=f"choose another with {option}")
    bucket = looking.bucket.settled(conditional=ways.fresh, matching=ways.matching, patience=Patience())
    lease = Lease(bucket, f"{start}lock")
    with early():
        taken = lease.take()
    if not taken:
        raise InputError("another run works on this job", where=url, hint=f"wait for it, or choose another {option}")
    store = S3Store(bucket, prefix, owner, notes=ways.notes)
    store.lock(lease)
    try:
        if begin:
            store.cache.hold()
            store.sweep()
            store.begin()
        yield store
    finally:
        store.unlock()
