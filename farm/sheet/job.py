"""`farm cast`, from film to folder: analyse what is not analysed, follow, tell people apart, write the sheet."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from actors.drive import Terms
from core import codec
from core.errors import InputError
from core.faces.metric import Metric, metric_of
from core.faces.people import group_people
from core.faces.roles import plan_for_select
from core.faces.scan import scan_faces
from core.faces.table import read_tables
from core.inference.manifest import by_id, load_manifests, manifest_folder
from core.media.stamp import check_stamp
from core.records import AnalysisReport, Doubt, FaceTable, Person
from farm.analyse_job import Analysed, AnalyseSpec, analysed
from farm.analysis import finder, save_analysis
from farm.artifacts import storage_error
from farm.castdir import CAST
from farm.castfile import tracks_digest, write_cast
from farm.castguard import OLD, put_aside
from farm.casting import SEGMENT_S, Followed, follow_stage
from farm.ports import Pool, Progress
from farm.settings import RunOptions, Settings
from farm.sheet.contents import PersonEntry, entries
from farm.sheet.page import sheet_page
from farm.sheet.picture import sheet_png
from farm.sheet.stills import best_tracks, portraits
from farm.sources import Eyes
from farm.store.whole import put_whole
from farm.versions import code_hash

PICTURES = "people"
JPEG_QUALITY = 90


@dataclass(frozen=True)
class SheetSpec:
    """Which film, looked at how, in which folder; `known` are (name, image) of people to name where they are seen.

    `force`: a cast.toml that is there is put aside, with the ending .old, .old.2, ...
    """

    analyse: AnalyseSpec
    known: tuple[tuple[str, str], ...] = ()
    force: bool = False


@dataclass(frozen=True)
class CastReport:
    """What `farm cast` made, for a program (`--json`)."""

    cast: str
    page: str
    picture: str
    people: tuple[PersonEntry, ...]
    tracks: int
    doubts: tuple[Doubt, ...]
    notes: tuple[str, ...]
    analysis: AnalysisReport


def make_sheet(
    spec: SheetSpec,
    run: RunOptions,
    settings: Settings,
    progress: Progress,
    *,
    pool: Pool | None = None,
    terms: Terms = Terms(),  # noqa: B008 - frozen
) -> CastReport:
    """Write cast.toml, index.html and cast.png. Raises FarmError; `InputError` for a film without faces.

    `pool` and `terms` as farm.driver.run_job takes them.
    """
    folder = spec.analyse.folder.absolute()
    cast = folder / CAST
    if cast.exists() and not spec.force:
        hint = f"edit it, or make it anew with --force: the old one is kept as {CAST}{OLD} or the next free name"
        raise InputError("there is a cast already", where=str(cast), hint=hint)
    eyes = Eyes(settings.model_cache, settings.cores, spec.analyse.looking.detector)
    # Pictures of people are looked at first: one that will not do is told before the film is analysed.
    known = {name: eyes.reference(path, spec.analyse.looking.recogniser) for name, path in spec.known}
    # The analysis of a cast that is there stays until that cast is put aside.
    analyse = replace(spec.analyse, save=not cast.exists())
    with analysed(analyse, run, settings, progress, pool=pool, terms=terms) as done:
        if not done.report.faces:
            told = f"no face was found in {done.report.frames} frames: there is nobody to cast"
            raise InputError(told, where=str(spec.analyse.target), hint="try another --detector")
        progress.stage("cast")
        metric = metric_of(by_id(load_manifests(manifest_folder()), done.analysis.recogniser, "embedder").family)
        followed = follow_stage(
            done.store,
            done.film.index,
            done.analysis,
            finder(done.store, done.analysis),
            metric,
            SEGMENT_S,
            code=code_hash(),
        )
        people = group_people(followed.tracks, metric)
        if not people:
            told = f"the {done.report.faces} faces found are seen too shortly: there is nobody to cast"
            raise InputError(told, where=str(spec.analyse.target), hint="try another --detector")
        names, notes = _named(followed, people, known, dict(spec.known), metric)
        return _write(folder, done, followed, people, names, notes)


def _named(
    followed: Followed,
    people: tuple[Person, ...],
    known: Mapping[str, NDArray[np.float32]],
    images: Mapping[str, str],
    metric: Metric,
) -> tuple[dict[str, str], list[str]]:
    """The names of the people who are alike to the known ones, and notes about those who are not there."""
    names: dict[str, str] = {}
    notes: list[str] = []
    for name, vector in known.items():
        try:
            plan = plan_for_select("reference", followed.tracks, people, metric, reference=vector, where=images[name])
        except InputError as error:
            notes.append(f"{name} was not found: {error.what}")
            continue
        for person in plan.people:
            names.setdefault(person.id, name)
    return names, notes


def _write(
    folder: Path,
    done: Analysed,
    followed: Followed,
    people: tuple[Person, ...],
    names: Mapping[str, str],
    notes: list[str],
) -> CastReport:
    film, index, tracks = done.film, done.film.index, followed.tracks
    doubts = scan_faces(_rows(done, followed), index, people, detect_every=done.analysis.detect_every)
    pictures = {
        key: _jpeg(picture) for key, picture in portraits(film.path, index, tracks, best_tracks(people, tracks))
    }
    check_stamp(film.path, film.stamp)
    paths = {key: f"{PICTURES}/{key}.jpg" for key in pictures}
    listed = entries(people, tracks, index, doubts, paths, names)
    cast = folder / CAST
    try:
        (folder / PICTURES).mkdir(exist_ok=True)
        for old in (folder / PICTURES).iterdir():
            if re.fullmatch(r"p\d+\.jpg", old.name) and old.stem not in pictures:
                old.unlink()
        for key, data in pictures.items():
            put_whole(folder / paths[key], data)
        put_whole(folder / "cast.png", sheet_png(film.path.name, listed, pictures))
        put_whole(folder / "index.html", sheet_page(film.path, folder, index, listed, doubts).encode())
        put_whole(folder / "doubts.json", codec.encode(doubts) + b"\n")
        aside = put_aside(cast)
    except OSError as error:
        raise storage_error(error, error.filename or folder) from error
    notes = [*notes, *([f"the cast that was here is kept as {aside.name}"] if aside is not None else [])]
    save_analysis(folder, done.analysis)
    write_cast(cast, film.path.name, index, tracks_digest(tracks), people, tracks, thumbnails=paths, names=names)
    return CastReport(
        cast=str(cast),
        page=str(folder / "index.html"),
        picture=str(folder / "cast.png"),
        people=listed,
        tracks=len(tracks),
        doubts=doubts,
        notes=tuple(dict.fromkeys([*done.report.notes, *notes])),
        analysis=done.report,
    )


def _rows(done: Analysed, followed: Followed) -> Iterator[FaceTable]:
    for file in done.store.paths([piece.file for piece in followed.pieces]):
        yield from read_tables(file)


def _jpeg(picture: NDArray[np.uint8]) -> bytes:
    out = io.BytesIO()
    PIL.Image.fromarray(picture).save(out, "JPEG", quality=JPEG_QUALITY)
    return out.getvalue()


def summary(report: CastReport) -> str:
    """One line: where the cast is, and who is in it."""
    first = ", ".join(f"{person.id} {person.name}".strip() for person in report.people[:5])
    more = f" and {len(report.people) - 5} more" if len(report.people) > 5 else ""
    people = f"{len(report.people)} {'person' if len(report.people) == 1 else 'people'}"
    return (
        f"{report.cast}: {people} ({first}{more}) in {report.tracks} tracks, {len(report.doubts)} doubtful stretches; "
        f"look at {report.page}, write the sources into the cast, then farm render --cast"
    )
