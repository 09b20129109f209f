"""The options that say how a command is run, the same for all commands that use renderers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import typer

from farm.resources import resources_of
from farm.settings import RunOptions

RUN = "How it is run"


class Device(StrEnum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    tensorrt = "tensorrt"


# farm.cli.main reads it, so that what is said before is JSON too
LogJson = Annotated[
    bool,
    typer.Option("--log-json", rich_help_panel=RUN, help="Say things on stderr in JSON, a line each (FARM_LOG=json)."),
]


@dataclass(frozen=True)
class Running:
    """Where renderers run, and how many; see farm.cli.expand."""

    workers: Annotated[
        int | None,
        typer.Option(min=1, rich_help_panel=RUN, help="Renderers (default: one a GPU, else what the cores can feed)."),
    ] = None
    max_workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            rich_help_panel=RUN,
            help="At most so many renderers, on a cluster that brings up nodes (default: what it may bring up).",
        ),
    ] = None
    worker_resources: Annotated[
        str | None,
        typer.Option(
            metavar="JSON",
            rich_help_panel=RUN,
            help="""What Ray sets aside for a renderer, as {"GPU": 1} (default: a GPU where there are any).""",
        ),
    ] = None
    device: Annotated[
        Device,
        typer.Option(rich_help_panel=RUN, help="Where models run; auto takes the best that works, others insist."),
    ] = Device.auto
    address: Annotated[
        str | None,
        typer.Option(rich_help_panel=RUN, help="A running Ray cluster, or auto (default: one of this run's own)."),
    ] = None
    local: Annotated[bool, typer.Option("--local", rich_help_panel=RUN, help="Run in this process, without Ray.")] = (
        False
    )
    metrics_port: Annotated[
        str | None,
        typer.Option(
            metavar="[HOST:]PORT",
            rich_help_panel=RUN,
            help="Show metrics for Prometheus at http://HOST:PORT/metrics (default HOST: this machine alone).",
        ),
    ] = None
    log_json: LogJson = False


def run_options(running: Running) -> RunOptions:
    """How to run, checked: --local is refused beside what starts or joins a cluster."""
    of_a_cluster = (running.workers, running.address, running.max_workers, running.worker_resources)
    if running.local and any(option is not None for option in of_a_cluster):
        raise typer.BadParameter("--local runs in this process: leave out what is said of workers and clusters")
    if running.workers is not None and running.max_workers is not None:
        raise typer.BadParameter("--workers is a fixed number: leave out --max-workers, or --workers")
    return RunOptions(
        local=running.local,
        workers=running.workers,
        address=running.address,
        max_workers=running.max_workers,
        worker_resources=resources_of(running.worker_resources, "--worker-resources"),
        device=running.device.value,
        metrics=running.metrics_port,
    )
