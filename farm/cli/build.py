"""`farm models build`: everything that takes long before a model runs on this machine's device, done now."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core import codec
from core.errors import InputError, ModelError
from core.inference.manifest import ModelManifest, by_id, load_manifests, manifest_folder
from farm.cli.out import put, say
from farm.cli.running import Device
from farm.settings import load_settings, shared_place
from farm.shelves import open_shelf

if TYPE_CHECKING:
    from core.inference.sessions import Sessions
    from core.records.models import Precision


def build(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Models; see `farm models list`.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every model whose weights are here.")] = False,
    device: Annotated[Device, typer.Option("--device", help="What it is built for.")] = Device.auto,
    device_id: Annotated[int, typer.Option("--device-id", min=0, help="Which GPU.")] = 0,
    batch: Annotated[
        int | None,
        typer.Option(
            "--batch",
            min=1,
            help="Faces of one call on a GPU, if not those a render begins with (4, or 1 of large faces): "
            "2 and 1 are what it steps down to when memory is short.",
        ),
    ] = None,
    fp16: Annotated[bool, typer.Option("--fp16", help="As for a render with --precision fp16.")] = False,
    int8: Annotated[bool, typer.Option("--int8", help="As for a render with --precision int8.")] = False,
    shared: Annotated[
        str | None,
        typer.Option(
            "--shared",
            metavar="WHERE",
            help="A folder or s3://bucket/prefix where machines share engines; else FARM_ENGINE_CACHE.",
        ),
    ] = None,
    cache: Annotated[Path | None, typer.Option("--cache", help="Folder of the models.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> None:
    """Prepare models for a device: change them for its batch, build TensorRT's engines, compare with the CPU.

    What is made is what a render loads, neither more nor less: swappers and enhancers in the precision asked for, all
    others in fp32. A TensorRT engine takes minutes, is kept in the model cache, and is built once for each kind of
    GPU. Exit code 2 when a model does not run on the device.
    """
    from core.inference.batches import loaded_precision  # noqa: PLC0415 - loads ONNX Runtime
    from core.inference.providers import BATCH, CPU, DeviceSpec  # noqa: PLC0415
    from core.inference.sessions import Sessions  # noqa: PLC0415

    if fp16 and int8:
        raise InputError("--fp16 and --int8 exclude each other", hint="run it twice")
    precision: Precision = "int8" if int8 else "fp16" if fp16 else "fp32"
    settings = load_settings()
    folder = cache or settings.model_cache
    shelf = open_shelf(shared_place(shared) if shared else settings.engine_cache)
    manifests = chosen(names or [], everything, folder)
    if batch is not None:
        refuse_batch(batch, manifests)
    spec = DeviceSpec(
        wish=device.value,
        device_id=device_id,
        batch=batch or BATCH,
        shelf=shelf,
        gpu_mem_limit_bytes=settings.gpu_mem_limit_bytes,
    )
    sessions = Sessions(folder, spec, progress=say)
    if batch is not None and sessions.providers[0] == CPU:
        raise InputError(f"--batch {batch}: a CPU takes any number of faces", hint="leave --batch out")
    found = [build_one(manifest, sessions, loaded_precision(manifest, precision)) for manifest in manifests]
    show(found, folder, json)
    faults = [row for row in found if row["fault"]]
    if faults:
        raise ModelError(
            f"not built: {', '.join(row['id'] for row in faults)}",
            where=str(folder),
            hint=f"the first: {faults[0]['fault']}",
        )


def chosen(names: Sequence[str], everything: bool, cache: Path) -> list[ModelManifest]:
    """The models named, or all whose weights are there; `InputError` for neither."""
    from core.inference.weights import present  # noqa: PLC0415 - loads onnx

    manifests = load_manifests(manifest_folder())
    if everything:
        return [manifest for manifest in manifests.values() if present(manifest, cache) is not None]
    if not names:
        raise InputError("no model named", hint="name models, or use --all")
    return [by_id(manifests, name) for name in names]


def refuse_batch(batch: int, manifests: Sequence[ModelManifest]) -> None:
    """`InputError` for a number of faces with which no render loads one of the models on a GPU."""
    from core.inference.batches import loaded_batches  # noqa: PLC0415 - loads ONNX Runtime

    for manifest in manifests:
        known = loaded_batches(manifest)
        if batch not in known:
            raise InputError(
                f"no render loads {manifest.id} with {batch} faces of one call",
                hint=f"leave --batch out, or give one of: {', '.join(map(str, known))}",
            )


def build_one(manifest: ModelManifest, sessions: Sessions, precision: Precision) -> dict[str, Any]:
    """Build, open, compare, and give the memory back; what came of it."""
    started = time.monotonic()
    row: dict[str, Any] = {"id": manifest.id, "fault": None, "engine": None}
    try:
        engine = sessions.build(manifest, precision=precision)
        session = sessions.open(manifest, precision=precision)
    except ModelError as error:
        return row | {"fault": str(error), "seconds": time.monotonic() - started}
    use, parity = session.use, session.parity
    session.drop()
    return row | {
        "engine": str(engine) if engine is not None else None,
        "provider": use.provider,
        "device": use.device,
        "precision": use.precision,
        "batch": use.batch,
        "parity": parity,
        "seconds": time.monotonic() - started,
    }


def show(found: Sequence[dict[str, Any]], cache: Path, as_json: bool) -> None:
    if as_json:
        put(codec.encode({"cache": str(cache), "models": found}).decode() + "\n")
        return
    for row in found:
        if row["fault"]:
            told = f"not built: {row['fault']}"
        else:
            batch = "any batch" if row["batch"] is None else f"batch {row['batch']}"
            engine = f", engine in {row['engine']}" if row["engine"] else ""
            parity = f", {row['parity'].text()}" if row["parity"] is not None else ""
            told = f"{row['provider']} on {row['device']}, {row['precision']}, {batch}{parity}{engine}"
        put(f"{row['id']:<20} {row['seconds']:6.1f} s  {told}\n")
