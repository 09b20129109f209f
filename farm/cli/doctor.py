"""`farm doctor`: what this machine can really do, as a table or as JSON."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from core import codec
from farm.cli.out import put
from farm.doctor import examine
from farm.settings import load_settings

MARKS = {"works": "[green]works[/]", "absent": "[yellow]absent[/]", "broken": "[red]broken[/]"}


class Need(StrEnum):
    """The keys of farm.doctor.NEEDS."""

    cuda = "cuda"
    tensorrt = "tensorrt"
    nvenc = "nvenc"
    nvdec = "nvdec"


def doctor(
    json: Annotated[bool, typer.Option("--json", help="Print the findings as one JSON object on stdout.")] = False,
    folder: Annotated[Path, typer.Option(help="Folder whose disk is tried.")] = Path(),
    ray: Annotated[bool, typer.Option(help="Start a local Ray and run a task on it (about 10 s).")] = True,
    need: Annotated[
        list[Need] | None, typer.Option(help="Also broken where this is absent: a node of a farm is checked so.")
    ] = None,
) -> None:
    """Try providers, encoders, decoders, disk, models and Ray. Exit code 4 when something needed is broken."""
    settings = load_settings()
    report = examine(folder, settings.model_cache, with_ray=ray, gpu_mem_limit_bytes=settings.gpu_mem_limit_bytes)
    report = report.needing(one.value for one in need or ())
    if json:
        put(codec.encode({"ok": report.ok, "findings": report.findings}).decode() + "\n")
    else:
        table = Table("tried", "what", "result", "detail", box=None)
        for finding in report.findings:
            table.add_row(finding.group, finding.name, MARKS[finding.state], finding.detail)
        console = Console()
        Console(width=None if console.is_terminal else 160).print(table)
    if not report.ok:
        raise typer.Exit(4)
