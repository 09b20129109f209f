"""Where a job reads and writes: paths made absolute, places refused before any work, and the last rename."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from core import codec
from core.errors import DISK_FULL, InputError
from core.media.far import FarPath
from core.records import JobSpec
from farm.artifacts import THE_OUTPUT, lock_file, storage_error, sync_folder
from farm.paths import place


def absolute_spec(spec: JobSpec) -> JobSpec:
    """`spec` with absolute paths: renderers run in other folders than the command."""
    source = spec.source
    if source is not None:
        more = tuple(absolute(path) for path in source.more)
        source = replace(source, path=absolute(source.path), more=more)
    return replace(
        spec,
        target=absolute(spec.target),
        output=absolute(spec.output),
        source=source,
        reference=absolute(spec.reference) if spec.reference is not None else None,
        cast=absolute(spec.cast) if spec.cast is not None else None,
    )


def absolute(path: str) -> str:
    return str(place(path).absolute())


def store_place(store: Path | None, output: Path) -> tuple[Path, str]:
    """The folder of a job's state, and the owner under which the job works there."""
    beside = output.with_name(output.name + ".farm")
    root = store.absolute() if store is not None else beside
    return root, THE_OUTPUT if root == beside else codec.digest(str(output))[:32]


def check_store_place(root: Path, output: Path, target: Path, sources: Iterable[Path]) -> None:
    """`InputError` where the store is, holds, or lies in a file that the job reads or makes."""
    home = real(root)
    named = [("the output", output), ("the target", target), *(("a source image", path) for path in sources)]
    for what, path in named:
        # a link counts where it lies and where it leads
        for file in {real(path)} if isinstance(path, FarPath) else {real(path), real(path.parent) / path.name}:
            if file == home:
                told = f"the store is {what} itself"
            elif home in file.parents:
                told = f"the store would hold {what}"
            elif file in home.parents and not file.is_dir():  # a folder is no film, which is told later
                told = f"the store would lie inside {what}"
            else:
                continue
            raise InputError(told, where=str(root), hint="give a folder of its own with --store")


def real(path: Path) -> Path:
    """Where `path` leads. Objects lie in folders of their own, s3://a/b in /s3:/a/b, where no file does."""
    return Path("/" + str(path).replace("//", "/")) if isinstance(path, FarPath) else Path(os.path.realpath(path))


def part_of(output: Path) -> Path:
    """Where a film is copied to beside `output`. One name, so that what a killed run left is found by the next."""
    return output.with_name(f".{output.name}.farm.part")


def lock_part(output: Path) -> int:
    """The part file of `output`, locked; `InputError` when another run writes it."""
    handle = lock_file(part_of(output))
    if handle is None:
        raise InputError("another run writes this output", where=str(output), hint="wait for it, or choose another -o")
    return handle


def publish_film(finished: Path, output: Path) -> None:
    """Give `finished` its final name: atomic on one file system, else copied beside it first, or put into a bucket."""
    if isinstance(output, FarPath):
        from farm.store.output import publish_object  # noqa: PLC0415 - loads boto3
        from farm.store.s3path import as_object  # noqa: PLC0415

        publish_object(finished, as_object(output))
        return
    try:
        with finished.open("rb") as file:
            os.fsync(file.fileno())
        try:
            finished.replace(output)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            publish_copy(finished, output)
        sync_folder(output.parent)
    except OSError as error:
        raise storage_error(error, output) from error


def holds_film(output: Path, sha256: str, size_bytes: int) -> bool:
    """Whether `output` is the film with this hash, which then survives a power cut."""
    if isinstance(output, FarPath):
        from farm.store.output import holds_object  # noqa: PLC0415 - loads boto3
        from farm.store.s3path import as_object  # noqa: PLC0415

        return holds_object(as_object(output), sha256, size_bytes)
    try:
        if output.stat().st_size != size_bytes:
            return False
        with output.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                return False
            os.fsync(file.fileno())
        sync_folder(output.parent)
    except OSError:  # what cannot be read is replaced
        return False
    return True


def publish_copy(finished: Path, output: Path) -> None:
    """`finished` as `output` on another file system: written beside it, then renamed."""
    near = part_of(output)
    with os.fdopen(lock_part(output), "r+b") as copy:
        try:
            copy.truncate()
            with finished.open("rb") as file:
                shutil.copyfileobj(file, copy, 1 << 20)
            copy.flush()
            os.fsync(copy.fileno())
            near.replace(output)
        finally:
            near.unlink(missing_ok=True)


def check_apart(output: Path, read: Iterable[tuple[str, Path]]) -> None:
    """`InputError` where `output` is one of the files that the job reads: (what it is, path)."""
    for what, path in read:
        try:
            same = real(output) == real(path)
            if not same and not isinstance(output, FarPath) and not isinstance(path, FarPath) and output.exists():
                same = path.exists() and output.samefile(path)
        except OSError:  # a file that cannot be asked is told when it is opened
            continue
        if same:
            raise InputError(f"the output is {what}", where=str(output), hint="give another name with -o")


def check_output_place(output: Path, target: Path) -> None:
    """`InputError` unless a film can be written to `output` without touching `target`; old parts of it are removed."""
    if isinstance(output, FarPath):
        from farm.store.output import check_output_object  # noqa: PLC0415 - loads boto3
        from farm.store.s3path import as_object  # noqa: PLC0415

        if str(output) == str(target):
            raise InputError("the output is the target itself", where=str(output), hint="give another name with -o")
        check_output_object(as_object(output))
        return
    folder = output.parent
    try:
        if output.is_dir():
            raise InputError("the output is a folder", where=str(output), hint="give the file's name with -o")
        if not folder.is_dir():
            raise InputError("the output's folder does not exist", where=str(folder), hint="create it first")
        same = os.path.realpath(output) == os.path.realpath(target)
        if not same and not isinstance(target, FarPath) and output.exists() and target.exists():
            same = output.samefile(target)
    except OSError as error:
        where = str(error.filename or output)
        raise InputError(f"cannot be used: {error.strerror}", where=where, hint="give another name") from error
    if same:
        raise InputError("the output is the target itself", where=str(output), hint="give another name with -o")
    try:
        handle = lock_part(output)
        try:
            part_of(output).unlink()
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno in DISK_FULL:
            raise storage_error(error, folder) from error
        if error.errno == errno.ENAMETOOLONG:
            raise InputError("the output's name is too long", where=str(output), hint="shorten it") from error
        raise InputError(
            f"the output's folder cannot be written: {error.strerror}", where=str(folder), hint="choose another with -o"
        ) from error
