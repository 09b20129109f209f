"""`farm models convert`: a model changed for batches, half floats or INT8, and how far it is from the published one."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core import codec
from core.errors import InputError, ModelError
from core.inference.manifest import ModelManifest, by_id, load_manifests, manifest_folder
from farm.cli.out import put, say
from farm.settings import load_settings

if TYPE_CHECKING:
    from core.inference.parity import Feeds
    from core.inference.variants import Prepared, Variant
    from core.records.models import Precision


class Batch(StrEnum):
    """How many faces of one call."""

    one = "1"
    two = "2"
    four = "4"
    dynamic = "dynamic"


def convert(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The model; see `farm models list`.")],
    batch: Annotated[
        Batch | None,
        typer.Option(
            "--batch",
            help="Faces of one call; otherwise dynamic, for CPUs, and what a GPU begins with: 4, or 1 of large faces. "
            "INT8 also gets what a GPU steps down to, since a render cannot make that itself.",
        ),
    ] = None,
    fp16: Annotated[bool, typer.Option("--fp16", help="Half floats where that changes the picture little.")] = False,
    int8: Annotated[bool, typer.Option("--int8", help="8-bit convolutions; needs --calibrate.")] = False,
    calibrate: Annotated[
        Path | None,
        typer.Option(
            "--calibrate",
            metavar="VIDEO",
            help="A film with faces: INT8 is calibrated with them, and any precision's parity told on them too.",
        ),
    ] = None,
    cache: Annotated[Path | None, typer.Option("--cache", help="Folder of the models.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> None:
    """Change a model for this farm and compare it with the published file.

    Renderers do the same when they first need it; converting beforehand saves them the time. The parity report is
    printed, and kept as JSON beside the file. Exit code 2, and nothing kept, when a result is outside its tolerance.
    """

    folder = cache or load_settings().model_cache
    manifest = by_id(load_manifests(manifest_folder()), model)
    if fp16 and int8:
        raise InputError("--fp16 and --int8 exclude each other", hint="run it twice")
    if int8 and calibrate is None:
        raise InputError("--int8 needs --calibrate VIDEO", hint="a film with faces like those to be replaced")
    if manifest.embedded:
        raise InputError(f"model {model} is used as it is", hint="only operators' models are converted")
    calibration = gathered(calibrate, manifest, folder) if calibrate is not None else None
    precision: Precision = "int8" if int8 else "fp16" if fp16 else "fp32"
    made = prepared(manifest, folder, batch, precision, calibration, tables=not json)
    show(manifest, made, as_json=json)


def prepared(
    manifest: ModelManifest,
    cache: Path,
    batch: Batch | None,
    precision: Precision,
    calibration: Sequence[Feeds] | None,
    *,
    tables: bool,
) -> list[tuple[Variant, Prepared]]:
    """The variants asked for: those of one batch, or of all that renders load.

    Of several, one that the graph does not allow is left out as long as another is made, one face at a time if need
    be: renders do the same. Raises `ModelError` like `prepare`; `tables`: a refused parity report is printed before.
    """
    from core.inference.batches import loaded_batches  # noqa: PLC0415 - loads ONNX Runtime
    from core.inference.parity import OutsideTolerance  # noqa: PLC0415
    from core.inference.variants import Variant, prepare  # noqa: PLC0415

    loaded = loaded_batches(manifest)
    wanted: tuple[int | None, ...] = (None, *(loaded if precision == "int8" else loaded[:1]))
    if batch is not None:
        wanted = (None if batch is Batch.dynamic else int(batch.value),)
    made: list[tuple[Variant, Prepared]] = []
    refused: ModelError | None = None
    for count in (*wanted, 1) if batch is None and 1 not in wanted else wanted:
        if count == 1 and count not in wanted and made:
            continue  # only the last resort
        variant = Variant(count, precision)
        try:
            made.append((variant, prepare(manifest, cache, variant, say, calibration=calibration)))
        except OutsideTolerance as error:
            if error.report is not None and tables:
                put(error.report.table() + "\n")
            raise
        except ModelError as error:
            refused = refused or error
    if refused is not None and not made:
        raise refused
    if refused is not None:
        say(f"{refused}; it is used one face at a time")
    return made


def gathered(film: Path, manifest: ModelManifest, cache: Path) -> list[Feeds]:
    """The inputs that a film's faces make."""
    from core.inference.providers import DeviceSpec  # noqa: PLC0415 - loads ONNX Runtime
    from core.inference.sessions import Sessions  # noqa: PLC0415
    from core.swap.calibrate import calibration_inputs  # noqa: PLC0415

    found = calibration_inputs(film, manifest, Sessions(cache, DeviceSpec(wish="cpu")))
    say(f"{manifest.id}: {len(found)} calibration inputs from {film}")
    return found


def show(manifest: ModelManifest, made: Sequence[tuple[Variant, Prepared]], *, as_json: bool) -> None:
    """The files and their parity."""
    if as_json:
        rows = [
            {
                "file": str(one.path),
                "sha256": one.sha256,
                "batch": variant.batch,
                "precision": variant.precision,
                "parity": one.parity,
            }
            for variant, one in made
        ]
        put(codec.encode({"id": manifest.id, "variants": rows}).decode() + "\n")
        return
    for _, one in made:
        if one.parity is not None:
            put(f"{one.parity.table()}\n{one.path}\n")
