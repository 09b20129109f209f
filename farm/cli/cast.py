"""`farm cast`: who is in a film, as a sheet to look at and a file to edit."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Annotated

import typer

from core import codec
from core.errors import StorageError
from farm.cli.expand import expand
from farm.cli.film_options import FACES
from farm.cli.looking_options import LookingOptions, analyse_spec
from farm.cli.out import put
from farm.cli.remote import Address, is_remote, service_of
from farm.cli.remote_cast import cast_of_job
from farm.cli.running import Running, run_options
from farm.paths import place, usable_path
from farm.settings import load_settings


def known_people(words: list[str]) -> tuple[tuple[str, str], ...]:
    """(name, image) of words NAME=IMAGE."""
    pairs = []
    for word in words:
        name, sign, path = word.partition("=")
        if not (name and sign and path):
            raise typer.BadParameter(f"--known {word!r}: write NAME=IMAGE")
        usable_path(place(path), "check the path")
        pairs.append((name, path))
    if len({name for name, _ in pairs}) != len(pairs):
        raise typer.BadParameter("--known: a name is given twice")
    return tuple(pairs)


@expand
def cast(
    target: Annotated[Path, typer.Argument(parser=place, metavar="TARGET", help="The film, a file or s3://.")],
    *,
    looking: LookingOptions,
    known: Annotated[
        list[str] | None,
        typer.Option(rich_help_panel=FACES, help="NAME=IMAGE: who looks like the face in IMAGE is called NAME."),
    ] = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Make the cast anew; one that is there is kept as cast.toml.old, .old.2, ..."),
    ] = False,
    running: Running,
    put_file: Annotated[
        Path | None,
        typer.Option("--put", metavar="FILE", help="Give this cast.toml to a service's job, whose id is TARGET."),
    ] = None,
    address: Address,
    json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON object on stdout.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error below its line.")] = False,
) -> None:
    """Tell the people of TARGET apart: a page to look at, and a cast.toml in which one writes who becomes whom."""
    del debug  # farm.cli.main reads it
    if is_remote(str(target)):
        with service_of(address) as farm:
            cast_of_job(farm, str(target), looking.output, put_file)
        return
    if put_file is not None:
        raise typer.BadParameter("--put is for a service's job: farm cast JOB --put FILE")
    run = run_options(running)
    from farm.sheet.job import SheetSpec, make_sheet, summary  # noqa: PLC0415 - other commands start without it

    spec = SheetSpec(analyse_spec(target, looking), known_people(known or []), force)
    from farm.cli.telling import telling  # noqa: PLC0415

    # Ray prints notices of dead workers on stdout, whatever its log settings; stdout is for the report alone.
    with (
        telling(run, str(spec.analyse.folder), count=True) as told,
        Path(os.devnull).open("w") as nowhere,
        contextlib.redirect_stdout(nowhere),
    ):
        report = make_sheet(spec, run, load_settings(), told.progress)
    told.notes(report.notes)
    told.say(summary(report))
    if json:
        try:
            put(codec.encode(report).decode() + "\n")
        except StorageError as error:
            hint = "run the same command again with --force, nothing is looked at twice"
            raise StorageError(
                f"the cast is written, but not its report: {error.what}", where=report.cast, hint=hint
            ) from error
