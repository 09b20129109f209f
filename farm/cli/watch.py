"""`farm watch`: a job that runs, or ran last, as a live grid on a terminal, as lines in a pipe, or as JSON."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core import codec
from core.records import JobStatus
from farm.cli.expand import expand
from farm.cli.out import put, say
from farm.cli.remote import Address, is_remote, watch_remote
from farm.paths import place, usable_path

if TYPE_CHECKING:
    from rich.console import Console

    from farm.watching.follow import Verdict

NEAR_S, FAR_S = 0.5, 2.0  # between two looks at a folder, and at a bucket
LINE_S = 5.0
SILENT_S = 10.0  # from when on the grid says that nothing was heard


@expand
def watch(
    job: Annotated[
        str,
        typer.Argument(
            metavar="JOB", help="The job's output, or its store: a path or s3://; or the id of a service's job."
        ),
    ],
    *,
    store: Annotated[
        Path | None, typer.Option(parser=place, metavar="PLACE", help="Where the job's state is, as given to render.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the job to begin.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print each new status as one line of JSON on stdout.")] = False,
    address: Address,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error below its line.")] = False,
) -> None:
    """Watch JOB until it ends. The exit code is the job's: 0 when it is finished, 4 when it failed and can resume."""
    del debug
    if is_remote(job):
        watch_remote(job, address, as_json=json)
        return
    for named in (place(job), store):
        if named is not None:
            usable_path(named, "check the path")
    from rich.console import Console  # noqa: PLC0415

    console = Console()
    if json:
        verdict = follow(job, store, wait, Json().show)
    elif console.is_terminal and not console.is_dumb_terminal:
        verdict = live(console, job, store, wait)
    else:
        verdict = follow(job, store, wait, Lines().show)
    # stdout is for the job; whatever else is to be said goes where every command says it
    say(verdict.line)
    if verdict.code:
        raise typer.Exit(verdict.code)


def follow(job: str, store: Path | None, wait: bool, show: Callable[[JobStatus, float], None]) -> Verdict:
    """Look again and again until the job has ended; `show` gets each look, and how long nothing was heard."""
    from farm.watching.follow import Follower  # noqa: PLC0415 - the store
    from farm.watching.place import find_job, is_made  # noqa: PLC0415

    follower = Follower(is_made, wait=wait)
    told, waits_for = find_job(job, store), ""
    while True:
        now_s = time.monotonic()
        status = told.read()
        if follower.last is None:
            # after the status: who begins between the two questions is seen
            age_s, holder = told.age_s() if status is not None else 0.0, told.run_here()
            verdict = follower.hear(status, now_s, age_s, holder)
        else:
            verdict = follower.hear(status, now_s)
        if follower.waits_for != waits_for:
            waits_for = follower.waits_for
            if waits_for:
                say(f"{job}: waiting for {waits_for}")
        if follower.last is not None:
            show(follower.last, follower.quiet_for_s(now_s))
        if verdict is not None:
            return verdict
        time.sleep(FAR_S if told.far else NEAR_S)
        if follower.last is None:
            told = find_job(job, store)


class Json:
    """Each status once, as one line."""

    def __init__(self) -> None:
        self._shown: tuple[str, int] | None = None

    def show(self, status: JobStatus, quiet_s: float) -> None:
        del quiet_s
        if (status.run, status.sequence) != self._shown:
            self._shown = status.run, status.sequence
            put(codec.encode(status).decode() + "\n")


class Lines:
    """A line when the stage changes, when something is to be noted, and every few seconds while a map runs."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._stage: tuple[str, str] | None = None
        self._text = ""
        self._shown_s = 0.0
        self._noted: set[str] = set()

    def show(self, status: JobStatus, quiet_s: float) -> None:
        from farm.watching.grid import line  # noqa: PLC0415

        for note in status.notes:
            if note not in self._noted:
                self._noted.add(note)
                put(f"note: {note}\n")
        text = line(status)
        if quiet_s >= SILENT_S:
            text = f"nothing heard of the driver for {quiet_s:.0f} s"
        stage, now_s = (status.run, status.stage), self._clock()
        if stage != self._stage or (text != self._text and now_s - self._shown_s >= LINE_S):
            self._stage, self._text, self._shown_s = stage, text, now_s
            put(f"{text}\n")


def live(console: Console, job: str, store: Path | None, wait: bool) -> Verdict:
    """The grid, drawn anew at each look; its last state stays on the terminal."""
    from rich.live import Live  # noqa: PLC0415

    from farm.watching.grid import screen  # noqa: PLC0415

    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as drawn:

        def show(status: JobStatus, quiet_s: float) -> None:
            silent_s = quiet_s if quiet_s >= SILENT_S and status.state == "running" else 0.0
            drawn.update(screen(status, console.width, console.height, silent_s), refresh=True)

        return follow(job, store, wait, show)
