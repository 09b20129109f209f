"""`farm bench`: measurements, printed as tables; what they mean is in docs/benchmarks/."""

from __future__ import annotations

import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Annotated

import typer

from farm.cli.running import Device
from farm.settings import load_settings

app = typer.Typer(no_args_is_help=True, help="Measure this machine: the media path, the swap, the farm.")


@app.callback()
def bench() -> None:
    """Measure this machine: the media path, the swap, the farm."""


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


@app.command()
def swap(
    width: Annotated[
        list[int] | None,
        typer.Option(
            min=1, help="Divides the twin's channels, a table each: 8 is fast, 1 is the real size (default: both)."
        ),
    ] = None,
    frames: Annotated[
        int, typer.Option(min=25, help="Frames of the 1080p film; on a CPU, wider twins get fewer of them.")
    ] = 50,
    rounds: Annotated[
        int, typer.Option(min=1, help="Rounds of runs, ours and the others' in turn; fewer of wider twins on a CPU.")
    ] = 5,
    memory_frames: Annotated[int, typer.Option(min=0, help="Frames of the memory test; 0 leaves it out.")] = 10_000,
    device: Annotated[Device, typer.Option(help="Where the models run.")] = Device.auto,
    folder: Annotated[Path | None, typer.Option(help="Where films and the twin go (default: temporary).")] = None,
) -> None:
    """Faces a second and milliseconds a face, by stage, against the plain loop, and the share of what the machine's
    arithmetic allows; for the real size and an eighth of its channels. Exit code 4 when a goal is missed."""
    from core.inference.providers import DeviceSpec  # noqa: PLC0415 - loads ONNX Runtime
    from farm.bench.swap import bench_swap  # noqa: PLC0415

    settings = load_settings()
    spec = DeviceSpec(wish=device.value, threads=settings.cores, gpu_mem_limit_bytes=settings.gpu_mem_limit_bytes)
    with tempfile.TemporaryDirectory(prefix="farm-bench-", dir=folder) as work:
        table = bench_swap(
            Path(work),
            settings.model_cache,
            widths=width or [8, 1],
            frames=frames,
            rounds=rounds,
            memory_frames=memory_frames,
            device=spec,
        )
    if any(row.met is False for row in table.rows):
        raise typer.Exit(4)


@app.command()
def farm(
    renderers: Annotated[
        list[int] | None, typer.Option(min=1, help="Sleeping renderers of a real run (default: 1, 2, 4 and 8).")
    ] = None,
    segments: Annotated[int, typer.Option(min=1, help="Segments a renderer.")] = 20,
    segment_seconds: Annotated[float, typer.Option(min=0.05, help="Sleep of a mean segment.")] = 1.0,
    nodes: Annotated[int, typer.Option(min=1, help="Nodes of the simulated farm.")] = 1000,
    simulated: Annotated[int, typer.Option(min=1, help="Segments of the simulated farm.")] = 100_000,
    work: Annotated[
        int, typer.Option(min=0, help="Seconds of 1080p film that are rendered in earnest; 0 leaves it out.")
    ] = 8,
) -> None:
    """The dispatcher's rate, the driver's memory, the farm's own time beside real work and beside renderers that only
    sleep, and the time to resume. Exit code 4 when a goal is missed."""
    from farm.bench.farm import bench_farm  # noqa: PLC0415

    table = bench_farm(
        renderers=renderers or [1, 2, 4, 8],
        segments=segments,
        segment_s=segment_seconds,
        nodes=nodes,
        simulated=simulated,
        work_s=work,
    )
    if any(row.met is False for row in table.rows):
        raise typer.Exit(4)
