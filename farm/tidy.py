"""Clearing up after a run, which never covers how it went."""

from __future__ import annotations

from collections.abc import Callable

from core.errors import StorageError

UNTIDY = "what the run leaves behind could not be cleared away, and stays"


def tidied(tidy: Callable[[], None]) -> str:
    """Tidy the store up, as far as it can be; a line where it could not. What becomes of a job is decided by then: a
    film that is published is published, and an error that ended the job is the one to tell."""
    try:
        tidy()
    except StorageError as error:
        return f"{UNTIDY}: {error.where or 'the store'}: {error.what}"
    except OSError as error:
        return f"{UNTIDY}: {error.filename or 'the store'}: {error.strerror or error}"
    return ""
