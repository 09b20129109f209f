"""The folder in which the analysis and the cast of a film are kept.

    DIR/
      analysis.json     core.records.Analysis: how the film was looked at, and the receipts of its segments
      store/            farm.artifacts: the film's table, faces and shots a segment; locked by who works here
      cast.toml ...     what farm cast makes of it

The store is never emptied by a run that succeeds: who looks at the film in another way and then in the old one again
finds what was done before.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from core.errors import DISK_FULL, InputError, StorageError
from core.media.far import FarPath
from farm.analysis import ANALYSIS, STORE, read_analysis
from farm.artifacts import Store, open_store, storage_error
from farm.store.beat import unheard
from farm.tidy import tidied

CAST = "cast.toml"
ENDING = ".cast"
OURS = {ANALYSIS, STORE, CAST}  # a folder with one of these is a cast's
HINT = "name another folder with -o"


def default_folder(target: Path) -> Path:
    """The folder of the cast of the film at `target` where none is named: beside it, with its name."""
    return target.with_name(target.stem + ENDING)


@contextmanager
def open_folder(folder: Path, say: Callable[[str], None] = unheard) -> Iterator[Store]:
    """The store of `folder`, made if need be and locked for this run.

    Where no segment was finished nothing is left of it. `InputError` where `folder` cannot be one, holds other things,
    or another run works there. Where an error is on its way, that is the one to tell. `say` hears why opening takes
    long.
    """
    try:
        made = check_folder(folder)
    except OSError as error:
        if error.errno in DISK_FULL:
            raise storage_error(error, folder) from error
        hint = "shorten it" if error.errno == errno.ENAMETOOLONG else HINT
        raise InputError(f"cannot be used: {error.strerror}", where=str(folder), hint=hint) from error
    try:
        with open_store(folder / STORE, option="-o", say=say) as store:

            def leave() -> None:
                store.sweep()
                if not store.holds_work():
                    store.remove()

            try:
                yield store
            except BaseException:
                tidied(leave)
                raise
            leave()
    finally:
        if made:
            with suppress(OSError):
                folder.rmdir()  # fails where something is in it


def check_folder(folder: Path) -> bool:
    """Whether `folder` is yet to be made; `InputError` unless it is that, empty, or a cast's. OSError passes."""
    if not folder.exists():
        if not isinstance(folder, FarPath) and not folder.parent.is_dir():
            raise InputError("the output's folder does not exist", where=str(folder.parent), hint="create it first")
        return True
    if not folder.is_dir():
        raise InputError("is a file, not a folder", where=str(folder), hint=HINT)
    names = {entry.name for entry in folder.iterdir()}
    if names and not names & OURS:
        raise InputError("not empty, and not the folder of a cast", where=str(folder), hint=HINT)
    return False


def refuse_other_film(folder: Path, film_sha256: str) -> None:
    """`InputError` where `folder` holds the analysis of another film than the one with `film_sha256`."""
    with suppress(StorageError):  # one that cannot be read is made again
        known = read_analysis(folder)
        if known is not None and known.film_sha256 != film_sha256:
            raise InputError("this folder is the cast of another film", where=str(folder), hint=HINT)
