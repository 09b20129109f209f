"""The options that say what a film may cost, and the words of an estimate."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from core import codec
from core.records import JobSpec
from farm.cli.out import put
from farm.cli.parse import duration
from farm.paths import place, usable_path
from farm.settings import RunOptions, load_settings

COST = "What it costs"


@dataclass(frozen=True)
class CostOptions:
    """Prices, a budget, and the question what it would cost; see farm.cli.expand."""

    max_cost: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="MONEY",
            rich_help_panel=COST,
            help="The most that all runs of this job may cost together, e.g. 12.50, in the price table's currency.",
        ),
    ] = None
    prices: Annotated[
        Path | None,
        typer.Option(
            parser=place,
            metavar="FILE",
            rich_help_panel=COST,
            help="A price table of your own, see docs/cost.md (default: FARM_PRICES, before the one of the package).",
        ),
    ] = None
    estimate: Annotated[
        bool,
        typer.Option("--estimate", rich_help_panel=COST, help="Render nothing: say what it would cost, as a span."),
    ] = False
    within: Annotated[
        float | None,
        typer.Option(
            parser=duration,
            metavar="TIME",
            rich_help_panel=COST,
            help="With --estimate: how many nodes, of which type, finish it in that time, as 8h or 90m.",
        ),
    ] = None
    cluster: Annotated[
        Path | None,
        typer.Option(
            parser=place,
            metavar="FILE",
            rich_help_panel=COST,
            help="With --estimate: a cluster.yaml, for its types and how many nodes of each there may be.",
        ),
    ] = None


def check_costs(options: CostOptions) -> None:
    """`typer.BadParameter` for what is no sum of money, and for parts of a question that is not asked."""
    if options.within is not None and not options.estimate:
        raise typer.BadParameter("--within asks for an estimate: add --estimate")
    if options.cluster is not None and not options.estimate:
        raise typer.BadParameter("--cluster says which nodes may come, for an estimate: add --estimate")
    if options.max_cost is not None and not options.max_cost < float("inf"):
        raise typer.BadParameter(f"--max-cost {options.max_cost}: write a number, e.g. 12.50")
    if options.prices is not None:
        usable_path(options.prices, "choose another with --prices")


def tell_estimate(spec: JobSpec, run: RunOptions, costs: CostOptions, *, as_json: bool) -> None:
    """Work out what the job would cost, and print it."""
    from farm.cost.job import estimate_job  # noqa: PLC0415 - other commands start without the media core
    from farm.cost.texts import estimate_page  # noqa: PLC0415
    from farm.progress import StderrProgress  # noqa: PLC0415

    progress = StderrProgress(sys.stderr)
    try:
        report = estimate_job(spec, run, load_settings(), progress, within_s=costs.within, cluster=costs.cluster)
    finally:
        progress.close()
    put(codec.encode(report).decode() + "\n" if as_json else "\n".join(estimate_page(report)) + "\n")
