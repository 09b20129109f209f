"""What a command says on stdout."""

from __future__ import annotations

import sys


def put(text: str) -> None:
    """Write `text` on stdout, now. `StorageError` where stdout leads to a file that cannot take it."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        from farm.artifacts import storage_error  # noqa: PLC0415 - only now

        raise storage_error(error, "standard output") from error
