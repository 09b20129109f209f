"""From two films to a folder with the report: who is in the original is found out, or taken from a cast or a job."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from core import codec
from core.errors import InputError
from core.faces.analyse import FaceModels, open_models
from core.faces.follow import Followed, follow_film
from core.faces.identity import load_identity
from core.faces.metric import metric_of
from core.faces.moments import Kept
from core.faces.people import group_people
from core.faces.quality import Lookers, Sampling, Source
from core.faces.roles import assign
from core.faces.scan import scan_faces
from core.faces.shots import find_cuts, read_scores
from core.faces.table import read_tables
from core.inference.manifest import by_id, load_manifests, manifest_folder
from core.inference.providers import DeviceSpec
from core.inference.sessions import Sessions
from core.media.far import FarPath
from core.records import (
    Analysis,
    Doubt,
    FaceTable,
    JobSpec,
    MediaIndex,
    Person,
    QualityReport,
    SourceIdentity,
    SourceSpec,
)
from farm.analyse_job import AnalyseSpec, analysed
from farm.analysis import Looking, finder, folder_store, load_analysis
from farm.artifacts import Store, storage_error
from farm.castdir import CAST
from farm.castfile import CastRequest, read_cast, tracks_digest
from farm.castings import Casting
from farm.paths import place
from farm.ports import Progress
from farm.quality.films import Cast, Heard, Side, check_pair, compare_films
from farm.quality.page import Page
from farm.settings import RunOptions, Settings
from farm.sources import near_source, source_numbers
from farm.stages import Film, index_film_safely
from farm.store.whole import put_whole

if TYPE_CHECKING:
    from core.inference.providers import Wish

REPORT, PAGE = "report.json", "index.html"
ENDING = ".quality"


@dataclass(frozen=True)
class CompareSpec:
    """Two films, and what is known about them: the face put in, a cast (its folder or cast.toml)."""

    original: Path
    output: Path
    folder: Path
    source: SourceSpec | None = None
    cast: Path | None = None
    every: int = 1
    device: Wish = "auto"


def default_folder(output: Path) -> Path:
    """Where the report of a film goes when no folder is named: beside it, with its name."""
    return output.with_name(output.name + ENDING)


def compare(spec: CompareSpec, settings: Settings, progress: Progress, heard: Heard | None = None) -> QualityReport:
    """Compare two films and leave the report in the folder. Raises FarmError; nothing half-written is left."""
    check_folder(spec.folder)
    progress.stage("index")
    original, output = (Side(path, index_film_safely(path)) for path in (spec.original, spec.output))
    check_pair(original, output)
    models = open_models(open_sessions(settings, spec.device))
    source = _source(spec.source, models) if spec.source is not None else None
    with tempfile.TemporaryDirectory(prefix="farm-compare-") as scratch:
        with _analysis(spec, original.index, settings, progress, Path(scratch)) as (analysis, found):
            progress.stage("people")
            cast = _cast(spec, source, original.index, analysis, found, models, Path(scratch))
            progress.stage("compare")
            sampling = Sampling(every=spec.every)
            report, measured = compare_films(original, output, cast, lookers_of(models), sampling, heard)
        write_report(spec.folder, report, measured.kept, measured.portraits)
    return report


def quality_of_job(
    film: Film,
    spec: JobSpec,
    casting: Casting,
    store: Store,
    settings: Settings,
    *,
    device: Wish = "auto",
    every: int = 1,
    heard: Heard | None = None,
) -> QualityReport:
    """The report on the film that a job has published, by the job's own faces; it is left in its default folder.

    Nothing is looked for again in the original. `store` is the job's, which must still be there. Raises FarmError;
    `InputError` for a job that replaced nobody.
    """
    output = place(spec.output)
    folder = default_folder(output)
    check_folder(folder)
    followed, plan = casting.followed, casting.plan
    if followed is None or plan is None:
        raise InputError("nobody was replaced: there is nothing to measure", where=spec.output)

    def tables() -> Iterator[FaceTable]:
        for piece in followed.pieces:
            for part in read_tables(store.path(piece.file)):
                yield assign(part, followed.tracks, plan, film.index)

    family = by_id(load_manifests(manifest_folder()), casting.recogniser, "embedder").family
    people = (
        group_people(followed.tracks, metric_of(family))
        if spec.cast is None
        else [Person(one.id, one.tracks) for one in plan.people]
    )
    identities = [codec.decode(store.read(role.identity), SourceIdentity) for role in casting.roles]
    names = [Path(one.source.path).name for one in casting.specs]
    cast = Cast(
        tables=tables,
        people=people,
        sources=[Source(name, one.embedding) for name, one in zip(names, identities, strict=True)],
        planned=True,
        doubts=scan_faces(tables(), film.index, people, detect_every=casting.detect_every),
    )
    made = Side(output, index_film_safely(output))
    lookers = lookers_of(open_models(open_sessions(settings, device)))
    report, measured = compare_films(Side(film.path, film.index), made, cast, lookers, Sampling(every=every), heard)
    write_report(folder, report, measured.kept, measured.portraits)
    return report


def doubts_of_job(film: Film, casting: Casting, store: Store) -> tuple[Doubt, ...]:
    """The stretches in which faces that the job replaces are likely to look bad; told before anything is rendered.

    No picture is looked at. texts.doubts_note makes one line of them.
    """
    followed, plan = casting.followed, casting.plan
    if followed is None or plan is None:
        return ()

    def replaced() -> Iterator[FaceTable]:
        for piece in followed.pieces:
            for part in read_tables(store.path(piece.file)):
                rows = assign(part, followed.tracks, plan, film.index)
                yield rows.take(rows.role >= 0)

    return scan_faces(replaced(), film.index, detect_every=casting.detect_every)


def open_sessions(settings: Settings, device: Wish) -> Sessions:
    return Sessions(settings.model_cache, DeviceSpec(wish=device, threads=settings.cores))


def lookers_of(models: FaceModels) -> Lookers:
    return Lookers(models.mesher, models.embedder)


# ---------------------------------------------------------------- who is in the original


@contextmanager
def _analysis(
    spec: CompareSpec, index: MediaIndex, settings: Settings, progress: Progress, scratch: Path
) -> Iterator[tuple[Analysis, Callable[[str], Path]]]:
    """An analysis of the original, and where its files are: the cast's, or one made now."""
    if spec.cast is not None:
        folder = spec.cast if spec.cast.is_dir() else spec.cast.parent
        known = load_analysis(folder, index.sha256)
        yield known, finder(folder_store(folder), known)
        return
    looked = AnalyseSpec(spec.original, scratch / "cast", Looking(), on_damage="keep")
    with analysed(looked, RunOptions(local=True, device=spec.device), settings, progress) as done:
        yield done.analysis, finder(done.store, done.analysis)


def _cast(
    spec: CompareSpec,
    source: Source | None,
    index: MediaIndex,
    analysis: Analysis,
    found: Callable[[str], Path],
    models: FaceModels,
    scratch: Path,
) -> Cast:
    """Who is in the original, by its analysis, and who became whom, as far as `spec` and the `source` say."""
    followed = _follow(index, analysis, found, scratch)

    def tables() -> Iterator[FaceTable]:
        return (part for file in followed.files for part in read_tables(file))

    request = _request(spec, index, followed)
    names: Mapping[str, str] = {}
    if request is not None:
        names = request.names
        people: Sequence[Person] = [Person(one.id, one.tracks) for one in request.plan.people]
    else:
        family = by_id(load_manifests(manifest_folder()), analysis.recogniser, "embedder").family
        people = group_people(followed.tracks, metric_of(family))
    doubts = scan_faces(tables(), index, people, detect_every=analysis.detect_every)
    if source is not None:
        return Cast(lambda: _with_role(tables(), 0), people, [source], False, names, doubts)
    if request is None:
        return Cast(tables, people, (), False, names, doubts)
    with ExitStack() as files:
        faces = [load_identity(files.enter_context(near_source(role.source)), models) for role in request.roles]
    sources = [_named(role.source, face) for role, face in zip(request.roles, faces, strict=True)]
    plan = replace(request.plan, sources=source_numbers(faces))

    def planned() -> Iterator[FaceTable]:
        return (assign(table, followed.tracks, plan, index) for table in tables())

    return Cast(planned, people, sources, True, names, doubts)


def _follow(index: MediaIndex, analysis: Analysis, found: Callable[[str], Path], scratch: Path) -> Followed:
    """The tracks of the film; the files are made in `scratch`."""
    receipts, numbers = analysis.receipts, count()
    cuts = find_cuts(index, (read_scores(found(receipt.shots)) for receipt in receipts))
    family = by_id(load_manifests(manifest_folder()), analysis.recogniser, "embedder").family
    return follow_film(
        index,
        lambda: (part for receipt in receipts for part in read_tables(found(receipt.file))),
        cuts,
        analysis.segments,
        lambda ending: scratch / f"{next(numbers)}{ending}",
        detect_every=analysis.detect_every,
        metric=metric_of(family),
    )


def _request(spec: CompareSpec, index: MediaIndex, followed: Followed) -> CastRequest | None:
    """What the cast's file asks for; None without a cast, or where its folder has no such file.

    With which swapper and settings it was rendered is not known here, and makes no difference.
    """
    if spec.cast is None:
        return None
    path = spec.cast / CAST if spec.cast.is_dir() else spec.cast
    if spec.cast.is_dir() and not path.exists():
        return None
    return read_cast(path, index, followed.tracks, tracks_digest(followed.tracks), checked=False)


def _source(source: SourceSpec, models: FaceModels) -> Source:
    with near_source(source) as here:
        return _named(source, load_identity(here, models))


def _named(source: SourceSpec, face: SourceIdentity) -> Source:
    return Source(Path(source.path).name, face.embedding)


def _with_role(tables: Iterable[FaceTable], role: int) -> Iterator[FaceTable]:
    return (replace(table, role=np.full(len(table), role, np.int32)) for table in tables)


# ---------------------------------------------------------------- the folder


def check_folder(folder: Path) -> None:
    """`InputError` unless `folder` is yet to be made, empty, or one of a report."""
    hint = "name another folder with -o"
    if not folder.exists():
        if not isinstance(folder, FarPath) and not folder.absolute().parent.is_dir():
            raise InputError("the folder's own folder does not exist", where=str(folder), hint="create it first")
    elif not folder.is_dir():
        raise InputError("is a file, not a folder", where=str(folder), hint=hint)
    elif (names := {entry.name for entry in folder.iterdir()}) and not names & {REPORT, PAGE}:
        raise InputError("not empty, and not the folder of a report", where=str(folder), hint=hint)


def write_report(
    folder: Path, report: QualityReport, kept: Sequence[Kept] = (), portraits: Mapping[str, bytes] | None = None
) -> None:
    """Write the record and the page into `folder`, each whole or not at all; `StorageError` when that fails."""
    page = Page(report, folder, kept, portraits).html()
    try:
        folder.mkdir(exist_ok=True)
        for name, data in ((REPORT, codec.encode(report)), (PAGE, page.encode())):
            put_whole(folder / name, data)
    except OSError as error:
        raise storage_error(error, folder) from error
