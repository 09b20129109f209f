"""`farm job`: make the film that a job file describes. What `render.py --job FILE` runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from farm.cli.render import carry_out
from farm.cli.running import LogJson
from farm.jobfile import read_job
from farm.paths import place


def job(
    file: Annotated[
        Path, typer.Argument(parser=place, metavar="FILE", help="A job of `farm render --write-job`, or s3://.")
    ],
    json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON object on stdout.")] = False,
    log_json: LogJson = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error below its line.")] = False,
) -> None:
    """Render the film of a job file. Run the same command again to resume."""
    del debug, log_json  # farm.cli.main reads them
    made = read_job(file)
    carry_out(made.spec, made.run, as_json=json)
