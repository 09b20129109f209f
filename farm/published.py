"""A film that is published while its state still lies there: what ended its run did so before all was cleared away.

The run writes down what it published before it clears anything, and that goes last. The next call of the same job finds
it, and has nothing left to do but to clear. Before it publishes, it tells which film it will: so the next call of one
that ended in between joins that film again, finds it published, and leaves it as it is.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from core import codec
from core.errors import FarmError, StorageError
from core.media.far import FarPath
from core.media.stamp import stamp_of
from core.records import FileStamp, JobReport, JobSpec
from farm.artifacts import Store
from farm.paths import place
from farm.places import holds_film
from farm.watching.place import stamp_there

FOUND = "the film was published by a run that ended before it could clear its state: nothing was rendered"


@dataclass(frozen=True)
class Published:
    """What a run published: `key` is the job's, `output` which file that was, `report` what the run had to tell."""

    key: str
    output: FileStamp
    report: JobReport


@dataclass(frozen=True)
class Publishing:
    """A film that is about to be published, or was since: its hash, and which file was at the output `before`."""

    sha256: str
    before: FileStamp | None


def name_of(store: Store) -> str:
    return f"jobs/{store.owner}/published.json"


def _announced(store: Store) -> str:
    return f"jobs/{store.owner}/publishing.json"


def announce(store: Store, sha256: str, output: Path) -> bool:
    """Tell that the film with this hash is about to be published at `output`. Whether that was told before: then a run
    that has ended since may have published it."""
    known = store.load(_announced(store), Publishing)
    if known is not None and known.sha256 == sha256:
        return True
    store.discard(_announced(store))
    store.write(_announced(store), codec.encode(Publishing(sha256, stamp_there(output))))
    return False


def not_of_this_job(store: Store, output: Path) -> FileStamp | None:
    """Which file is at `output` that no run of this job has put there, as far as its state tells."""
    known = store.load(_announced(store), Publishing)
    return known.before if known is not None else stamp_there(output)


def job_key(spec: JobSpec, read: Sequence[Path], *, code: str, quality: bool) -> str:
    """What the job is: its options, the program's `code`, and which files it reads, with those that a cast names. ""
    where one of them cannot be asked, or a cast is far, where each name in it would be a request: then nothing is
    taken for the job."""
    if spec.cast is not None and isinstance(place(spec.cast), FarPath):
        return ""
    try:
        files = [place(spec.target), *read, *(_named(place(spec.cast)) if spec.cast is not None else ())]
        stamps = [(str(file), replace(stamp_of(file), node="")) for file in files]
        return codec.digest([spec, code, quality, stamps])
    except (FarmError, OSError, ValueError):
        return ""


def _named(cast: Path) -> Iterator[Path]:
    """The files that a cast names, and those of folders that it names."""
    for words in _words(tomllib.loads(cast.read_text())):
        with suppress(OSError, ValueError):  # most texts are no paths, and some cannot be one
            file = cast.parent / words
            if words and file.is_dir():
                yield from sorted(each for each in file.rglob("*") if each.is_file())
            elif file.is_file():
                yield file


def _words(value: Any) -> Iterator[str]:
    """All texts in what TOML holds."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from _words(each)


def write_down(store: Store, key: str, report: JobReport) -> None:
    """Note what was published, before anything of its state is cleared. The job is done, whether or not that goes."""
    output = stamp_there(place(report.output))
    if key and output is not None:
        with suppress(StorageError):
            store.discard(name_of(store))
            store.write(name_of(store), codec.encode(Published(key, output, report)))


def look_up(store: Store, key: str, output: Path) -> JobReport | None:
    """What the job has to tell where it is published and `output` is still what was published; None where it has work
    to do."""
    known = store.load(name_of(store), Published)
    if known is None:
        return None
    if known.key == key and key and place(known.report.output) == output and _is_there(known, output):
        report = known.report
        made = report.segments_rendered + report.segments_reused
        return replace(
            report,
            segments_rendered=0,
            segments_reused=made,
            segments_analysed=0,
            workers_lost=0,
            notes=(*report.notes, FOUND),
        )
    store.discard(_announced(store))
    store.discard(name_of(store))
    return None


def _is_there(known: Published, output: Path) -> bool:
    """Whether `output` is the file that was published, or one with the same content."""
    now = stamp_there(output)
    if now is not None and now.same_file(known.output):
        return now.size_bytes == known.report.output_bytes
    return holds_film(output, known.report.output_sha256, known.report.output_bytes)
