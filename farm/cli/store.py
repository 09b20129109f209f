"""`farm store`: what jobs left in folders and buckets, and the end of what nobody needs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from core import codec
from core.errors import InputError
from farm.cli.out import put
from farm.paths import place, usable_path
from farm.store.manage import Expired, FoundStore, KeptStore, expire, find_stores, kept, would_expire

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
MANY = 1000

app = typer.Typer(name="store", help="What jobs keep in folders and buckets, and its end.", no_args_is_help=True)
Place = Annotated[
    Path, typer.Argument(parser=place, metavar="PLACE", help="A store, or a folder or s3://bucket/prefix of stores.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


def span_s(text: str) -> float:
    """Seconds of a span such as 7d, 12h, 30m or 0."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw]?)", text.strip())
    if found is None:
        raise typer.BadParameter(f"--older {text!r}: write a span such as 7d, 12h or 30m")
    return float(found[1]) * UNITS[found[2] or "s"]


def span_text(seconds: float) -> str:
    """The span in its largest unit that fills one: 3 d, 5 h, 2 min, 9 s."""
    for name, unit in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"


def bytes_text(size: int) -> str:
    """1.5 GB, 20 kB, 7 B."""
    value, names = float(size), ["B", "kB", "MB", "GB", "TB", "PB"]
    while value >= MANY and len(names) > 1:
        value, names = value / MANY, names[1:]
    return f"{value:.0f} {names[0]}" if names[0] == "B" else f"{value:.1f} {names[0]}"


@app.command("list")
def list_stores(where: Place, json: AsJson = False) -> None:
    """Every job below PLACE: finished or not, its finished segments, what it holds, since when nothing changed."""
    usable_path(where, "check the path")
    found = [kept(one) for one in find_stores(where)]
    if json:
        put(codec.encode({"stores": found}).decode() + "\n")
        return
    put("".join(f"{line}\n" for one in found for line in lines(one)) or f"{where}: no store\n")


def lines(found: KeptStore) -> list[str]:
    """A store for a person: a line of its own, and one a job."""
    out = [f"{found.place}: {bytes_text(found.size_bytes)}"]
    for job in found.jobs:
        what = f"{job.orders} segments done, {bytes_text(job.size_bytes)}, unchanged for {span_text(job.idle_s)}"
        out.append(f"  {job.output or job.owner}  {job.state}, {what}")
    if found.unclaimed_bytes:
        out.append(f"  {bytes_text(found.unclaimed_bytes)} that no job says it uses")
    return out


@app.command("expire")
def expire_stores(
    where: Place,
    older: Annotated[str, typer.Option(help="Only what was finished at least so long ago: 7d, 12h, 30m, 0.")] = "7d",
    unfinished: Annotated[
        bool,
        typer.Option("--unfinished", help="Also jobs that never finished, if nothing of them changed for so long."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and change nothing.")] = False,
    json: AsJson = False,
) -> None:
    """Remove what only jobs use that finished long ago. Casts stay, and what a job uses that is not finished."""
    older_s = span_s(older)
    usable_path(where, "check the path")
    gone = [_ended(one, where, older_s, unfinished, dry_run) for one in find_stores(where)]
    if json:
        put(codec.encode({"dry_run": dry_run, "stores": gone}).decode() + "\n")
        return
    some = [one for one in gone if one.owners or one.busy]
    put("".join(f"{told(one, dry_run=dry_run)}\n" for one in some) or f"{where}: nothing to remove\n")


def _ended(found: FoundStore, where: Path, older_s: float, unfinished: bool, dry_run: bool) -> Expired:
    """One of many stores in which a run works is left alone; the one that was named is not free, which is told."""
    try:
        return (would_expire if dry_run else expire)(found, older_s, unfinished=unfinished)
    except InputError:
        if found.place == where:
            raise
        return Expired(str(found.place), busy=True)


def told(gone: Expired, *, dry_run: bool) -> str:
    if gone.busy:
        return f"{gone.place}: a run works there, left as it is"
    jobs = f"{len(gone.owners)} job{'s' if len(gone.owners) > 1 else ''}"
    return f"{gone.place}: {jobs} {'would be ' if dry_run else ''}removed, {bytes_text(gone.freed_bytes)}"
