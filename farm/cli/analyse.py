"""`farm analyse`: look for every face of a film once, and keep what was seen."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core import codec
from core.errors import StorageError
from farm.cli.expand import expand
from farm.cli.looking_options import LookingOptions, analyse_spec
from farm.cli.out import put
from farm.cli.running import Running, run_options
from farm.paths import place
from farm.settings import RunOptions, load_settings

if TYPE_CHECKING:
    from farm.analyse_job import AnalyseSpec


@expand
def analyse(
    target: Annotated[Path, typer.Argument(parser=place, metavar="TARGET", help="The film, a file or s3://.")],
    *,
    looking: LookingOptions,
    running: Running,
    json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON object on stdout.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error below its line.")] = False,
) -> None:
    """Find every face of TARGET, once: the cast and every rendering are made of what is kept in the folder."""
    del debug
    run = run_options(running)
    carry_out(analyse_spec(target, looking), run, as_json=json)


def carry_out(spec: AnalyseSpec, run: RunOptions, *, as_json: bool) -> None:
    """Look at the film, with progress, notes and the summary on stderr and the report on stdout."""
    from farm.analyse_job import analysed, summary  # noqa: PLC0415
    from farm.cli.telling import telling  # noqa: PLC0415

    # Ray prints notices of dead workers on stdout, whatever its log settings; stdout is for the report alone.
    with (
        telling(run, str(spec.folder), count=True) as told,
        Path(os.devnull).open("w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        analysed(spec, run, load_settings(), told.progress) as done,
    ):
        report = done.report
    told.notes(report.notes)
    told.say(summary(report))
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
