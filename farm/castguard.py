"""What people wrote into a cast.toml is kept: beside a new cast, and from an analysis that would make it useless."""

from __future__ import annotations

import os
from contextlib import suppress
from itertools import count
from pathlib import Path

from core.errors import InputError, StorageError
from core.media.far import FarPath
from core.records import Analysis
from farm.analysis import Looking, files_of, finder, read_analysis
from farm.artifacts import Store
from farm.castdir import CAST
from farm.stages import Film
from farm.store.whole import move

OLD = ".old"


def put_aside(cast: Path) -> Path | None:
    """Rename the file `cast` to the first free one of cast.toml.old, cast.toml.old.2, ...; its new path.

    One that says the same already is used again. None where there is no such file. OSError passes.
    """
    if not _there(cast):
        return None
    for number in count(1):
        old = cast.with_name(cast.name + OLD + (f".{number}" if number > 1 else ""))
        same = cast.is_file() and old.is_file() and cast.read_bytes() == old.read_bytes()
        if same or not _there(old):
            return move(cast, old)
    return None


def _there(path: Path) -> bool:
    """Whether the name is taken, by a link that leads nowhere too."""
    return path.exists() if isinstance(path, FarPath) else os.path.lexists(path)


def refuse_change(
    folder: Path, store: Store, film: Film, looking: Looking, made: Analysis | None = None, *, code: str
) -> None:
    """`InputError` where `folder` holds a cast.toml of its analysis, and another analysis would take that one's place.

    The other one is told by how the film is looked at, or, when it is `made`, by what was found. A cast that does not
    fit the analysis which is there now has nothing to lose; one of which that cannot be said is taken to fit.
    """
    cast, known = folder / CAST, None
    if not cast.exists():
        return
    with suppress(StorageError):  # an analysis that cannot be read is made again
        known = read_analysis(folder)
    if known is None:
        return
    from farm.casting import analysis_digest  # noqa: PLC0415 - loads OpenCV

    before = Looking(known.detector, known.recogniser, known.detect_every)
    same = before == looking if made is None else analysis_digest(known) == analysis_digest(made)
    if same or not _fits(cast, store, film, known, code):
        return
    how = f"{before.detector}, {before.recogniser}, --detect-every {before.detect_every}"
    told = f"a cast of another analysis is here ({how}), and would be of no use"
    raise InputError(told, where=str(cast), hint="name another folder with -o, or make it anew: farm cast --force")


def _fits(cast: Path, store: Store, film: Film, known: Analysis, code: str) -> bool:
    """Whether the cast's numbers of tracks are those of the analysis `known`."""
    from core.faces.metric import metric_of  # noqa: PLC0415
    from core.inference.manifest import by_id, load_manifests, manifest_folder  # noqa: PLC0415
    from farm.castfile import tracks_digest  # noqa: PLC0415 - loads OpenCV
    from farm.casting import SEGMENT_S, follow_stage  # noqa: PLC0415
    from farm.casttoml import read_toml  # noqa: PLC0415

    try:
        made_of = read_toml(cast).get("film", {}).get("analysis")
    except (InputError, AttributeError):
        return True
    if known.film_sha256 != film.index.sha256 or store.altered(dict(files_of(known))):
        return True
    metric = metric_of(by_id(load_manifests(manifest_folder()), known.recogniser, "embedder").family)
    tracks = follow_stage(store, film.index, known, finder(store, known), metric, SEGMENT_S, code=code).tracks
    return bool(tracks_digest(tracks) == made_of)
