"""`farm bench`: measurements, printed as tables; what they mean is in docs/benchmarks/."""

from __future__ import annotations

import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Measure this machine's media path against plain ffmpeg.")


@app.callback()
def bench() -> None:
    """Measure this machine's media path against plain ffmpeg."""


@app.command()
def media(
    seconds: Annotated[int, typer.Option(min=4, help="Length of the 1080p film.")] = 30,
    repeats: Annotated[int, typer.Option(min=1, help="Pairs of runs, ours and ffmpeg's in turn.")] = 3,
    hours: Annotated[float, typer.Option(min=0.01, help="Length of the film that is indexed and joined.")] = 1.0,
    folder: Annotated[Path | None, typer.Option(help="Where the films go (default: a temporary folder).")] = None,
) -> None:
    """Transcode rate, index, join and memory. Exit code 4 when a goal is missed."""
    from farm.bench.media import bench_media  # noqa: PLC0415 - imports the media core, which other commands may not need

    with tempfile.TemporaryDirectory(prefix="farm-bench-", dir=folder) as work:
        table = bench_media(Path(work), seconds=seconds, repeats=repeats, hours=Fraction(hours).limit_denominator(1000))
    if any(row.met is False for row in table.rows):
        raise typer.Exit(4)
