"""The options that say how a command is run, the same for all commands that use renderers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import typer

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
    if running.local and (running.workers is not None or running.address is not None):
        raise typer.BadParameter("--local runs in this process: leave out --workers and --address")
    return RunOptions(
        local=running.local,
        workers=running.workers,
        address=running.address,
        device=running.device.value,
        metrics=running.metrics_port,
    )
