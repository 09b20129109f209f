"""Names that a person gives, looked at before any work: what no file can ever have is refused by name."""

from __future__ import annotations

import os
from html import escape
from pathlib import Path
from urllib.parse import quote

from core.errors import InputError
from core.media.far import FarPath


def place(text: str) -> Path:
    """The path that `text` means: of an object for s3://bucket/key, else of a file or folder."""
    if not text.startswith("s3://"):
        return Path(text)
    from farm.store.s3path import ObjectPath  # noqa: PLC0415 - loads boto3

    return ObjectPath(text)


def place_from(folder: Path, text: str) -> Path:
    """The path that `text` means where it is written in a file of `folder`: an address, else relative to it."""
    return place(text) if text.startswith("s3://") else folder / text


def link_from(folder: Path, film: Path) -> str:
    """A link, escaped for HTML, from a page in `folder` to `film`; the address where they are in different places."""
    far = [str(path).split("/")[2] if isinstance(path, FarPath) else "" for path in (folder, film)]
    if far[0] != far[1]:
        return escape(quote(str(film.absolute()), safe="/:"))
    names = [str(path.absolute()).removeprefix("s3:/") for path in (film, folder)]
    return escape(quote(Path(os.path.relpath(*names)).as_posix()))


def usable_path(path: Path, hint: str) -> Path:
    """`path`, whether something is there or not; `InputError` with `hint` when nothing can be there.

    Refused are names that are not UTF-8 (reports and stores hold names as JSON), names that are too long, loops of
    links, and folders that may not be entered; and buckets that cannot be asked.
    """
    if isinstance(path, FarPath):
        path.look()
        return path
    try:
        str(path.absolute()).encode()
        path.stat()
    except FileNotFoundError:
        pass  # an output need not be there, and for an input the one who reads it says so
    except UnicodeEncodeError:
        raise InputError("its name is not valid UTF-8", where=ascii(str(path.absolute())), hint=hint) from None
    except ValueError:
        raise InputError("its name holds a zero byte", where=ascii(str(path.absolute())), hint=hint) from None
    except OSError as error:
        raise InputError(f"cannot be used: {error.strerror}", where=str(path), hint=hint) from error
    return path
