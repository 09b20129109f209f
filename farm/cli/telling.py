"""What a command tells while it runs a job: on stderr for a person or in JSON, and to those who measure."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from farm.cli.out import say
from farm.listeners import Together
from farm.ports import Progress
from farm.settings import RunOptions, traces_wanted
from farm.watching.jsonlog import speaks_json

if TYPE_CHECKING:
    from farm.watching.metrics import Metrics


@dataclass(frozen=True)
class Telling:
    """Who listens to the job. `metrics` counts it where that is asked for."""

    job: str
    told: set[str]  # notes that were given while it ran
    progress: Progress
    metrics: Metrics | None

    def notes(self, notes: Sequence[str]) -> None:
        """What the user should know, but for what was told already."""
        for note in notes:
            if note not in self.told:
                self.say(f"note: {note}")

    def say(self, text: str) -> None:
        """A line about the job."""
        say(text, job=self.job)


@contextmanager
def telling(run: RunOptions, job: str, *, count: bool = False) -> Iterator[Telling]:
    """Those who listen to the job that makes `job`, until the context is left. `InputError` where none can.

    With `count` its figures are among the listeners; otherwise whoever runs the job counts it in `metrics`.
    """
    from farm.progress import StderrProgress  # noqa: PLC0415
    from farm.watching.logs import JsonProgress  # noqa: PLC0415
    from farm.watching.metrics import counted  # noqa: PLC0415

    with ExitStack() as stack:
        voice = JsonProgress(job) if speaks_json() else StderrProgress(sys.stderr)
        stack.callback(voice.close)
        metrics = stack.enter_context(measured(run, voice))
        listeners: list[Progress] = [voice]
        if count:
            listeners += stack.enter_context(counted(metrics))
        if traces_wanted():
            from farm.watching.spans import Spans, collector  # noqa: PLC0415 - loads OpenTelemetry

            listeners.append(stack.enter_context(Spans(job, collector(), voice.note)))
        yield Telling(job, voice.told, Together(*listeners), metrics)


@contextmanager
def measured(run: RunOptions, voice: Progress) -> Iterator[Metrics | None]:
    """Figures on a page of this process where `run` asks for one, and on Ray's pages wherever there is Ray."""
    from farm.watching.metrics import Metrics  # noqa: PLC0415

    if run.metrics is None and run.local:
        yield None
        return
    from farm.watching.instruments import Page, PrometheusInstruments, RayInstruments, Several, parse_address  # noqa: PLC0415

    near = PrometheusInstruments()
    far = [] if run.local else [RayInstruments()]
    if run.metrics is None:
        yield Metrics(Several(far))
        return
    page = Page(*parse_address(run.metrics), near.registry)
    try:
        voice.note(f"metrics at {page.address}")
        yield Metrics(Several([near, *far]))
    finally:
        page.close()
