"""The options that say how a command is run, the same for all commands that use renderers."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

RUN = "How it is run"


class Device(StrEnum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    tensorrt = "tensorrt"


Workers = Annotated[
    int | None,
    typer.Option(min=1, rich_help_panel=RUN, help="Renderers (default: one a GPU, else what the cores can feed)."),
]
RunsOn = Annotated[
    Device, typer.Option(rich_help_panel=RUN, help="Where models run; auto takes the best that works, others insist.")
]
Address = Annotated[
    str | None,
    typer.Option(rich_help_panel=RUN, help="A running Ray cluster, or auto (default: one of this run's own)."),
]
Local = Annotated[bool, typer.Option("--local", rich_help_panel=RUN, help="Run in this process, without Ray.")]


def check_local(local: bool, workers: int | None, address: str | None) -> None:
    """Refuse --local beside what starts or joins a cluster."""
    if local and (workers is not None or address is not None):
        raise typer.BadParameter("--local runs in this process: leave out --workers and --address")
