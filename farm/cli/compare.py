"""`farm compare`: how good a film with replaced faces is."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core import codec
from core.records import SourceSpec
from farm.cli.out import put, say
from farm.cli.running import Device
from farm.paths import place, usable_path
from farm.settings import load_settings

if TYPE_CHECKING:
    from farm.quality.job import CompareSpec


def compare(
    original: Annotated[Path, typer.Argument(parser=place, metavar="SRC", help="The film as it was, a file or s3://.")],
    made: Annotated[
        Path, typer.Argument(parser=place, metavar="OUT", help="The film made of it, by whatever program.")
    ],
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            parser=place,
            metavar="PATH",
            help="Folder of the report, or s3://bucket/prefix (default: OUT's name, ending .quality, beside it).",
        ),
    ] = None,
    source: Annotated[
        list[Path] | None,
        typer.Option(
            "--source",
            parser=place,
            metavar="PATH",
            help="An image of the face that was put in. Given again: more of the same person.",
        ),
    ] = None,
    source_face: Annotated[
        int | None, typer.Option(min=1, help="Which face of the (first) image, counted from the left.")
    ] = None,
    cast: Annotated[
        Path | None,
        typer.Option(
            parser=place,
            metavar="PATH",
            help="A cast.toml, or a folder of `farm analyse`: who is in SRC, and who became whom.",
        ),
    ] = None,
    every: Annotated[int, typer.Option(min=1, help="Measure faces in every so manieth frame only.")] = 1,
    device: Annotated[
        Device, typer.Option(help="Where models run; auto takes the best that works, others insist.")
    ] = Device.auto,
    json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON object on stdout.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error below its line.")] = False,
) -> None:
    """Measure OUT against SRC, person by person: likeness, pose, expression, flicker, and what else was changed."""
    del debug
    if source and cast is not None and cast.name.endswith(".toml"):
        raise typer.BadParameter("--source and a cast.toml exclude each other: the cast names the sources")
    if source_face and not source:
        raise typer.BadParameter("--source-face needs --source")
    for path in (original, made, *(source or []), *([cast] if cast is not None else [])):
        usable_path(path, "check the path")
    from farm.quality.job import CompareSpec, default_folder  # noqa: PLC0415 - other commands start without OpenCV

    folder = usable_path(output if output is not None else default_folder(made), "name another folder with -o")
    face = SourceSpec(str(source[0]), source_face, tuple(str(path) for path in source[1:])) if source else None
    carry_out(CompareSpec(original, made, folder, face, cast, every, device.value), as_json=json)


def carry_out(spec: CompareSpec, *, as_json: bool) -> None:
    """Compare, with progress, notes and the numbers on stderr and the report on stdout."""
    from farm.progress import StderrProgress  # noqa: PLC0415
    from farm.quality.job import PAGE, compare  # noqa: PLC0415
    from farm.quality.texts import summary  # noqa: PLC0415

    progress = StderrProgress(sys.stderr)

    started_s = time.monotonic()

    def heard(done: int, frames: int) -> None:
        speed = done / max(time.monotonic() - started_s, 1e-6)
        progress.show(lambda: f"{100 * done // frames} %, {done}/{frames} frames, {speed:.1f} frames/s")

    try:
        with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
            report = compare(spec, load_settings(), progress, heard)
    finally:
        progress.close()
    for note in report.notes:
        say(f"note: {note}")
    for line in summary(report):
        say(line)
    say(f"the page is {spec.folder / PAGE}")
    if as_json:
        put(codec.encode(report).decode() + "\n")
