"""`farm cluster`: the files that describe clusters, looked at before they cost money."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from core import codec
from farm.cli.out import put
from farm.clusterfile.check import findings, read

app = typer.Typer(no_args_is_help=True, help="Check the files that describe clusters.")


@app.callback()
def cluster() -> None:
    """Check the files that describe clusters."""


@app.command()
def check(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="cluster.yaml, or a KubeRay manifest.")],
    as_shipped: Annotated[
        bool, typer.Option("--as-shipped", help="Names that you are to write there yourself may be missing.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> None:
    """Hold files for `ray up` or KubeRay to Ray's schema and to what keeps a farm safe, cheap and alive.

    Talks to no cloud. Exit code 2 when something is to be mended.
    """
    found = {str(path): findings(read(path), str(path)) for path in files}
    wrong = {name: [one for one in some if not (as_shipped and one.fill_in)] for name, some in found.items()}
    if json:
        put(codec.encode({"ok": not any(wrong.values()), "findings": wrong}).decode() + "\n")
    else:
        for name, some in wrong.items():
            put("".join(f"{name}: {one}\n" for one in some) or f"{name}: nothing to mend\n")
    if any(wrong.values()):
        raise typer.Exit(2)
