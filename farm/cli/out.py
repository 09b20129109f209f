"""What a command says: its result on stdout, all else on stderr, there in JSON where that is wanted."""

from __future__ import annotations

import logging
import sys

from farm.watching.jsonlog import log, speaks_json


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


def say(text: str, job: str | None = None) -> None:
    """A line for the user on stderr, now; about `job` where it is about one."""
    if speaks_json():
        log(logging.INFO, text, job=job)
    else:
        sys.stderr.write(f"farm: {text}\n")
        sys.stderr.flush()
