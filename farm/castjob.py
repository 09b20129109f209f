"""Who becomes whom in a job: from its options, or from a cast.toml. Between the analysis and the orders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from core.errors import InputError
from core.faces.metric import Metric, metric_of
from core.faces.people import group_people
from core.faces.roles import plan_for_select
from core.inference.manifest import by_id, load_manifests, manifest_folder
from core.records import Analysis, CastPlan, Float32Array, JobSpec, RoleSpec
from farm import stages
from farm.analysis import Looking, analyse_map, finder, folder_store, load_analysis, looking_models
from farm.castfile import check_cast, read_cast, tracks_digest
from farm.casting import Followed, follow_stage, roles_stage
from farm.castings import Casting
from farm.desk import Desk
from farm.paths import place
from farm.places import check_apart
from farm.settings import Settings
from farm.sources import Eyes, Sources, keep_sources

NO_FACES = "no face was found in the film: every frame is passed through, no label"


def cast_film(spec: JobSpec, film: stages.Film, desk: Desk, settings: Settings, eyes: Eyes) -> Casting:
    """Look for faces where that is not done yet, follow them, and decide what becomes of each.

    Pictures of people are looked at before the film is, so that one that will not do is told at once.
    """
    if spec.cast is not None:
        return _by_cast(place(spec.cast), spec, film, desk, settings, eyes)
    if spec.source is None:
        raise InputError("no source face given", hint="name an image with --source, or use --swapper none")
    wanted = (RoleSpec(spec.source, spec.swapper, spec.swap),)
    looking = Looking.of(spec)
    models = looking_models(looking, settings.model_cache)
    with desk.clock.stage("source"):
        sources = keep_sources(desk.store, wanted, eyes, settings.model_cache)
        alike = eyes.reference(spec.reference, spec.recogniser) if spec.reference is not None else None
    analysis, mapped = analyse_map(
        film, looking, models, lambda name, orders: desk.run_map(film, name, orders), code=desk.code
    )
    with desk.clock.stage("cast"):
        followed = _followed(spec, film, desk, analysis, finder(desk.store, analysis))
        plan = _plan_of_options(spec, followed, _metric(analysis), alike)
        return _casting(film, desk, followed, plan, wanted, sources, analysis, mapped.reused, ())


def _by_cast(path: Path, spec: JobSpec, film: stages.Film, desk: Desk, settings: Settings, eyes: Eyes) -> Casting:
    """As the cast.toml at `path` says, of the analysis that lies beside it."""
    with desk.clock.stage("cast"):
        check_cast(path, film.index, swapper=spec.swapper, options=spec.swap)
        analysis = load_analysis(path.parent, film.index.sha256)
        followed = _followed(spec, film, desk, analysis, finder(folder_store(path.parent), analysis))
        request = read_cast(
            path,
            film.index,
            followed.tracks,
            tracks_digest(followed.tracks),
            swapper=spec.swapper,
            options=spec.swap,
            least_face_px=spec.least_face_px,
        )
        named = dict.fromkeys(path for role in request.roles for path in (role.source.path, *role.source.more))
        check_apart(place(spec.output), [("a source image of the cast", place(name)) for name in named])
        sources = keep_sources(desk.store, request.roles, eyes, settings.model_cache)
        plan = replace(request.plan, sources=sources.numbers)
        return _casting(
            film, desk, followed, plan, request.roles, sources, analysis, len(analysis.receipts), request.notes
        )


def _followed(
    spec: JobSpec, film: stages.Film, desk: Desk, analysis: Analysis, found: Callable[[str], Path]
) -> Followed:
    metric = _metric(analysis)
    return follow_stage(desk.store, film.index, analysis, found, metric, spec.segment_s, code=desk.code)


def _metric(analysis: Analysis) -> Metric:
    return metric_of(by_id(load_manifests(manifest_folder()), analysis.recogniser, "embedder").family)


def _plan_of_options(spec: JobSpec, followed: Followed, metric: Metric, alike: Float32Array | None) -> CastPlan:
    people = group_people(followed.tracks, metric) if spec.select == "reference" else ()
    return plan_for_select(
        spec.select,
        followed.tracks,
        people,
        metric,
        reference=alike,
        where=spec.reference or "",
        least_px=spec.least_face_px,
    )


def _casting(
    film: stages.Film,
    desk: Desk,
    followed: Followed,
    plan: CastPlan,
    specs: tuple[RoleSpec, ...],
    sources: Sources,
    analysis: Analysis,
    reused: int,
    notes: tuple[str, ...],
) -> Casting:
    entries = roles_stage(desk.store, film.index, followed, plan, code=desk.code)
    told = [*notes, *sources.notes]
    if not len(followed.tracks):
        told.append(NO_FACES)
    elif not any(entry.faces for entry in entries):
        told.append("nobody was replaced: every frame is passed through, no label")
    whose = [
        tuple(one.id for one in plan.people if number in {one.role, *(span.role for span in one.spans)})
        for number in range(len(specs))
    ]
    return Casting(
        segments=followed.segments,
        entries=entries,
        roles=sources.roles,
        specs=specs,
        people=tuple(whose),
        receipts=analysis.receipts,
        reused=reused,
        notes=tuple(dict.fromkeys(told)),
        followed=followed,
        plan=plan,
        recogniser=analysis.recogniser,
        detect_every=analysis.detect_every,
    )
