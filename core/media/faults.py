"""Foreign failures of the media library, told as ours: a full disk is StorageError, all else names what was tried."""

from __future__ import annotations

import errno
from pathlib import Path

from core.errors import FarmError, PlanError, StorageError

_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO, errno.ENOENT, errno.ENOTDIR, errno.EFBIG}


def media_fault(error: Exception, what: str, where: Path | str) -> FarmError:
    """The error to raise in place of one of PyAV's or the system's, while writing to `where`."""
    code = getattr(error, "errno", None)
    text = (getattr(error, "strerror", None) or str(error)).splitlines()[0] if str(error) else type(error).__name__
    if code in _DISK:
        hint = "free some space and run again" if code == errno.ENOSPC else "check the folder and its rights"
        return StorageError(f"cannot write: {text}", where=str(where), hint=hint)
    log = getattr(error, "log", None)
    detail = f" ({log[2].strip()})" if log else ""
    return PlanError(f"{what}: {text}{detail}", where=str(where))
