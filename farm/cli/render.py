"""`farm render`: make one film."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from core import codec as json_codec
from core.errors import StorageError
from core.records import JobSpec
from farm.cli.cost_options import CostOptions, check_costs, tell_estimate
from farm.cli.expand import expand
from farm.cli.film_options import FILM, FilmOptions, job_spec
from farm.cli.out import put
from farm.cli.running import RUN, Running, run_options
from farm.paths import place, usable_path
from farm.settings import RunOptions, load_settings

EPILOGUE = (
    "Environment: FARM_MODEL_CACHE, folder of models; FARM_GPU_MEM_LIMIT, what one model may take of a GPU's memory "
    "(8G); FARM_ENGINE_CACHE, where machines share TensorRT engines; RAY_ADDRESS, the cluster if --address names none; "
    "FARM_PRICES, a price table."
)


@expand
def render(
    target: Annotated[Path, typer.Argument(parser=place, metavar="TARGET", help="The film, a file or s3://.")],
    *,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", parser=place, metavar="PATH", help="The film to make; its ending says the container."
        ),
    ],
    film: FilmOptions,
    running: Running,
    costs: CostOptions,
    store: Annotated[
        Path | None,
        typer.Option(
            parser=place,
            metavar="PATH",
            rich_help_panel=RUN,
            help="Folder, or s3://bucket/prefix, for the job's state (default: OUTPUT.farm, beside the output).",
        ),
    ] = None,
    quality: Annotated[
        bool,
        typer.Option(
            "--quality", rich_help_panel=FILM, help="Measure how good the faces are; the page is OUTPUT.quality/."
        ),
    ] = False,
    write_job: Annotated[
        Path | None,
        typer.Option(
            parser=place,
            metavar="PATH",
            rich_help_panel=RUN,
            help="Render nothing: write what this command says into a job file, for `render.py --job PATH`.",
        ),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", rich_help_panel=RUN, help="Keep the state after success.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON object on stdout.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error below its line.")] = False,
) -> None:
    """Render TARGET with the face of --source, or by a --cast, into OUTPUT. Run the same command again to resume."""
    del debug  # farm.cli.main reads it
    run = run_options(running)
    spec = job_spec(target, output, film)
    if store is not None:
        usable_path(store, "choose another with --store")
    check_costs(costs)
    run = replace(run, store=store, keep=keep, quality=quality, prices=costs.prices, max_cost=costs.max_cost)
    if costs.estimate:
        if write_job is not None:
            raise typer.BadParameter("--estimate and --write-job exclude each other")
        tell_estimate(spec, run, costs, as_json=json)
        return
    if write_job is not None:
        from farm.jobfile import JobFile  # noqa: PLC0415 - only now
        from farm.jobfile import write_job as put_job  # noqa: PLC0415

        put_job(JobFile(spec, run), write_job)
        return
    carry_out(spec, run, as_json=json)


def carry_out(spec: JobSpec, run: RunOptions, *, as_json: bool) -> None:
    """Run the job, with progress, notes and the summary on stderr and the report on stdout.

    `StorageError` where stdout does not take the report; the film is published then.
    """
    from farm.cli.telling import telling  # noqa: PLC0415
    from farm.driver import run_job  # noqa: PLC0415 - other commands start without the media core
    from farm.report import summary  # noqa: PLC0415

    # Ray prints notices of dead workers on stdout, whatever its log settings; stdout is for the report alone.
    with (
        telling(run, spec.output) as told,
        Path(os.devnull).open("w") as nowhere,
        contextlib.redirect_stdout(nowhere),
    ):
        report = run_job(spec, run, load_settings(), told.progress, metrics=told.metrics)
    told.notes(report.notes)
    told.say(summary(report))
    if report.quality is not None:
        told.say(f"how good it is: {report.quality}")
    if not as_json:
        return
    try:
        put(json_codec.encode(report).decode() + "\n")
    except StorageError as error:
        raise StorageError(
            f"the film is finished and verified, but not its report: {error.what}",
            where=spec.output,
            hint="it needs no second run",
        ) from error
