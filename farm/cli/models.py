"""`farm models`: the weights that the farm uses, where they come from and on what terms."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core import codec
from core.errors import ModelError
from core.inference.manifest import ModelManifest, by_id, load_manifests, manifest_folder
from farm.cli.build import build
from farm.cli.convert import convert
from farm.cli.out import put, say
from farm.cli.twin import twin
from farm.settings import load_settings

if TYPE_CHECKING:
    from core.inference.download import Meter
    from core.inference.fetch import FetchOptions

app = typer.Typer(no_args_is_help=True, help="List, fetch, add, check and prepare the models.")

Cache = Annotated[Path | None, typer.Option("--cache", help="Folder of the models.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Accept = Annotated[
    bool,
    typer.Option("--accept-licence", help="Acknowledge a licence without commercial use; asked for once a model."),
]


@app.callback()
def models() -> None:
    """List, fetch, add, check and prepare the models."""


def rows(cache: Path, *, hashed: bool) -> list[dict[str, Any]]:
    """Every model with the state of its weights; their hashes are computed only where `hashed`.

    `state` is ready, absent or altered, `fault` what to do about it; `installed` is the file in the cache, None where
    there is none; `sha256` the published hash, None where none is known.
    """
    from core.inference.weights import installed, present, read_record  # noqa: PLC0415 - loads onnx

    found = []
    for manifest in load_manifests(manifest_folder()).values():
        file, fault, accepted, state = None, None, False, "ready"
        try:
            file = present(manifest, cache)
            if file is not None and hashed:
                file = installed(manifest, cache)
            record = None if manifest.embedded else read_record(manifest, cache)
            accepted = record is not None and record.licence_accepted
            if file is None:
                state = "absent"
                fault = f"not in the cache; run: farm models {_how(manifest)}"
        except ModelError as error:
            state, fault = "altered", str(error)
        found.append(
            {
                "id": manifest.id,
                "role": manifest.role,
                "title": manifest.title,
                "licence": manifest.licence,
                "licence_note": manifest.licence_note,
                "licence_accepted": accepted,
                "commercial_use": manifest.commercial_use,
                "embedded": manifest.embedded,
                "sha256": manifest.sha256,
                "url": manifest.url,
                "installed": file,
                "state": state,
                "ready": fault is None,
                "fault": fault,
            }
        )
    return found


def _how(manifest: ModelManifest) -> str:
    return "pull" if manifest.embedded else f"add {manifest.id} FILE"


def show(cache: Path, found: list[dict[str, Any]], as_json: bool) -> None:
    """Print the state of every model."""
    if as_json:
        put(codec.encode({"cache": str(cache), "models": found}).decode() + "\n")
        return
    for row in found:
        file = row["installed"]
        use = "commercial use" if row["commercial_use"] else "no commercial use"
        put(
            f"{row['id']:<18} {row['role']:<9} {row['state']:<8} {row['licence']} ({use})  {row['title']}\n"
            + (f"{'':<18} not the published file: sha256 {file.sha256}\n" if file and not file.listed else "")
        )
    put(f"cache: {cache}\n")


@app.command(name="list")
def list_models(cache: Cache = None, json: AsJson = False) -> None:
    """Every model: role, licence, and whether its weights are there."""
    folder = cache or load_settings().model_cache
    show(folder, rows(folder, hashed=False), json)


@contextmanager
def meter() -> Iterator[Meter | None]:
    """A progress bar of downloads on stderr; None where nobody watches."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:

        def tell(name: str, done: int, total: int | None) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=total)
            bars.update(tasks[name], completed=done, total=total)

        yield tell


def wanted(names: list[str], source: str | None, downloads: Path, options: FetchOptions) -> list[ModelManifest]:
    """The models to pull: those named, else those whose file is in `source`, else the embedded ones."""
    from core.inference.fetch import listing  # noqa: PLC0415 - loads onnx

    known = load_manifests(manifest_folder())
    if names:
        return [by_id(known, name) for name in names]
    if source is None:
        return [manifest for manifest in known.values() if manifest.embedded]
    files = listing(source, downloads, options)
    found = [manifest for manifest in known.values() if manifest.file in files]
    if not found:
        raise ModelError("holds no model that is known here", where=source, hint="see: farm models list")
    return found


@app.command()
def pull(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Models; see `farm models list`.")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="WHERE",
            help="An https or s3 address, a folder or a zip (buffalo_l, for one) instead of the model's own address; "
            "without names, all models that are in it.",
        ),
    ] = None,
    accept_licence: Accept = False,
    cache: Cache = None,
) -> None:
    """Fetch weights and check them; without names, those that ship in free packages."""
    from core.inference.fetch import FetchOptions, clear  # noqa: PLC0415 - loads onnx
    from core.inference.weights import is_there  # noqa: PLC0415 - loads onnx
    from core.inference.weights import pull as pull_weights  # noqa: PLC0415 - loads onnx
    from farm.s3 import open_s3  # noqa: PLC0415 - loads boto3

    folder = cache or load_settings().model_cache
    downloads = folder / "downloads"
    with meter() as tell:
        options = FetchOptions(open_s3, tell)
        for manifest in wanted(names or [], source, downloads, options):
            if is_there(manifest, folder, source):
                say(f"{manifest.id}: ready")
            else:
                pull_weights(manifest, folder, say, source=source, accept_licence=accept_licence, options=options)
    clear(downloads)


@app.command()
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The model; see `farm models list`.")],
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...", help="Its ONNX file. Of several, the published one, or the only one that fits."
        ),
    ],
    unlisted: Annotated[
        bool,
        typer.Option("--unlisted", help="Take a file whose sha256 is not the published one; reports name its hash."),
    ] = False,
    accept_licence: Accept = False,
    cache: Cache = None,
) -> None:
    """Register a file of yours as the model NAME: its hash, tensors and safety are checked first.

    With several files (the members of an unpacked buffalo_l, a download and its conversions) each is compared with what
    the model's manifest says of its tensors, and one is taken; several that fit are an error.
    """
    from core.inference.weights import add as add_weights  # noqa: PLC0415 - loads onnx
    from core.inference.weights import choose  # noqa: PLC0415

    folder = cache or load_settings().model_cache
    manifest = by_id(load_manifests(manifest_folder()), name)
    file, others = (files[0], {}) if len(files) == 1 else choose(manifest, files)
    made = add_weights(manifest, file, folder, unlisted=unlisted, accept_licence=accept_licence)
    for other, reason in others.items():
        say(f"{other}: not taken: {reason}")
    known = "the published file" if made.listed else f"not the published file: sha256 {made.sha256}"
    which = f" from {file}" if others else ""
    say(f"{manifest.id}: ready{which}, {known}, licence {manifest.licence}")


@app.command()
def check(cache: Cache = None, json: AsJson = False) -> None:
    """Check the weights' hashes. Exit code 2 when one is altered, or one of the embedded set is missing."""
    folder = cache or load_settings().model_cache
    found = rows(folder, hashed=True)
    show(folder, found, json)
    faults = [row for row in found if row["state"] == "altered" or (row["embedded"] and not row["ready"])]
    if faults:
        names = ", ".join(row["id"] for row in faults)
        raise ModelError(f"not ready: {names}", where=str(folder), hint=f"the first: {faults[0]['fault']}")


app.command()(twin)
app.command()(build)
app.command()(convert)
