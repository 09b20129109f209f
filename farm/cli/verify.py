"""`farm verify`: the checks that stand between a rendered film and its name, on any two files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from core import codec
from core.records import VerifyReport
from farm.cli.out import put
from farm.paths import place, usable_path

WIDTH = 60


def table(report: VerifyReport) -> list[str]:
    """One line a check: name, ok or FAILED, expected and got."""
    names = max((len(check.name) for check in report.checks), default=0)
    lines = []
    for check in report.checks:
        said = shorten(check.got) if check.ok else f"expected {check.expected}, got {check.got}"
        lines.append(f"{check.name:<{names}}  {'ok' if check.ok else 'FAILED':<6}  {said}".rstrip())
    passed = sum(check.ok for check in report.checks)
    lines.append(f"{passed} of {len(report.checks)} checks passed")
    return lines


def shorten(text: str) -> str:
    return text if len(text) <= WIDTH else text[: WIDTH - 3] + "..."


def verify(
    source: Annotated[Path, typer.Argument(parser=place, metavar="SRC", help="The film as it was, a file or s3://.")],
    output: Annotated[Path, typer.Argument(parser=place, metavar="OUT", help="The film as it was rendered.")],
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error below its line.")] = False,
) -> None:
    """Compare OUT with SRC: timestamps, copied streams, colour, frames. Exit code 4 when a check fails."""
    del debug
    usable_path(source, "check the path")
    usable_path(output, "check the path")
    from core.media.verify import verify_film  # noqa: PLC0415 - loads the media core

    report = verify_film(source, output)
    if json:
        put(codec.encode({"ok": report.ok, "checks": report.checks}).decode() + "\n")
    else:
        put("\n".join(table(report)) + "\n")
    if not report.ok:
        raise typer.Exit(4)
