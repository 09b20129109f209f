"""Where a model's file may be taken from: an https address, s3://, a folder, a zip, or the file itself.

insightface publishes its models in packs (buffalo_l, buffalo_m, buffalo_s), as a zip or as the folder it makes of
one; both are searched for the file by its published name, as is any folder that holds such packs.
"""

from __future__ import annotations

import fcntl
import hashlib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from core.errors import ModelError
from core.inference.download import Meter, Opener, download
from core.inference.https import open_https

MODEL_LIMIT_BYTES = 2 << 30  # protobuf, and so an ONNX file without external data, ends there
DEPTH = 2  # folders below the one that was named


@dataclass(frozen=True)
class FetchOptions:
    """`open_s3` reads s3:// addresses, which core cannot do by itself; `meter` is told how far a download is."""

    open_s3: Opener | None = None
    meter: Meter | None = None


@dataclass(frozen=True)
class Found:
    """A model's file: its bytes, what to call it in a message, and the download it came from, if any."""

    data: bytes
    name: str
    download: Path | None = None


def take(where: str, file: str, downloads: Path, options: FetchOptions) -> Found:
    """The file published as `file` out of `where`; downloads go through the folder `downloads`.

    An address that ends with a slash stands for the folder the file lies in; any other address, and any path, may be
    the file itself or a zip that holds it. Raises `ModelError` when it is not there or cannot be fetched, OSError
    when `downloads` cannot be written.
    """
    if "://" not in where:
        return _local(Path(where), file)
    url = where + quote(file) if where.endswith("/") else where
    held = _downloaded(url, downloads, options)
    found = _local(held, file)
    return Found(found.data, url if not zipfile.is_zipfile(held) else f"{file} in {url}", held)


def read_model(file: Path) -> bytes:
    """The bytes of a file that may be an ONNX file; `ModelError` when it cannot be read or is too large to be one."""
    try:
        if file.exists() and not file.is_file():
            raise ModelError("not a file", where=str(file))
        if file.stat().st_size > MODEL_LIMIT_BYTES:
            raise ModelError("larger than an ONNX file may be", where=str(file))
        return file.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot be read: {error.strerror}", where=str(file), hint="name a file") from error


def listing(where: str, downloads: Path, options: FetchOptions) -> set[str]:
    """The names of the files in a folder or zip, or of the one file that `where` is. Errors as of `take`."""
    if "://" not in where:
        path = Path(where)
        if not path.exists():
            raise ModelError("no such file or folder", where=where)
    elif where.endswith("/"):
        raise ModelError("a folder behind an address cannot be listed", where=where, hint="name the models")
    else:
        path = _downloaded(where, downloads, options)
    names: set[str] = set()
    for file in _files(path):
        names.add(_name_of(where) if "://" in where else file.name)
        if zipfile.is_zipfile(file):
            names |= {Path(member).name for member in _members(file)}
    return names


def discard(found: Found) -> None:
    """Forget the download that a file came from."""
    if found.download is not None:
        found.download.unlink(missing_ok=True)


def clear(downloads: Path) -> None:
    """Remove all downloads, finished or not, unless another process is fetching."""
    if not downloads.is_dir():
        return
    with (downloads / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        for file in downloads.iterdir():
            if file.name != "lock":
                file.unlink(missing_ok=True)


def _downloaded(url: str, downloads: Path, options: FetchOptions) -> Path:
    """The file of an address, fetched now or before. One process at a time fetches into a folder."""
    opener: Opener = open_https
    if url.startswith("s3://"):
        if options.open_s3 is None:
            raise ModelError("s3:// cannot be read here", where=url, hint="download the file and add it")
        opener = options.open_s3
    file = downloads / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}-{_name_of(url)}"
    downloads.mkdir(parents=True, exist_ok=True)
    with (downloads / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not file.exists():
            download(url, file, opener, options.meter)
    return file


def _name_of(url: str) -> str:
    try:
        return unquote(Path(urlsplit(url).path).name) or "file"
    except ValueError as error:
        raise ModelError(f"not an address: {error}", where=url) from error


def _local(path: Path, file: str) -> Found:
    """`file` in a folder or zip, or the file `path` itself."""
    try:
        if not path.is_dir():
            return Found(_member(path, file) or read_model(path), str(path)) if path.exists() else _nothing(path)
        candidates = list(_files(path))
        for candidate in candidates:
            if candidate.name == file:
                return Found(read_model(candidate), str(candidate))
        for candidate in candidates:
            if candidate.suffix == ".zip" and (data := _member(candidate, file, needed=False)) is not None:
                return Found(data, f"{file} in {candidate}")
    except OSError as error:
        raise ModelError(f"cannot be read: {error.strerror}", where=str(path)) from error
    raise ModelError(f"holds no {file}", where=str(path), hint="the file must have its published name")


def _nothing(path: Path) -> Found:
    raise ModelError("no such file or folder", where=str(path))


def _files(path: Path) -> Iterator[Path]:
    """The files of a folder and of those below it, nearest first; or `path` itself."""
    if path.is_file():
        yield path
        return
    level = [path]
    for _ in range(DEPTH + 1):
        entries = sorted(entry for folder in level for entry in folder.iterdir())
        yield from (entry for entry in entries if entry.is_file())
        level = [entry for entry in entries if entry.is_dir() and not entry.is_symlink()]


def _members(file: Path) -> list[str]:
    with zipfile.ZipFile(file) as pack:
        return [info.filename for info in pack.infolist() if not info.is_dir()]


def _member(pack: Path, file: str, *, needed: bool = True) -> bytes | None:
    """The zip's file of that name, in whichever of its folders; None where `pack` is no zip or has none."""
    if not zipfile.is_zipfile(pack):
        return None
    try:
        names = sorted((name for name in _members(pack) if Path(name).name == file), key=len)
        if not names:
            if needed:
                raise ModelError(f"holds no {file}", where=str(pack), hint="the file must have its published name")
            return None
        with zipfile.ZipFile(pack) as opened:
            if opened.getinfo(names[0]).file_size > MODEL_LIMIT_BYTES:
                raise ModelError(f"{file} is larger than an ONNX file may be", where=str(pack))
            return opened.read(names[0])
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise ModelError(f"zip cannot be read: {error}", where=str(pack), hint="download it again") from error
