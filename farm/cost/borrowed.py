"""A store that is only looked at: what is made beside it goes into a folder of its own, and is forgotten."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from farm.artifacts import DiskStore, Store


@dataclass(frozen=True)
class BorrowedStore(DiskStore):
    """`root` is the folder of its own, `base` the store of the job, None where it has none yet.

    Nothing of `base` is changed, and files of it are taken as they are: what they hold is compared by who builds on it.
    """

    base: Store | None = None

    def path(self, name: str) -> Path:
        own = Path(self.root) / name
        if not name or self.base is None or own.exists() or not self.base.exists(name):
            return own
        return self.base.path(name)

    def adopt(self, temporary: Path, name: str) -> bool:
        if self.base is None or not self.base.exists(name):
            return super().adopt(temporary, name)
        temporary.unlink(missing_ok=True)
        return False

    def replace(self, name: str, data: bytes) -> None:
        """In the folder of its own, also where `base` has the name."""
        own = Path(self.root) / name
        own.parent.mkdir(parents=True, exist_ok=True)
        own.write_bytes(data)

    def discard(self, name: str) -> None:
        (Path(self.root) / name).unlink(missing_ok=True)

    def named(self, start: str) -> list[str]:
        return sorted({*super().named(start), *(self.base.named(start) if self.base is not None else ())})

    def listed(self, kind: str) -> list[str]:
        own = (path for path in (Path(self.root) / kind).rglob("*") if path.is_file())
        names = {path.relative_to(self.root).as_posix() for path in own}
        return sorted(names | set(self.base.listed(kind) if self.base is not None else ()))

    def altered(self, files: Mapping[str, str]) -> list[str]:
        """Those that are not there."""
        return [name for name in files if not self.exists(name)]


@contextmanager
def borrow(root: Path, owner: str) -> Iterator[BorrowedStore]:
    """The job's store at `root`, a folder or an ObjectPath, neither made nor locked."""
    base: Store | None = None
    if str(root).startswith("s3://"):
        from farm.store.bucket import Bucket  # noqa: PLC0415 - loads boto3
        from farm.store.s3 import S3Store, s3_place  # noqa: PLC0415

        name, prefix = s3_place(str(root))
        base = S3Store(Bucket(name), prefix, owner)
    elif root.is_dir():
        base = DiskStore(str(root), owner)
    with TemporaryDirectory(prefix="farm-estimate-") as folder:
        yield BorrowedStore(folder, owner, base=base)
