"""The first map: where the faces of a film are. It depends on the film and on how it is looked at, and on nothing else.

An analysis is made by `analyse_map` in the store of whoever needs it: a rendering job's own, or that of a folder in
which `farm analyse` keeps it (`farm.castdir`). Either way each segment is an order, done once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from actors.drive import Order, Receipt
from core import codec
from core.errors import InputError, PlanError, StorageError
from core.inference.manifest import ModelManifest, by_id, by_role, load_manifests, manifest_folder
from core.media.plan import plan_segments
from core.records import Analysis, AnalysisOrder, AnalysisReceipt, JobSpec, Segment
from farm.artifacts import Store, storage_error, store_at
from farm.models import ModelHashes, contracts
from farm.stages import Film, Mapped
from farm.store.whole import put_whole

ANALYSIS = "analysis.json"
STORE = "store"
AGAIN = "run farm analyse again with this folder as -o"
# Least length of a segment, whatever the rendering's: long enough that opening and seeking does not count, short
# enough that little is lost with a renderer and that many of them have work.
SEGMENT_S = Fraction(5)
# Faces between two looks are interpolated. Beyond about a second a straight line is a guess, and shots get lost.
DETECT_EVERY_MAX = 30

RunMap = Callable[[str, Sequence[Order]], Mapped]


@dataclass(frozen=True)
class Looking:
    """How a film is looked at; `InputError` for what cannot be."""

    detector: str = "centerface"
    recogniser: str = "dlib_resnet"
    detect_every: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.detect_every <= DETECT_EVERY_MAX:
            raise InputError(
                f"faces cannot be looked for in every {self.detect_every}th frame",
                hint=f"give --detect-every 1 to {DETECT_EVERY_MAX}",
            )

    @staticmethod
    def of(spec: JobSpec) -> Looking:
        return Looking(spec.detector, spec.recogniser, spec.detect_every)


def looking_models(looking: Looking, cache: Path) -> ModelHashes:
    """The models that look, all of them present; `ModelError` for unknown names and for missing or altered weights."""
    from core.inference.weights import installed  # noqa: PLC0415 - loads onnx

    return tuple((model.id, installed(model, cache).sha256) for model in _looking(looking))


def looking_names(looking: Looking) -> tuple[str, ...]:
    """The ids of the models that look. `ModelError` for unknown names."""
    return tuple(model.id for model in _looking(looking))


def _looking(looking: Looking) -> tuple[ModelManifest, ...]:
    manifests = load_manifests(manifest_folder())
    return (
        by_id(manifests, looking.detector, "detector"),
        by_role(manifests, "mesh"),
        by_id(manifests, looking.recogniser, "embedder"),
    )


# ---------------------------------------------------------------- the map


def analysis_orders(
    film: Film, segments: Sequence[Segment], looking: Looking, models: ModelHashes, *, code: str
) -> list[AnalysisOrder]:
    """One order a segment, named by the film, the segment, how it is looked at by which models, and the program's
    `code`."""
    target = str(film.path.resolve())
    used = contracts(models)
    return [
        AnalysisOrder(
            id=codec.digest([film.index.sha256, segment, models, used, looking.detect_every, code]),
            segment=segment,
            target=target,
            target_sha256=film.index.sha256,
            index=film.name,
            detector=looking.detector,
            recogniser=looking.recogniser,
            detect_every=looking.detect_every,
            models=models,
            stamp=film.stamp,
        )
        for segment in segments
    ]


def analyse_map(
    film: Film,
    looking: Looking,
    models: ModelHashes,
    run_map: RunMap,
    *,
    code: str,
    segment_s: Fraction = SEGMENT_S,
) -> tuple[Analysis, Mapped]:
    """Look for faces in the whole film; `run_map` does the orders that are open, and raises what ends them."""
    segments = plan_segments(film.index, segment_s)
    mapped = run_map("analyse", analysis_orders(film, segments, looking, models, code=code))
    return analysis_of(film, segments, looking, mapped.receipts), mapped


def analysis_of(film: Film, segments: Sequence[Segment], looking: Looking, receipts: Sequence[Receipt]) -> Analysis:
    """The record of an analysis that is complete."""
    analysis = Analysis(
        film_sha256=film.index.sha256,
        frames=film.index.frames,
        detector=looking.detector,
        recogniser=looking.recogniser,
        detect_every=looking.detect_every,
        segments=tuple(segments),
        receipts=tuple(receipt for receipt in receipts if isinstance(receipt, AnalysisReceipt)),
    )
    if not covers(analysis):
        raise PlanError("the analysis does not cover the film")
    return analysis


# ---------------------------------------------------------------- in a folder


def save_analysis(folder: Path, analysis: Analysis) -> Path:
    """Write `folder`/analysis.json, all of it or nothing; a file that says the same already stays as it is."""
    path, data = folder / ANALYSIS, codec.encode(analysis)
    try:
        if not path.is_file() or path.read_bytes() != data:
            put_whole(path, data)
    except OSError as error:
        raise storage_error(error, path) from error
    return path


def load_analysis(folder: Path, film_sha256: str) -> Analysis:
    """The analysis that `farm analyse` left in `folder`, every file of it compared with its hash; nothing is written.

    Its files are those of `folder_store(folder)`. `InputError` when there is none, or it is of another film than the
    one with `film_sha256`; `StorageError` when a file is missing or altered.
    """
    path, store = folder / ANALYSIS, folder_store(folder)
    analysis = read_analysis(folder)
    if analysis is None:
        raise InputError("no analysis in this folder", where=str(folder), hint="make it with farm analyse TARGET -o")
    if analysis.film_sha256 != film_sha256:
        raise InputError("the analysis is of another film", where=str(path), hint="name the film it was made of")
    for file in store.altered(dict(files_of(analysis))):
        where = f"{folder / STORE}/{file}"
        raise StorageError("a part of the analysis is missing or altered", where=where, hint=AGAIN)
    return analysis


def read_analysis(folder: Path) -> Analysis | None:
    """What `folder`/analysis.json says, None where there is none; `StorageError` when it cannot be read."""
    path = folder / ANALYSIS
    try:
        analysis = codec.decode(path.read_bytes(), Analysis)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise storage_error(error, path) from error
    except InputError as error:
        raise StorageError(f"this is {error.what}", where=str(path), hint=AGAIN) from error
    if not covers(analysis):
        raise StorageError("this is no whole analysis", where=str(path), hint=AGAIN)
    return analysis


def covers(analysis: Analysis) -> bool:
    """Whether the segments follow each other from the film's first frame to its last, each with its receipt."""
    ends = [0, *(segment.end for segment in analysis.segments)]
    places = [(segment.index, segment.first) for segment in analysis.segments]
    return (
        ends[-1] == analysis.frames
        and places == list(enumerate(ends[:-1]))
        and [receipt.segment for receipt in analysis.receipts] == [segment.index for segment in analysis.segments]
    )


def files_of(analysis: Analysis) -> Iterator[tuple[str, str]]:
    """The names in the store, and hashes, of all files of an analysis."""
    for receipt in analysis.receipts:
        yield receipt.file, receipt.sha256
        yield receipt.shots, receipt.shots_sha256


def finder(store: Store, analysis: Analysis) -> Callable[[str], Path]:
    """Where the files of `analysis` are, by their names in `store`; all are brought when the first is asked for."""
    names = [name for name, _ in files_of(analysis)]
    files: dict[str, Path] = {}

    def found(name: str) -> Path:
        if not files:
            files.update(zip(names, store.paths(names), strict=True))
        return files[name]

    return found


def folder_store(folder: Path) -> Store:
    """The store of a folder, as it is: not made, not locked."""
    return store_at(folder / STORE)
