"""Names that a person gives, looked at before any work: what no file can ever have is refused by name."""

from __future__ import annotations

from pathlib import Path

from core.errors import InputError
from core.media.far import FarPath


def place(text: str) -> Path:
    """The path that `text` means: of an object for s3://bucket/key, else of a file or folder."""
    if not text.startswith("s3://"):
        return Path(text)
    from farm.store.s3path import ObjectPath  # noqa: PLC0415 - loads boto3

    return ObjectPath(text)


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
