"""`farm analyse`: look for every face of a film once, and keep what was seen."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core import codec
from core.errors import StorageError
from farm.cli.out import put
from farm.cli.render import OnDamage
from farm.cli.running import Address, Device, Local, RunsOn, Workers, check_local
from farm.paths import usable_path
from farm.settings import RunOptions, load_settings

if TYPE_CHECKING:
    from farm.analyse_job import AnalyseSpec

FACES = "Faces"


def analyse(
    target: Annotated[Path, typer.Argument(help="The film.")],
    *,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder of the cast (default: TARGET's name, ending .cast, beside it)."),
    ] = None,
    detector: Annotated[
        str, typer.Option(rich_help_panel=FACES, help="What finds faces: a detector of `farm models list`.")
    ] = "centerface",
    recogniser: Annotated[
        str, typer.Option(rich_help_panel=FACES, help="What tells people apart: an embedder of `farm models list`.")
    ] = "dlib_resnet",
    detect_every: Annotated[
        int,
        typer.Option(
            rich_help_panel=FACES,
            help="Look at every so manieth frame only; between them faces are interpolated, shorter ones missed.",
        ),
    ] = 1,
    on_damage: Annotated[
        OnDamage, typer.Option(help="A damaged film: fail and name the first bad frame, or keep the timeline.")
    ] = OnDamage.fail,
    workers: Workers = None,
    device: RunsOn = Device.auto,
    address: Address = None,
    local: Local = False,
    json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON object on stdout.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error below its line.")] = False,
) -> None:
    """Find every face of TARGET, once: the cast and every rendering are made of what is kept in the folder."""
    del debug
    check_local(local, workers, address)
    from farm.analyse_job import AnalyseSpec  # noqa: PLC0415 - other commands start without the media core
    from farm.analysis import Looking  # noqa: PLC0415
    from farm.castdir import default_folder  # noqa: PLC0415

    usable_path(target, "check the path")
    folder = usable_path(output if output is not None else default_folder(target), "name another folder with -o")
    spec = AnalyseSpec(
        target=target,
        folder=folder,
        looking=Looking(detector, recogniser, detect_every),
        on_damage="keep" if on_damage is OnDamage.keep else "fail",
    )
    run = RunOptions(local=local, workers=workers, address=address, device=device.value)
    carry_out(spec, run, as_json=json)


def carry_out(spec: AnalyseSpec, run: RunOptions, *, as_json: bool) -> None:
    """Look at the film, with progress, notes and the summary on stderr and the report on stdout."""
    from farm.analyse_job import analysed, summary  # noqa: PLC0415
    from farm.progress import StderrProgress  # noqa: PLC0415

    progress = StderrProgress(sys.stderr)
    try:
        # Ray prints notices of dead workers on stdout, whatever its log settings; stdout is for the report alone.
        with (
            Path(os.devnull).open("w") as nowhere,
            contextlib.redirect_stdout(nowhere),
            analysed(spec, run, load_settings(), progress) as done,
        ):
            report = done.report
    finally:
        progress.close()
    for note in report.notes:
        sys.stderr.write(f"farm: note: {note}\n")
    sys.stderr.write(f"farm: {summary(report)}\n")
    if not as_json:
        return
    try:
        put(codec.encode(report).decode() + "\n")
    except StorageError as error:
        raise StorageError(
            f"the analysis is finished, but not its report: {error.what}",
            where=str(spec.folder),
            hint="run the same command again, nothing is looked at twice",
        ) from error
