"""`farm serve`: the service on one machine."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from farm.cli.expand import expand
from farm.cli.out import say
from farm.cli.running import Running, run_options
from farm.paths import place
from farm.settings import load_settings, size_bytes

HTTP, STATE, HOOKS, LIMITS = "HTTP", "What is kept", "Webhooks", "Limits"
DATA = "farm-service"


def root(text: str | Path) -> Path:
    """A folder or a prefix; typer hands the default over as well."""
    return place(str(text))


@dataclass(frozen=True)
class State:
    """Where a service keeps what it knows; see farm.cli.expand."""

    data: Annotated[
        Path,
        typer.Option(
            parser=root,
            metavar="FOLDER|S3://",
            rich_help_panel=STATE,
            help="Uploads, results and the jobs' state: a folder, or s3://BUCKET/PREFIX.",
        ),
    ] = Path(DATA)
    database: Annotated[
        str,
        typer.Option(
            envvar="FARM_DATABASE",
            show_envvar=True,
            rich_help_panel=STATE,
            help="postgresql://USER@HOST/NAME, its password in PGPASSWORD, or sqlite:////FOLDER/farm.db "
            "(default: SQLite in the folder).",
        ),
    ] = ""
    print_key: Annotated[
        bool,
        typer.Option(
            "--print-key",
            rich_help_panel=STATE,
            help="Print the first key, whoever reads it (default: at the first start, on a terminal).",
        ),
    ] = False


@dataclass(frozen=True)
class Keeping:
    """What a service keeps, and for how long."""

    db_connections: Annotated[
        int, typer.Option(min=2, rich_help_panel=STATE, help="Connections to the database, at most.")
    ] = 20
    keep_jobs: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="DAYS",
            rich_help_panel=STATE,
            help="Erase a job, its films and faces, so many days after its end (default: never).",
        ),
    ] = None
    keep_uploads: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="DAYS",
            rich_help_panel=STATE,
            help="Erase an upload that no job uses after so many days (default: never).",
        ),
    ] = None
    keep_audit: Annotated[
        str,
        typer.Option(
            metavar="DAYS|none",
            rich_help_panel=STATE,
            help="Remove lines of the audit after so many days; none keeps them for ever.",
        ),
    ] = "730"
    allow_url: Annotated[
        list[str] | None,
        typer.Option(
            metavar="S3://BUCKET/PREFIX/",
            rich_help_panel=STATE,
            help="Jobs may read addresses that begin so; can be given again.",
        ),
    ] = None
    bucket_endpoint: Annotated[
        str,
        typer.Option(
            metavar="URL",
            rich_help_panel=STATE,
            help="The S3 server as clients reach it, where the service reaches it by another name.",
        ),
    ] = ""


@dataclass(frozen=True)
class Listening:
    """Where a service listens."""

    host: Annotated[str, typer.Option(rich_help_panel=HTTP, help="Address to listen at.")] = "127.0.0.1"
    port: Annotated[int, typer.Option(min=0, max=65535, rich_help_panel=HTTP, help="0 takes a free one.")] = 8000
    prefix: Annotated[
        str, typer.Option(rich_help_panel=HTTP, help="The path that a proxy puts before everything, as /farm.")
    ] = ""


@dataclass(frozen=True)
class Limits:
    """How much a service takes on."""

    jobs: Annotated[int, typer.Option(min=1, rich_help_panel=LIMITS, help="Jobs that run at the same time.")] = 4
    max_upload: Annotated[
        str, typer.Option(metavar="SIZE", rich_help_panel=LIMITS, help="The largest file that is taken.")
    ] = "512G"
    quota: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=NUMBER",
            rich_help_panel=LIMITS,
            help="A quota of the first tenant: segments, jobs_running, jobs_waiting, gpu_s, stored_bytes (500G), "
            "film_s; none is without limit. Can be given again; farm tenant sets those of others.",
        ),
    ] = None


@dataclass(frozen=True)
class Hooks:
    """Which addresses webhooks may have beside public https ones."""

    webhook_network: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CIDR",
            rich_help_panel=HOOKS,
            help="Webhooks may call addresses in this network, by http too; can be given again.",
        ),
    ] = None
    webhook_ca: Annotated[
        str,
        typer.Option(
            envvar="FARM_WEBHOOK_CA",
            show_envvar=True,
            metavar="FILE",
            rich_help_panel=HOOKS,
            help="Certificates (PEM) of authorities that are trusted beside the system's.",
        ),
    ] = ""


@expand
def serve(
    *,
    state: State,
    keeping: Keeping,
    listening: Listening,
    limits: Limits,
    hooks: Hooks,
    running: Running,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error below its line.")] = False,
) -> None:
    """Take jobs over HTTP on this machine: a page, an API and all behind them. Prints where, and a first key."""
    del debug
    from farm.api.embedded import ServeSpec, serving, wait_for_end  # noqa: PLC0415 - other commands start without HTTP
    from farm.api.heap import settle  # noqa: PLC0415
    from farm.api.rules import check_allowed, check_prefix, days_of, quotas_of, retention_of  # noqa: PLC0415
    from farm.service.guard import rules_of  # noqa: PLC0415

    spec = ServeSpec(
        state.data,
        state.database,
        keeping.db_connections,
        listening.host,
        listening.port,
        check_prefix(listening.prefix),
        check_allowed(keeping.allow_url or ()),
        keeping.bucket_endpoint,
        size_bytes("--max-upload", limits.max_upload),
        limits.jobs,
        rules_of(hooks.webhook_network or (), hooks.webhook_ca),
        retention_of(keeping.keep_jobs, keeping.keep_uploads, days_of(keeping.keep_audit)),
        quotas_of(limits.quota or ()),
    )
    with serving(spec, run_options(running), load_settings()) as service:
        say(f"the service is at {service.url}")
        if service.metrics:
            say(f"its metrics are at {service.metrics}")
        if service.key is not None:
            # Shown once, to whoever looks at the first start: what is no terminal may be a log, which others read.
            shown = state.print_key or (service.fresh and sys.stderr.isatty())
            told = f": {service.key}" if shown else ", which its owner can read; --print-key prints it"
            say(f"a key for it is in {service.key_file}{told}")
        settle()
        wait_for_end(say)
