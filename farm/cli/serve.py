"""`farm serve`: the service on one machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from core.errors import InputError
from farm.cli.expand import expand
from farm.cli.out import say
from farm.cli.running import Running, run_options
from farm.settings import load_settings

HTTP, STATE = "HTTP", "What is kept"


@expand
def serve(
    *,
    data: Annotated[
        Path, typer.Option(rich_help_panel=STATE, help="Folder of uploads, results and the jobs' state.")
    ] = Path("farm-service"),
    database: Annotated[
        str,
        typer.Option(
            envvar="FARM_DATABASE",
            rich_help_panel=STATE,
            help="postgresql://USER@HOST/NAME (default: SQLite in the folder).",
        ),
    ] = "",
    host: Annotated[str, typer.Option(rich_help_panel=HTTP, help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, rich_help_panel=HTTP, help="0 takes a free one.")] = 8000,
    prefix: Annotated[
        str, typer.Option(rich_help_panel=HTTP, help="The path that a proxy puts before everything, as /farm.")
    ] = "",
    allow_url: Annotated[
        list[str] | None,
        typer.Option(rich_help_panel=STATE, help="Jobs may read s3:// addresses that begin so; can be given again."),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Jobs that run at the same time.")] = 4,
    running: Running,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error below its line.")] = False,
) -> None:
    """Take jobs over HTTP on this machine: a page, an API and all behind them. Prints where, and a first key."""
    del debug
    from farm.api.embedded import KEY_FILE, ServeSpec, serving, wait_for_end  # noqa: PLC0415 - other commands start without HTTP

    if prefix and (not prefix.startswith("/") or prefix.endswith("/")):
        raise typer.BadParameter(f"--prefix {prefix!r}: write it as /farm")
    for url in allow_url or []:
        if not url.startswith("s3://") or url.count("/") < 3:
            raise InputError("is no beginning of an address in a bucket", where=url, hint="write s3://bucket/prefix/")
    spec = ServeSpec(data, database, host, port, prefix, tuple(allow_url or ()), jobs)
    fresh = not (data / KEY_FILE).exists()
    with serving(spec, run_options(running), load_settings()) as service:
        say(f"the service is at {service.url}")
        if service.key_file.is_file():
            # Shown once, to whoever looks at the first start; later ones may be read in a log.
            told = f": {service.key_file.read_text().strip()}" if fresh and sys.stderr.isatty() else ""
            say(f"a key for it is in {service.key_file}{told}")
        wait_for_end(say)
