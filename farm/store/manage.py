"""What lies in stores, job by job, and the end of what nobody needs: for who pays for the disk or the bucket.

A store of a cast (X.cast/store) is found and counted, and never expires: it is kept for the next rendering.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from core import codec
from core.errors import InputError, StorageError
from core.media.far import FarPath
from core.records import JobStatus
from farm.store.base import CONTENT, FINISHED, ORDERS, STATUS, Entry, Store, looks_like_store
from farm.store.disk import storage_error
from farm.store.opening import open_store, store_at

CAST_STORE, CAST_FILES = "store", {"analysis.json", "cast.toml"}
KEEPER = "expiry"  # the owner of nothing, for whom a store is opened that only loses things


@dataclass(frozen=True)
class FoundStore:
    """A store below some place; `cast`: it is that of a cast's folder."""

    place: Path
    cast: bool


@dataclass(frozen=True)
class KeptJob:
    """A job's part of a store: `output` as its status tells it, "" where it does not. `orders` are finished segments of
    both maps. `size_bytes` counts what other jobs use too. `idle_s`: seconds since something of it last changed.
    """

    owner: str
    output: str
    state: Literal["finished", "open", "cast"]
    orders: int
    size_bytes: int
    idle_s: float


@dataclass(frozen=True)
class KeptStore:
    """A store with its jobs; `unclaimed_bytes` are what no job says it uses."""

    place: str
    jobs: tuple[KeptJob, ...]
    size_bytes: int
    unclaimed_bytes: int


@dataclass(frozen=True)
class Expired:
    """What was removed from one store (or would be): the owners, and the bytes that it holds less.

    `busy`: a run works there, and nothing was removed.
    """

    place: str
    owners: tuple[str, ...] = ()
    freed_bytes: int = 0
    busy: bool = False


def find_stores(place: Path) -> Iterator[FoundStore]:
    """The store at `place`, or all below it; `InputError` where nothing is."""
    try:
        names, folders = _inside(place)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError("no such folder", where=str(place), hint="name a store, or a folder of stores") from None
    except OSError as error:
        raise storage_error(error, place) from error
    if not names:
        raise InputError("nothing is there", where=str(place), hint="name a store, or a folder of stores")
    cast = place.name == CAST_STORE and bool(CAST_FILES & _inside(place.parent)[0])
    yield from _below(place, names, folders, cast=cast)


def _below(place: Path, names: set[str], folders: list[str], *, cast: bool) -> Iterator[FoundStore]:
    # A folder of somebody's may be called jobs too; a store has its lock beside it, or what was made.
    if "jobs" in folders and len(names) > 1 and looks_like_store(names, tuple):
        yield FoundStore(place, cast)
        return
    for name in sorted(folders):
        here = place / name
        try:
            inner, deeper = _inside(here)
        except OSError:  # a folder that may not be read holds no store of ours
            continue
        yield from _below(here, inner, deeper, cast=name == CAST_STORE and bool(CAST_FILES & names))


def _inside(place: Path) -> tuple[set[str], list[str]]:
    """The names in a folder or under a prefix, and those of them that are folders; OSError passes."""
    if isinstance(place, FarPath):
        from farm.store.s3path import as_object  # noqa: PLC0415 - loads boto3

        far = as_object(place)
        start = f"{far.key}/" if far.key else ""
        found = [entry.key.removeprefix(start) for entry in far.bucket.list(start, folders=True)]
        return {name.rstrip("/") for name in found} - {""}, [name[:-1] for name in found if name[1:].endswith("/")]
    with os.scandir(place) as entries:
        seen = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    return {name for name, _ in seen}, [name for name, is_folder in seen if is_folder]


def kept(found: FoundStore) -> KeptStore:
    """What is in a store, as it is now; it is not locked, so a run may be changing it."""
    store = store_at(found.place, KEEPER)
    entries = [entry for kind in CONTENT for entry in store.entries(kind)]
    by_owner: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.name.startswith("jobs/"):
            by_owner.setdefault(entry.name.split("/")[1], []).append(entry)
    units: dict[str, list[Entry]] = {}
    for entry in entries:
        if not entry.name.startswith("jobs/"):
            units.setdefault("/".join(entry.name.split("/")[:2]), []).append(entry)
    claims = store.claims()
    jobs = tuple(
        _job(store, owner, own, [entry for name in claims.get(owner, ()) for entry in units.get(name, ())], found.cast)
        for owner, own in sorted(by_owner.items())
    )
    claimed = {name for names in claims.values() for name in names}
    loose = sum(entry.size for name, some in units.items() if name not in claimed for entry in some)
    return KeptStore(str(found.place), jobs, sum(entry.size for entry in entries), loose)


def _job(store: Store, owner: str, own: list[Entry], used: list[Entry], cast: bool) -> KeptJob:
    names = {entry.name for entry in own}
    status = _status(store, f"jobs/{owner}/{STATUS}") if f"jobs/{owner}/{STATUS}" in names else None
    finished = f"jobs/{owner}/{FINISHED}" in names
    return KeptJob(
        owner=owner,
        output=status.output if status is not None else "",
        state="cast" if cast else "finished" if finished else "open",
        orders=sum(entry.name.split("/")[0] in ORDERS and entry.name.endswith("/DONE.json") for entry in used),
        size_bytes=sum(entry.size for entry in [*own, *used]),
        idle_s=min((entry.age_s for entry in [*own, *used]), default=0.0),
    )


def _status(store: Store, name: str) -> JobStatus | None:
    try:
        return codec.decode(store.read(name), JobStatus)
    except (InputError, StorageError):  # of another version, or gone meanwhile
        return None


def expire(found: FoundStore, older_s: float, *, unfinished: bool = False) -> Expired:
    """Remove what only jobs use that were finished more than `older_s` seconds ago, and the store when it is empty.

    With `unfinished` also of those of which nothing changed for so long. `InputError` while a run works there.
    """
    if found.cast:
        return Expired(str(found.place))
    with open_store(found.place, KEEPER, begin=False) as store:
        before = _size(store)
        owners = store.expire(older_s, unfinished=unfinished)
        freed = before - _size(store)
        if not any(store.listed(kind) for kind in CONTENT):
            store.sweep()
            store.close_down()
        return Expired(str(found.place), owners, freed)


def would_expire(found: FoundStore, older_s: float, *, unfinished: bool = False) -> Expired:
    """What `expire` would remove; nothing is locked or changed."""
    if found.cast:
        return Expired(str(found.place))
    store = store_at(found.place, KEEPER)
    owners = store.expired_owners(older_s, unfinished=unfinished)
    gone = set(store.only_of(owners))
    entries = [entry for kind in CONTENT for entry in store.entries(kind)]
    freed = sum(
        entry.size
        for entry in entries
        if "/".join(entry.name.split("/")[:2]) in gone
        or (entry.name.startswith("jobs/") and entry.name.split("/")[1] in owners)
    )
    return Expired(str(found.place), owners, freed)


def _size(store: Store) -> int:
    return sum(entry.size for kind in CONTENT for entry in store.entries(kind))
