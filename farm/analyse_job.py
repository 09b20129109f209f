"""`farm analyse`, from film to folder: index, plan, analyse, keep. What was done before is found there again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from actors.drive import Terms
from core.errors import InputError
from core.media.plan import plan_segments
from core.media.stamp import unchanged
from core.records import Analysis, AnalysisReport, OnDamage
from farm import stages
from farm.analysis import SEGMENT_S, Looking, analyse_map, looking_models, save_analysis
from farm.artifacts import Store
from farm.castdir import open_folder, refuse_other_film
from farm.castguard import refuse_change
from farm.desk import Clock, Desk, make_pool
from farm.listeners import Together
from farm.ports import Pool, Progress
from farm.report import merge_damage, merge_models
from farm.settings import RunOptions, Settings
from farm.versions import code_hash, versions
from farm.watching.status import Status, StatusFile

NO_FACES = "no face was found in the film"


@dataclass(frozen=True)
class AnalyseSpec:
    """Which film to look at, how, and the folder in which that is kept.

    `save`: analysis.json is written as soon as there is one; otherwise whoever asked does that.
    """

    target: Path
    folder: Path
    looking: Looking
    on_damage: OnDamage = "fail"
    save: bool = True


@dataclass(frozen=True)
class Analysed:
    """A film that was looked at; `store` holds the files of its `analysis`."""

    film: stages.Film
    analysis: Analysis
    store: Store
    report: AnalysisReport


@contextmanager
def analysed(
    spec: AnalyseSpec,
    run: RunOptions,
    settings: Settings,
    progress: Progress,
    *,
    pool: Pool | None = None,
    terms: Terms = Terms(),  # noqa: B008 - frozen
) -> Iterator[Analysed]:
    """The analysis of the film, in its folder, which is locked as long as the context is entered.

    A `pool` that is given is used under `terms`, beside other jobs, and stays open; without one, there is an own one.
    Raises FarmError; what was finished before is kept, and the same call goes on from there. `InputError` where a cast
    in the folder would be made useless, before the film is looked at if that can be told.
    """
    target, folder = spec.target.absolute(), spec.folder.absolute()
    models = looking_models(spec.looking, settings.model_cache)
    started_s = time.monotonic()
    with ExitStack() as opened:
        store = opened.enter_context(open_folder(folder, progress.note))
        status = Status(str(target), str(folder), job=terms.name, run=store.run)
        opened.enter_context(StatusFile(store, status))
        used = pool or make_pool(run, settings, [name for name, _ in models])
        clock = Clock(Together(progress, status))
        desk = Desk(store, used, clock, code_hash(), stop_on_damage=spec.on_damage == "fail", terms=terms)
        with desk.clock.stage("index"):
            film = stages.index_stage(store, target, code=desk.code)
            stages.check_length(film, run.longest_s)
        try:
            refuse_other_film(folder, film.index.sha256)
        except InputError:
            store.discard(film.name)
            raise
        try:
            with unchanged(film.path, film.stamp):
                if desk.stop_on_damage:
                    stages.refuse_index_damage(film, plan_segments(film.index, SEGMENT_S))
                if spec.save:
                    refuse_change(folder, store, film, spec.looking, code=desk.code)
                analysis, mapped = analyse_map(
                    film, spec.looking, models, lambda name, orders: desk.run_map(film, name, orders), code=desk.code
                )
        finally:
            if pool is None:
                used.close()
        if spec.save:
            refuse_change(folder, store, film, spec.looking, analysis, code=desk.code)
            save_analysis(folder, analysis)
        seconds = time.monotonic() - started_s
        yield Analysed(
            film, analysis, store, report_of(spec, film, analysis, mapped, desk.clock.seconds, seconds, used.workers)
        )


def report_of(
    spec: AnalyseSpec,
    film: stages.Film,
    analysis: Analysis,
    mapped: stages.Mapped,
    seconds_by_stage: dict[str, float],
    seconds: float,
    workers: int,
) -> AnalysisReport:
    """What was found and what it took; frames a second are over the whole run, start-up included."""
    receipts = analysis.receipts
    uses = merge_models([receipt.models for receipt in receipts])
    faces = sum(receipt.faces for receipt in receipts)
    notes = [*film.index.notes]
    notes += [f"model {use.id} has no published hash: sha256 {use.sha256}" for use in uses if not use.listed]
    notes += [f"model {use.id} stepped down for want of memory: {', '.join(use.steps)}" for use in uses if use.steps]
    notes += [] if faces else [NO_FACES]
    return AnalysisReport(
        target=str(spec.target),
        folder=str(spec.folder),
        film_sha256=film.index.sha256,
        detector=analysis.detector,
        recogniser=analysis.recogniser,
        detect_every=analysis.detect_every,
        frames=analysis.frames,
        frames_with_faces=sum(receipt.frames_with_faces for receipt in receipts),
        faces=faces,
        segments=len(receipts),
        segments_analysed=len(receipts) - mapped.reused,
        segments_reused=mapped.reused,
        seconds_by_stage=seconds_by_stage,
        seconds=round(seconds, 3),
        frames_per_second=round(analysis.frames / seconds, 3) if seconds > 0 else 0.0,
        workers=workers,
        workers_lost=mapped.deaths,
        provider=", ".join(sorted({receipt.provider for receipt in receipts})),
        device=", ".join(sorted({receipt.device for receipt in receipts})),
        damage=merge_damage([film.index.damage, *(receipt.damage for receipt in receipts)]),
        notes=tuple(dict.fromkeys(notes)),
        versions=versions(),
        models=uses,
    )


def summary(report: AnalysisReport) -> str:
    """One line: where the analysis is, faces, what was reused, speed."""
    parts = [
        f"{report.folder}: {report.frames} frames",
        f"{report.faces} faces in {report.frames_with_faces} of them",
        f"{report.segments_analysed} segments analysed"
        + (f" and {report.segments_reused} reused" if report.segments_reused else ""),
        f"{report.frames_per_second:.1f} frames/s over {report.seconds:.1f} s",
    ]
    if report.damage:
        parts.append(f"{len(report.damage)} damaged frames")
    return ", ".join(parts)
