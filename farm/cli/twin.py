"""`farm models twin`: a model's graph with random weights, for benchmarks and for trying an installation."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from core.errors import StorageError
from core.inference.manifest import by_id, load_manifests, manifest_folder
from farm.cli.out import say

TEST_WIDTH = 8


def twin(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The model; see `farm models list`.")],
    full: Annotated[bool, typer.Option("--full", help="All channels; otherwise an eighth of them.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to; otherwise NAME-twin.onnx here.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Another seed gives other weights.")] = 0,
) -> None:
    """Write a twin: NAME's operators, tensors and shapes with random weights. It swaps nobody's face."""
    from core.inference.twins import build_twin  # noqa: PLC0415 - loads onnx

    manifest = by_id(load_manifests(manifest_folder()), name)
    data = build_twin(manifest, width=1 if full else TEST_WIDTH, seed=seed)
    path = output or Path(f"{name}-twin.onnx")
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise StorageError(f"cannot be written: {error.strerror}", where=str(path), hint="name another file") from error
    say(f"{path}: {len(data) / 1e6:.1f} MB, random weights")
