"""What a job's store must do, whatever holds it.

    jobs/<owner>/<hash>.json      names that a job uses: removing one job leaves what another one claims
    jobs/<owner>/FINISHED         the job's film is published: what it claims may expire
    jobs/<owner>/publishing.json  which film is about to be published, or was
    jobs/<owner>/published.json   what was published, while the rest is cleared
    jobs/<owner>/status.json      how far the job is, told again and again: the only name whose content changes
    index/<key>.<sha256>.json     the film's table, keyed by the file's identity and the code
    plan/<key>.json               segments
    identity/<sha256>.json        the source face
    analysis/<order>/             <attempt>-<token>.parquet, .shots.parquet and DONE.json, one folder a segment
    cast/<key>.parquet .json      the film's cast; <sha256>.parquet: one segment's rows of it
    segments/<order>/             <attempt>-<token>.mp4 and DONE.json, one folder a segment

Names are relative, with forward slashes. A name appears only when its content is whole, and the first writer wins:
what is published never changes. Progress is what the listing says; what cannot be read, or is not what its hash says,
counts as absent and is made again. tests/contract holds every implementation to this.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from core.codec import decode, digest, encode
from core.errors import InputError, StorageError
from core.lean import Shared
from core.records import AnalysisReceipt, SegmentReceipt
from farm.store.holder import Holder

T = TypeVar("T")
ReceiptT = TypeVar("ReceiptT", AnalysisReceipt, SegmentReceipt)

USUAL = {"analysis": 3, "segments": 2}  # the files of a finished order
ORDERS = tuple(USUAL)  # a folder an order
CONTENT = ("jobs", "index", "plan", "identity", "cast", *ORDERS)
THE_OUTPUT = "output"  # the owner of OUT.farm: all in there was made for OUT, wherever both were moved to
DONE = "DONE.json"
FINISHED = "FINISHED"
STATUS = "status.json"
CLAIM = re.compile(r"[0-9a-f]{32}\.json")  # among what else is told of a job


# Every name below a place that is a store; a hash has 32 or 64 digits.
NAMES = re.compile(
    r"lock|tmp/([0-9a-f]{16}(\.[\w.]+)?|[0-9a-f]{8}\.probe)|jobs/[^/]+/[^/]+"
    r"|(index|plan|identity|cast)/[0-9a-f]{32,64}(\.[0-9a-f]{64})?\.(json|parquet)"
    r"|(analysis|segments)/[0-9a-f]{64}/(DONE\.json|\d+-[0-9a-f]{8}\.(mp4|(shots\.)?parquet))"
)


def looks_like_store(names: Collection[str], below: Callable[[], Iterable[str]]) -> bool:
    """Whether a place with the entries `names` is empty, a store, a store that lost its lock, or what a renderer or a
    driver that was out of reach has put where a store was: `below` gives the names of all files there."""
    found = set(names)
    if not found or "lock" in found:
        return True
    return found <= {"tmp", *CONTENT} and ("jobs" in found or all(NAMES.fullmatch(name) for name in below()))


def files_of(receipt: AnalysisReceipt | SegmentReceipt) -> dict[str, str]:
    """The names that a receipt vouches for, with their sha256."""
    files = {receipt.file: receipt.sha256}
    if isinstance(receipt, AnalysisReceipt) and receipt.shots:
        files[receipt.shots] = receipt.shots_sha256
    return files


@dataclass(frozen=True)
class Entry:
    """A published name, its bytes, and the seconds since it was published, by the clock that dated it."""

    name: str
    size: int
    age_s: float


class Store(ABC):
    """The state of jobs at one place. `owner` is whose work is done here.

    Stores travel to renderers by pickling. Every refusal of what lies below is a `StorageError`.
    """

    owner: str

    @property
    def run(self) -> str:
        """Names the run that holds the place through this store; "" where it is only looked at."""
        return ""

    @abstractmethod
    def holder(self) -> Holder | None:
        """Who holds the place now, as its lock tells; None where nobody does, as far as that can be seen from here."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user must know of this place."""
        return ()

    # ------------------------------------------------------------ names and what is behind them

    @abstractmethod
    def path(self, name: str) -> Path:
        """A local file with the content of `name`, to be read only; it does not exist where `name` does not."""

    @abstractmethod
    def size(self, name: str) -> int | None:
        """Bytes of what is published as `name`; None where nothing is."""

    @abstractmethod
    def read(self, name: str) -> bytes: ...

    @abstractmethod
    def scratch(self, suffix: str) -> Path:
        """A new local name that nobody else uses, for a file that `adopt` will publish; nothing is created."""

    @abstractmethod
    def write(self, name: str, data: bytes) -> bool:
        """Publish `data` as `name`; False, and nothing changed, where the name exists."""

    @abstractmethod
    def adopt(self, temporary: Path, name: str) -> bool:
        """Publish the finished file `temporary` as `name` and remove it; False where the name exists already."""

    @abstractmethod
    def replace(self, name: str, data: bytes) -> None:
        """Put `data` in the place of what `name` holds, if anything: whoever reads it gets the one or the other.

        For what is told and never built upon: it may be lost in a power cut.
        """

    @abstractmethod
    def discard(self, name: str) -> None:
        """Take `name` away; nothing where it is not there."""

    @abstractmethod
    def named(self, start: str) -> list[str]:
        """The names that begin with `start` and a full stop, sorted."""

    @abstractmethod
    def intact(self, name: str, sha256: str) -> bool:
        """Whether `name` is there and holds what its hash says."""

    @abstractmethod
    def listed(self, kind: str) -> list[str]:
        """All names below the folder `kind`, sorted."""

    @abstractmethod
    def entries(self, kind: str) -> Iterator[Entry]:
        """All that is below the folder `kind`, in any order."""

    @abstractmethod
    def age_s(self, name: str) -> float | None:
        """Seconds since `name` was published, by the clock that dated it; None where it is not there."""

    @abstractmethod
    def sweep(self) -> None:
        """Remove what attempts that nobody finished left behind. Only the holder of the lock may call it."""

    @abstractmethod
    def _remove_all(self, names: Iterable[str]) -> None:
        """Remove names, and folders with all that is in them, as far as it can be: what stays is met again."""

    @abstractmethod
    def close_down(self) -> None:
        """Remove the place itself where nothing of others is left in it; the lock goes last."""

    @property
    def status_name(self) -> str:
        """Where this job's JobStatus is told."""
        return f"jobs/{self.owner}/{STATUS}"

    @abstractmethod
    def check_held(self) -> None:
        """`StorageError` where another run has the place by now; asked before what cannot be taken back."""

    def exists(self, name: str) -> bool:
        return self.size(name) is not None

    def paths(self, names: Sequence[str]) -> list[Path]:
        """The files of `path` for many names at once."""
        return [self.path(name) for name in names]

    def altered(self, files: Mapping[str, str]) -> list[str]:
        """Those of `files`, hashes by name, that are not there or not what their hash says."""
        return [name for name, sha256 in files.items() if not self.intact(name, sha256)]

    def load(self, name: str, kind: type[T]) -> T | None:
        """The record at `name`. None where there is none, and where it cannot be read: then it is removed."""
        if not self.exists(name):
            return None
        try:
            return decode(self.read(name), kind)
        except InputError:
            self.discard(name)
            return None

    # ------------------------------------------------------------ finished orders

    def done(self, folder: str) -> set[str]:
        """The ids of the orders below `folder` that have a receipt: one listing instead of a question an order."""
        return {name.split("/")[1] for name in self.listed(folder) if name.endswith(f"/{DONE}")}

    def receipt(self, kind: type[ReceiptT], folder: str, order_id: str) -> ReceiptT | None:
        """The receipt of a finished order whose files are there and have their hashes; None when it must be done."""
        name = f"{folder}/{order_id}/{DONE}"
        receipt = self.load(name, kind)
        if receipt is None:
            return None
        files = files_of(receipt)
        if not self.altered(files):
            return receipt
        # Somebody removed or changed a file behind the receipt: the order is open again.
        self.discard(name)
        for file in files:
            self.discard(file)
        return None

    def receipts(self, kind: type[ReceiptT], folder: str, orders: Sequence[str]) -> dict[str, ReceiptT]:
        """The receipts of those of `orders` that are finished, by order."""
        done, shared = self.done(folder), Shared()
        found: dict[str, ReceiptT] = {}
        for order in orders:
            receipt = self.receipt(kind, folder, order) if order in done else None
            if receipt is not None:
                found[shared.one(order)] = shared.receipt(receipt)
        return found

    def _strays(self, names: Iterable[str]) -> Iterator[str]:
        """Those of `names`, all below the order folders, that belong to no finished order: parts of results whose
        attempt died, or was not the first, before it could take them away."""
        folders: dict[str, list[str]] = {}
        for name in names:
            folders.setdefault(name.rpartition("/")[0], []).append(name)
        for folder, entries in folders.items():
            done = f"{folder}/{DONE}"
            if done not in entries:
                yield from entries
            elif len(entries) > USUAL[folder.partition("/")[0]]:
                looked = folder.startswith("analysis/")
                receipt = self.load(done, AnalysisReceipt) if looked else self.load(done, SegmentReceipt)
                kept = {done, *files_of(receipt)} if receipt is not None else set()
                yield from (name for name in entries if name not in kept)

    # ------------------------------------------------------------ whose work it is, and how it goes

    def claim(self, names: Iterable[str]) -> None:
        """Say, before they are made, that this job uses the files and order folders `names`."""
        listed = tuple(sorted(set(names)))
        self.write(f"jobs/{self.owner}/{digest(listed)[:32]}.json", encode(listed))

    def holds_work(self) -> bool:
        """True when finished work would be lost by removing this job's state."""
        unclaimed = set(self._unclaimed({self.owner}))
        return any(f"{folder}/{order}" in unclaimed for folder in ORDERS for order in self.done(folder))

    def remove(self) -> None:
        """Remove all that no other job claims, and the place where nothing of others is left in it.

        The lock goes last, so a store that is half removed is a store. Only the holder of the lock may call it.
        """
        self.sweep()
        self._remove_all(self._unclaimed({self.owner}))
        self._remove_all([f"jobs/{self.owner}"])
        self.close_down()

    def begin(self) -> None:
        """This job's film is worked on (again)."""
        self.discard(f"jobs/{self.owner}/{FINISHED}")

    def finish(self) -> None:
        """This job's film is published: what the job keeps here may expire from now on."""
        self.write(f"jobs/{self.owner}/{FINISHED}", b"{}")

    def expire(self, older_s: float, *, unfinished: bool = False) -> tuple[str, ...]:
        """Remove what only jobs use that were finished more than `older_s` seconds ago; their owners.

        Jobs that are not finished keep all they claim, however old it is; with `unfinished` those go too of which
        nothing changed for so long. Only the holder of the lock may call it.
        """
        old = self.expired_owners(older_s, unfinished=unfinished)
        if old:
            self._remove_all(self.only_of(old))
            self._remove_all(f"jobs/{owner}" for owner in old)
        return old

    def expired_owners(self, older_s: float, *, unfinished: bool = False) -> tuple[str, ...]:
        """The owners whose jobs `expire` would take away."""
        ages: dict[str, float] = {}
        marks: dict[str, float] = {}
        for entry in self.entries("jobs"):
            owner = entry.name.split("/")[1]
            ages[owner] = min(entry.age_s, ages.get(owner, entry.age_s))
            if entry.name.endswith(f"/{FINISHED}"):
                marks[owner] = entry.age_s
        if unfinished:
            units: dict[str, float] = {}
            for entry in (entry for kind in CONTENT if kind != "jobs" for entry in self.entries(kind)):
                unit = "/".join(entry.name.split("/")[:2])
                units[unit] = min(entry.age_s, units.get(unit, entry.age_s))
            claims = self.claims()
            for owner in ages.keys() - marks.keys():
                used = (units[name] for name in claims.get(owner, ()) if name in units)
                marks[owner] = min([ages[owner], *used])
        return tuple(sorted(owner for owner, age in marks.items() if age >= older_s))

    def only_of(self, owners: Collection[str]) -> list[str]:
        """The files and order folders that `owners` claim and nobody else does."""
        theirs = {name for owner, names in self.claims().items() if owner in owners for name in names}
        return [name for name in self._unclaimed(owners) if name in theirs]

    def claims(self) -> dict[str, set[str]]:
        """The files and order folders that each owner claims."""
        found: dict[str, set[str]] = {}
        for name in self.listed("jobs"):
            _, owner, file = name.split("/", 2)
            if CLAIM.fullmatch(file):
                try:
                    data = self.read(name)
                except StorageError:
                    if self.exists(name):  # somebody's work may hang on it: nothing is removed on a guess
                        raise
                    continue  # it went meanwhile
                with suppress(InputError):
                    found.setdefault(owner, set()).update(decode(data, tuple[str, ...]))
        return found

    def _unclaimed(self, without: Collection[str]) -> list[str]:
        """Files and order folders that nobody claims beside the owners `without`."""
        claimed = {name for owner, names in self.claims().items() if owner not in without for name in names}
        kinds = (kind for kind in CONTENT if kind != "jobs")
        entries = dict.fromkeys("/".join(name.split("/")[:2]) for kind in kinds for name in self.listed(kind))
        return [name for name in entries if name not in claimed]
