"""One job from film to film: the stages in order, the store around them, the report at the end."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from actors.drive import Order, Patience
from actors.worker import WorkerSettings
from core import codec
from core.errors import InputError
from core.inference.manifest import by_id, load_manifests, manifest_folder
from core.media.stamp import unchanged
from core.records import Damage, JobReport, JobSpec, ModelUse, Role, SegmentReceipt, SourceIdentity, SwapOptions
from core.swap.swapper import check_options
from farm import stages
from farm.artifacts import DiskStore, open_store
from farm.models import job_models
from farm.places import absolute_spec, check_output_place, check_store_place, store_place
from farm.ports import Pool, Progress
from farm.report import make_report
from farm.settings import SEGMENTS_IN_FLIGHT, RunOptions, Settings
from farm.versions import code_hash

OF_NETWORKS = ("boost", "strength", "masks", "mask_blur", "mask_padding", "occlusion_model", "region_model")
UNREAD = {
    "mesh": OF_NETWORKS,
    "none": (*OF_NETWORKS, "paste", "colour", "enhancer", "enhancer_blend", "enhancer_may_go", "precision"),
}
UNUSED_SOURCE = "the source face was not used: --swapper none"
NO_FACES = "no face was found in the film: every frame is passed through, no label"


@dataclass
class Clock:
    """Seconds by stage, in the order in which they ran."""

    progress: Progress
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self.progress.stage(name)
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.monotonic() - started, 3)


def run_job(spec: JobSpec, run: RunOptions, settings: Settings, progress: Progress) -> JobReport:
    """Render the film of `spec`. Raises FarmError; a job that failed half-way is resumed by the same call."""
    spec = absolute_spec(spec)
    output, target = Path(spec.output), Path(spec.target)
    check_spec(spec)
    check_output_place(output, target)
    root, owner = store_place(run.store, output)
    sources = (spec.source.path, *spec.source.more) if spec.source is not None else ()
    check_store_place(root, output, target, map(Path, sources))
    done = False
    with open_store(root, owner) as store:
        pool = make_pool(store, run, settings)
        try:
            report = render_film(spec, store, pool, settings, progress)
            done = True
            return report
        finally:
            pool.close()
            store.sweep()
            if (done or not store.holds_work()) and not run.keep:
                store.remove()


def check_spec(spec: JobSpec) -> None:
    """What can be refused without opening anything."""
    if spec.swapper not in ("mesh", "none"):
        manifest = by_id(load_manifests(manifest_folder()), spec.swapper, "swapper")
        check_options(manifest.id, manifest.template.side_px if manifest.template else 1, spec.swap)
    elif unread := [name for name in UNREAD[spec.swapper] if getattr(spec.swap, name) != getattr(SwapOptions(), name)]:
        raise InputError(
            f"--swapper {spec.swapper} does not read --{unread[0].replace('_', '-')}",
            hint="leave it out, or choose a swapper of `farm models list`",
        )
    if spec.swapper != "none" and spec.source is None:
        raise InputError("no source face given", hint="name an image with --source, or use --swapper none")


def worker_settings(store: DiskStore, run: RunOptions, settings: Settings) -> WorkerSettings:
    """What every renderer of the job is told."""
    workers = 1 if run.local else run.workers or settings.default_workers
    return WorkerSettings(
        store=store,
        model_cache=str(settings.model_cache),
        threads=settings.segment_threads,
        model_threads=max(1, settings.cores // (SEGMENTS_IN_FLIGHT if run.local else workers)),
        device=run.device,
        engine_cache=str(settings.engine_cache) if settings.engine_cache is not None else None,
        gpu_mem_limit_bytes=settings.gpu_mem_limit_bytes,
    )


def make_pool(store: DiskStore, run: RunOptions, settings: Settings) -> Pool:
    """The pool that the options ask for; nothing is started yet."""
    worker = worker_settings(store, run, settings)
    if run.local:
        from actors.local import LocalPool  # noqa: PLC0415

        return LocalPool(worker, parallel=SEGMENTS_IN_FLIGHT)
    from actors.pool import ClusterSpec, RayPool  # noqa: PLC0415 - importing Ray takes a second that --local saves

    cluster = ClusterSpec(
        address=run.address or settings.ray_address,
        workers=run.workers,
        cpu_workers=settings.default_workers,
        cores=settings.cores,
        patience=Patience(),
    )
    return RayPool(worker, cluster)


def render_film(spec: JobSpec, store: DiskStore, pool: Pool, settings: Settings, progress: Progress) -> JobReport:
    """Index, plan, analyse, cast, render, join, verify, publish."""
    started_s = time.monotonic()
    clock = Clock(progress)
    code = code_hash()
    output = Path(spec.output)
    fails = spec.on_damage == "fail"
    models = job_models(spec, settings.model_cache)
    with clock.stage("index"):
        film = stages.index_stage(store, Path(spec.target), code=code)
    with unchanged(film.path, film.stamp):
        with clock.stage("plan"):
            plan = stages.plan_stage(store, film, spec)
            if fails:
                stages.refuse_index_damage(film, plan.segments)
        notes = list(plan.notes)

        def run_map(name: str, orders: Sequence[Order]) -> stages.Mapped:
            todo = stages.open_work(store, orders, stop_on_damage=fails)
            if todo.open:
                with clock.stage("start"):
                    pool.start()
            with clock.stage(name):
                return stages.run_map(pool, progress, film, todo)

        maps: list[stages.Mapped] = []
        roles: list[Role] = []
        uses: tuple[ModelUse, ...] = ()
        cast: Sequence[stages.SegmentCast] = [stages.SegmentCast(segment.index) for segment in plan.segments]
        if spec.swapper != "none":
            with clock.stage("source"):
                face, uses = source_face(spec, settings, models.recognisers)
                roles = [Role(*stages.keep_identity(store, face), spec.swapper, spec.swap, models.rendering)]
                notes += face.notes
            maps.append(run_map("analyse", stages.analysis_orders(film, plan, spec, models.looking, code=code)))
            with clock.stage("cast"):
                cast = stages.cast_stage(store, film, plan, spec, maps[0].receipts, code=code)
            if not any(entry.faces for entry in cast):
                notes.append(NO_FACES)
        elif spec.source is not None:
            notes.append(UNUSED_SOURCE)
        rendered = run_map("render", stages.work_orders(film, plan, cast, roles, code=code))
        maps.append(rendered)
        pool.close()
        receipts = [receipt for receipt in rendered.receipts if isinstance(receipt, SegmentReceipt)]
        tags = provenance(receipts)
        damage = merge_damage([film.index.damage, *(r.damage for mapped in maps for r in mapped.receipts)])
        with clock.stage("join"):
            joined = stages.join_stage(store, film, plan, rendered.receipts, tags)
        with clock.stage("verify"):
            # What is missing after the last frame is in the report, but is no frame of the film.
            checks = stages.verify_stage(film, plan, joined, tags)
    in_use = merge_models([uses, *(receipt.models for mapped in maps for receipt in mapped.receipts)])
    with clock.stage("publish"):
        sha256, size_bytes = stages.publish_stage(joined, output)
    return make_report(
        spec,
        film.index,
        plan.encoder,
        receipts,
        reused=rendered.reused,
        deaths=sum(mapped.deaths for mapped in maps),
        workers=pool.workers,
        checks=checks,
        damage=damage,
        notes=[*notes, *model_notes(in_use), *(note for mapped in maps for r in mapped.receipts for note in r.notes)],
        seconds_by_stage=clock.seconds,
        seconds=time.monotonic() - started_s,
        output_sha256=sha256,
        output_bytes=size_bytes,
        models=in_use,
    )


def source_face(
    spec: JobSpec, settings: Settings, recognisers: Sequence[str]
) -> tuple[SourceIdentity, tuple[ModelUse, ...]]:
    """The face to put in, with the vectors of the recognisers whose manifests are named, and the models that looked."""
    from core.faces.analyse import open_models  # noqa: PLC0415 - loads OpenCV and ONNX Runtime
    from core.faces.embed import Recogniser  # noqa: PLC0415
    from core.faces.identity import load_identity  # noqa: PLC0415
    from core.inference.providers import DeviceSpec  # noqa: PLC0415
    from core.inference.sessions import Sessions  # noqa: PLC0415

    if spec.source is None:
        raise InputError("no source face given", hint="name an image with --source")
    sessions = Sessions(settings.model_cache, DeviceSpec(wish="cpu", threads=settings.cores))
    manifests = load_manifests(manifest_folder())
    lookers = [Recogniser(sessions.open(by_id(manifests, name, "embedder"))) for name in recognisers]
    identity = load_identity(spec.source, open_models(sessions, spec.detector), lookers)
    return identity, sessions.uses()


def provenance(receipts: Sequence[SegmentReceipt]) -> dict[str, str]:
    """The metadata that says what the film is, none where nothing was replaced; its id names the work done."""
    if not any(receipt.faces_replaced for receipt in receipts):
        return {}
    from core.trust.label import aigc_tags  # noqa: PLC0415 - loads OpenCV

    return aigc_tags(codec.digest([receipt.order_id for receipt in receipts])[:32])


def merge_models(lists: Sequence[Sequence[ModelUse]]) -> tuple[ModelUse, ...]:
    """Every way in which a model ran, once."""
    return tuple(dict.fromkeys(use for uses in lists for use in uses))


def model_notes(uses: Sequence[ModelUse]) -> list[str]:
    """What a user must know of the models that ran: files without a published hash, step-downs."""
    notes = [f"model {use.id} has no published hash: sha256 {use.sha256}" for use in uses if not use.listed]
    notes += [f"model {use.id} stepped down for want of memory: {', '.join(use.steps)}" for use in uses if use.steps]
    return list(dict.fromkeys(notes))


def merge_damage(lists: Sequence[Sequence[Damage]]) -> tuple[Damage, ...]:
    """Every damaged frame once, in order; the reason that decoding gave is kept before the index's."""
    frames: dict[int, Damage] = {}
    for damages in lists:
        frames.update({damage.frame: damage for damage in damages})
    return tuple(frames[frame] for frame in sorted(frames))
