"""`farm render`: make one film."""

from __future__ import annotations

import contextlib
import os
import sys
from enum import StrEnum
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal

import typer

from core import codec as json_codec
from core.records import EncodeSpec, JobSpec, SourceSpec
from farm.settings import RunOptions, load_settings


class Swapper(StrEnum):
    mesh = "mesh"
    none = "none"


class Select(StrEnum):
    largest = "largest"
    all = "all"


class OnDamage(StrEnum):
    fail = "fail"
    keep = "keep"


def seconds(text: str) -> Fraction:
    """An exact number of seconds: 10, 1.5 or 1001/30."""
    try:
        value = Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise typer.BadParameter(f"{text!r} is not a number of seconds, write 10, 1.5 or 1001/30") from None
    if value < 0:
        raise typer.BadParameter("a segment cannot be shorter than nothing, write 0 for one a keyframe")
    return value


def render(
    target: Annotated[Path, typer.Argument(help="The film.")],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="The film to make; its ending says the container.")],
    source: Annotated[
        Path | None, typer.Option("--source", help="An image with the face to put in (not for --swapper none).")
    ] = None,
    source_face: Annotated[
        int | None, typer.Option(min=1, help="Which face of the image, counted from the left.")
    ] = None,
    swapper: Annotated[
        Swapper, typer.Option(help="How faces are replaced; none sends every frame through unchanged.")
    ] = Swapper.mesh,
    select: Annotated[
        Select, typer.Option(help="Which faces are replaced: the largest of each frame, or all.")
    ] = Select.largest,
    codec: Annotated[
        str | None, typer.Option(help="h264, hevc, av1, vp9, prores or ffv1 (default: the film's own).")
    ] = None,
    crf: Annotated[int | None, typer.Option(help="Constant quality, lower is better (default: the encoder's).")] = None,
    preset: Annotated[str | None, typer.Option(help="The encoder's preset, e.g. veryfast.")] = None,
    segment_seconds: Annotated[str, typer.Option(help="Least length of a segment; 0 makes one a keyframe.")] = "10",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Renderers (default: one a GPU, else what the cores can feed).")
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="A running Ray cluster, or auto (default: one of this run's own).")
    ] = None,
    local: Annotated[bool, typer.Option("--local", help="Run in this process, without Ray.")] = False,
    store: Annotated[
        Path | None, typer.Option(help="Folder for the job's state (default: OUTPUT.farm, beside the output).")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the state after success.")] = False,
    on_damage: Annotated[
        OnDamage, typer.Option(help="A damaged film: fail and name the first bad frame, or keep the timeline.")
    ] = OnDamage.fail,
    json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON object on stdout.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error below its line.")] = False,
) -> None:
    """Render TARGET with the face of --source into OUTPUT. Run the same command again to resume."""
    del debug  # farm.cli.main reads it
    from farm.driver import run_job  # noqa: PLC0415 - other commands start without the media core
    from farm.progress import StderrProgress  # noqa: PLC0415
    from farm.report import summary  # noqa: PLC0415

    if local and address:
        raise typer.BadParameter("--local and --address exclude each other")
    if source_face and not source:
        raise typer.BadParameter("--source-face needs --source")
    spec = JobSpec(
        target=str(target),
        output=str(output),
        source=SourceSpec(str(source), source_face) if source else None,
        swapper=swapper.value,
        select=picked(select),
        encode=EncodeSpec(codec, crf, preset),
        segment_s=seconds(segment_seconds),
        on_damage="keep" if on_damage is OnDamage.keep else "fail",
    )
    run = RunOptions(local=local, workers=workers, address=address, store=store, keep=keep)
    progress = StderrProgress(sys.stderr)
    try:
        # Ray prints notices of dead workers on stdout, whatever its log settings; stdout is for the report alone.
        with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
            report = run_job(spec, run, load_settings(), progress)
    finally:
        progress.close()
    for note in report.notes:
        sys.stderr.write(f"farm: note: {note}\n")
    sys.stderr.write(f"farm: {summary(report)}\n")
    if json:
        sys.stdout.write(json_codec.encode(report).decode() + "\n")


def picked(select: Select) -> Literal["largest", "all"]:
    return "all" if select is Select.all else "largest"
