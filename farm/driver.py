"""One job from film to film: the stages in order, the store around them, the report at the end."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from actors.drive import Receipt, Terms
from core.errors import FarmError, InputError
from core.media.stamp import unchanged
from core.records import JobReport, JobSpec, RoleSpec
from farm import stages
from farm.analysis import Looking, looking_models, looking_names
from farm.artifacts import Store, open_store
from farm.assemble import assemble, choose_copies
from farm.castings import Casting, nobody
from farm.cost.job import costing, prices_of
from farm.cost.kept import name_of
from farm.cost.listener import CostMeter
from farm.desk import Clock, Desk, make_pool
from farm.listeners import Together
from farm.models import names_needed, role_models
from farm.options import check_swapper
from farm.paths import place
from farm.places import absolute_spec, check_apart, check_output_place, check_store_place, store_place
from farm.ports import Pool, Progress
from farm.published import job_key, look_up, not_of_this_job, write_down
from farm.report import make_report, merge_damage, merge_models, model_notes
from farm.settings import RunOptions, Settings
from farm.sources import Eyes
from farm.tidy import tidied
from farm.versions import code_hash
from farm.watching.metrics import Metrics, counted
from farm.watching.status import Status, StatusFile

UNUSED_SOURCE = "the source face was not used: --swapper none"
NO_QUALITY = "nobody was replaced: no quality to measure"


def run_job(
    spec: JobSpec,
    run: RunOptions,
    settings: Settings,
    progress: Progress,
    *,
    pool: Pool | None = None,
    terms: Terms = Terms(),  # noqa: B008 - frozen
    metrics: Metrics | None = None,
) -> JobReport:
    """Render the film of `spec`. Raises FarmError; a job that failed half-way is resumed by the same call.

    A `pool` that is given is used under `terms`, beside other jobs, and stays open; without one, the job has its own.
    With `metrics` the job is counted there.
    """
    spec = absolute_spec(spec)
    output, target = place(spec.output), place(spec.target)
    check_spec(spec)
    check_output_place(output, target)
    root, owner = store_place(run.store, output)
    read = files_read(spec)
    check_apart(output, read)
    check_store_place(root, output, target, [path for _, path in read])
    if run.quality:
        check_quality_place(output)
    models = models_named(spec)
    prices = prices_of(run, settings)
    done = owes = False
    with open_store(root, owner, say=progress.note) as store:
        key = job_key(spec, [path for _, path in read], code=code_hash(), quality=run.quality)
        known = look_up(store, key, output)
        if known is not None:
            return with_note(known, tidied(lambda: clear(store, keep=run.keep)))
        used = pool or make_pool(run, settings, models)
        owes = run.max_cost is not None and store.exists(name_of(store))
        try:
            with costing(store, prices, run, settings, shared=pool is not None) as cost:

                def let_go() -> None:
                    if pool is None:
                        used.release()
                        cost.close()

                before = not_of_this_job(store, output)
                status = Status(
                    spec.target, spec.output, job=terms.name, run=store.run, before=before, spent=cost.spent
                )
                try:
                    with StatusFile(store, status), counted(metrics, cost.spent) as counting:
                        listeners = Together(progress, status, *counting, cost)
                        report = render_film(spec, store, used, run, settings, listeners, terms, cost, let_go)
                finally:
                    owes = run.max_cost is not None and cost.spent_of_job() > 0
            report = replace(report, cost=cost.report())
            if not run.keep:
                write_down(store, key, report)
            done = True
        finally:
            if pool is None:
                used.close()

            def leave() -> None:
                store.sweep()
                if done or not (owes or run.keep or store.holds_work()):
                    clear(store, keep=run.keep)

            untidy = tidied(leave)  # where an error is on its way, that is the one line
        return with_note(report, untidy)


def with_note(report: JobReport, note: str) -> JobReport:
    return replace(report, notes=(*report.notes, note)) if note else report


def clear(store: Store, *, keep: bool) -> None:
    """The job is over: its state goes, or with `keep` may go when it is old."""
    if keep:
        store.finish()
    else:
        store.remove()


def files_read(spec: JobSpec) -> list[tuple[str, Path]]:
    """What the options name beside the film, as (what it is, path); a cast names more."""
    sources = (spec.source.path, *spec.source.more) if spec.source is not None else ()
    read = [("a source image", place(path)) for path in sources]
    read += [("the reference image", place(spec.reference))] if spec.reference is not None else []
    return read + ([("the cast", place(spec.cast))] if spec.cast is not None else [])


def check_spec(spec: JobSpec) -> None:
    """What can be refused without opening the film."""
    check_swapper(spec.swapper, spec.swap, lambda name: f"--{name.replace('_', '-')}")
    if spec.swapper == "none" and spec.cast is not None:
        raise InputError("a cast and --swapper none exclude each other", hint="leave one of them out")
    if spec.swapper != "none" and spec.cast is None and spec.source is None:
        hint = "name an image with --source, a cast with --cast, or use --swapper none"
        raise InputError("no source face given", hint=hint)


def models_named(spec: JobSpec) -> tuple[str, ...]:
    """The models that the options name, for renderers; a cast may name others. `ModelError` for unknown ones."""
    if spec.swapper == "none":
        return ()
    looking = looking_names(Looking.of(spec)) if spec.cast is None else ()
    rendering = names_needed(RoleSpec(spec.source, spec.swapper, spec.swap)) if spec.source is not None else ()
    return tuple(dict.fromkeys([*looking, *rendering]))


def check_models(spec: JobSpec, cache: Path) -> None:
    """`ModelError` where a model that the options name is missing or altered; a cast may name others."""
    if spec.swapper == "none":
        return
    if spec.source is not None:
        role_models(RoleSpec(spec.source, spec.swapper, spec.swap), cache)
    if spec.cast is None:
        looking_models(Looking.of(spec), cache)


def render_film(
    spec: JobSpec,
    store: Store,
    pool: Pool,
    run: RunOptions,
    settings: Settings,
    progress: Progress,
    terms: Terms,
    cost: CostMeter,
    let_go: Callable[[], None],
) -> JobReport:
    """Index, analyse, cast, render, join, verify, publish; then measure how good it is, where that is asked for.

    `let_go` is called when no more work is given to `pool`.
    """
    started_s = time.monotonic()
    on_damage = spec.on_damage == "fail"
    desk = Desk(store, pool, Clock(progress), code_hash(), stop_on_damage=on_damage, terms=terms, let_go=let_go)
    stage = desk.clock.stage
    check_models(spec, settings.model_cache)
    eyes = Eyes(settings.model_cache, settings.cores, spec.detector)
    with stage("index"):
        film = stages.index_stage(store, place(spec.target), code=desk.code)
        stages.check_length(film, run.longest_s)
    with unchanged(film.path, film.stamp):
        with stage("plan"):
            plan = stages.plan_stage(store, film, spec)
            if desk.stop_on_damage:
                stages.refuse_index_damage(film, plan.segments)
            passes = spec.swapper == "none"
            cost.film(film.index, plan.encoder, looks=not passes and spec.cast is None, renders=passes)
        doubtful = ""
        if passes:
            casting = nobody(plan.segments)
        else:
            from farm.castjob import cast_film  # noqa: PLC0415 - loads OpenCV

            casting = cast_film(spec, film, desk, settings, eyes)
            if doubtful := doubts_told(film, casting, store):
                progress.note(doubtful)
        plan = replace(plan, segments=casting.segments)
        copies, uncopied = choose_copies(spec, film, plan, casting, desk)
        made = assemble(film, plan, casting, desk, copies)
    receipts = made.receipts
    seen: list[Sequence[Receipt]] = [casting.receipts, receipts]
    damage = merge_damage([film.index.damage, *(receipt.damage for some in seen for receipt in some)])
    models = merge_models([eyes.uses(), *(receipt.models for some in seen for receipt in some)])
    with stage("publish"):
        sha256, size_bytes = stages.publish_stage(store, made.joined, place(spec.output))
    quality = ""
    if run.quality and any(receipt.faces_replaced for receipt in receipts):
        with stage("quality"):
            quality = measure(spec, film, casting, store, run, settings)
    told = [doubtful, *eyes.notes(), *(note for some in seen for receipt in some for note in receipt.notes)]
    unused = [UNUSED_SOURCE] if spec.swapper == "none" and spec.source is not None else []
    notes = [*plan.notes, *casting.notes, *uncopied, *store.notes, *made.notes, *unused, *model_notes(models), *told]
    if run.quality and not quality:
        notes.append(NO_QUALITY)
    return make_report(
        spec,
        film.index,
        plan.encoder,
        receipts,
        casting=casting,
        reused=made.reused,
        deaths=sum(mapped.deaths for mapped in desk.maps),
        workers=pool.workers,
        checks=made.checks,
        damage=damage,
        notes=[note for note in notes if note],
        seconds_by_stage=desk.clock.seconds,
        seconds=time.monotonic() - started_s,
        output_sha256=sha256,
        output_bytes=size_bytes,
        models=models,
        quality=quality or None,
    )


def check_quality_place(output: Path) -> None:
    """`InputError` where the folder of the quality report cannot be made beside `output`."""
    from farm.quality.job import check_folder, default_folder  # noqa: PLC0415 - loads OpenCV

    check_folder(default_folder(output))


def doubts_told(film: stages.Film, casting: Casting, store: Store) -> str:
    """A line about the faces that are likely to look bad, told before anything is rendered; "" where none is."""
    from farm.quality.job import doubts_of_job  # noqa: PLC0415 - loads OpenCV
    from farm.quality.texts import doubts_note  # noqa: PLC0415

    return doubts_note(doubts_of_job(film, casting, store))


def measure(
    spec: JobSpec, film: stages.Film, casting: Casting, store: Store, run: RunOptions, settings: Settings
) -> str:
    """Compare the published film with its source; the page of the quality report."""
    from farm.quality.job import PAGE, default_folder, quality_of_job  # noqa: PLC0415 - loads OpenCV

    try:
        quality_of_job(film, spec, casting, store, settings, device=run.device)
    except FarmError as error:
        told = f"the film is finished and verified, but not its quality report: {error.what}"
        known = ["--cast", spec.cast] if spec.cast is not None else []
        again = shlex.join(["farm", "compare", spec.target, spec.output, *known])
        raise type(error)(told, where=error.where, hint=f"run {again}") from error
    return str(default_folder(place(spec.output)) / PAGE)
