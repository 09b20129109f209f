"""What is open of a job: everything that can be known before a renderer runs, by the stages of the job itself.

The film is indexed and planned. Where its faces are known, from an earlier run or from a cast, the casting is made as
the job would make it, so that faces and copies are exact; where they are not, both are spans.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import reduce

from actors.drive import Batch, JobStore, Order, Receipt, Terms, Watch
from core.errors import FarmError, PlanError
from core.media.stamp import unchanged
from core.records import (
    AnalysisOrder,
    AnalysisReceipt,
    EncoderSettings,
    JobSpec,
    MediaIndex,
    Role,
    SegmentReceipt,
    WorkOrder,
)
from core.records.cost import Range
from farm import stages
from farm.assemble import choose_copies
from farm.castings import Casting, nobody
from farm.cost.rates import NOTHING, Load, flop_of, times
from farm.desk import Desk
from farm.paths import place
from farm.settings import Settings
from farm.sources import Eyes

MOST_FACES = {"largest": 1.0, "reference": 1.0, "all": 3.0}  # replaced a frame, while nobody has looked
A_FACE_EACH = Range(0.0, 3.0)  # found a frame, while nobody has looked


class NotAnalysed(Exception):
    """Segments are to be looked at before anything more can be known."""

    def __init__(self, todo: stages.Todo) -> None:
        super().__init__("the film is not analysed")
        self.todo = todo


class NoPool:
    """A pool for a desk at which nothing is done."""

    workers = 0

    def start(self) -> None:
        """There is nothing to bring up."""

    def run(
        self,
        orders: Sequence[Order],
        watch: Watch,
        *,
        store: JobStore,
        stop_on_damage: bool,
        terms: Terms = Terms(),  # noqa: B008 - frozen
    ) -> Batch:
        del watch, store, stop_on_damage, terms
        raise PlanError(f"an estimate was to do {len(orders)} orders")

    def stop(self, name: str, error: FarmError, *, finish: bool = False) -> None:
        """Nothing runs."""

    def weigh(self, group: str, weight: float) -> None:
        """Nothing is shared."""

    def release(self) -> None:
        """There is nothing to give back."""

    def close(self) -> None:
        """Nothing was begun."""


@dataclass
class LookingDesk(Desk):
    """A desk at which nothing is done: a map with open orders ends with `NotAnalysed`."""

    def run_map(self, film: stages.Film, name: str, orders: Sequence[Order]) -> stages.Mapped:
        del film, name
        todo = stages.open_work(self.store, orders, stop_on_damage=self.stop_on_damage)
        if todo.open:
            raise NotAnalysed(todo)
        return stages.Mapped(tuple(todo.found[order.id] for order in todo.orders), len(todo.found), 0)


@dataclass(frozen=True)
class OpenWork:
    """The film's `segments` and `frames`, what of it is open, what is done already, and what all that rests on."""

    segments: int
    frames: int
    load: Load
    analysed: tuple[AnalysisReceipt, ...] = ()
    rendered: tuple[SegmentReceipt, ...] = ()
    rests_on: tuple[str, ...] = field(default=())


def open_work(spec: JobSpec, desk: LookingDesk, settings: Settings) -> OpenWork:
    """Index, plan and, as far as it goes without renderers, cast. Raises what the job itself would for bad input."""
    stage = desk.clock.stage
    with stage("index"):
        film = stages.index_stage(desk.store, place(spec.target), code=desk.code)
    with unchanged(film.path, film.stamp):
        with stage("plan"):
            plan = stages.plan_stage(desk.store, film, spec)
            if desk.stop_on_damage:
                stages.refuse_index_damage(film, plan.segments)
        try:
            casting = _casting(spec, film, plan, desk, settings)
        except NotAnalysed as known:
            return _not_analysed(spec, film, plan, known.todo)
        plan = replace(plan, segments=casting.segments)
        copies, _ = choose_copies(spec, film, plan, casting, desk)
    orders = stages.work_orders(film, plan, casting.entries, casting.roles, code=desk.code, copies=copies.segments)
    todo = stages.open_work(desk.store, orders, stop_on_damage=desk.stop_on_damage)
    rests = ["the faces of the film are known" if casting.receipts else "nobody is replaced"]
    if todo.found:
        rests.append(f"{len(todo.found)} of {len(orders)} segments are rendered already")
    if copies.segments:
        rests.append(f"{len(copies.segments)} segments are copied, not encoded")
    load = load_of(todo.open, film.index, plan.encoder)
    rendered = tuple(receipt for receipt in todo.found.values() if isinstance(receipt, SegmentReceipt))
    return OpenWork(len(orders), film.index.frames, load, casting.receipts, rendered, tuple(rests))


def _casting(spec: JobSpec, film: stages.Film, plan: stages.Plan, desk: LookingDesk, settings: Settings) -> Casting:
    if spec.swapper == "none":
        return nobody(plan.segments)
    from farm.castjob import cast_film  # noqa: PLC0415 - loads OpenCV

    return cast_film(spec, film, desk, settings, Eyes(settings.model_cache, settings.cores, spec.detector))


def _not_analysed(spec: JobSpec, film: stages.Film, plan: stages.Plan, todo: stages.Todo) -> OpenWork:
    """Some segments, or all, were not looked at: those are taken to have no face, or as many as they may have."""
    index = film.index
    receipts: list[Receipt] = list(todo.found.values())
    analysed = tuple(receipt for receipt in receipts if isinstance(receipt, AnalysisReceipt))
    looked_at = sum(receipt.frames for receipt in analysed)
    most = MOST_FACES[spec.select]
    known = sum(receipt.faces if most > 1 else receipt.frames_with_faces for receipt in analysed)
    unseen = index.frames - looked_at
    sure = spec.select != "reference" and not spec.least_face_px
    with_faces = sum(receipt.frames_with_faces for receipt in analysed) if sure else 0
    looking = load_of(todo.open, index, plan.encoder)
    load = replace(
        looking,
        render_segments=len(plan.segments),
        render_frames=index.frames,
        maybe_copied=index.frames - with_faces if spec.smart else 0,
        faces=Range(float(known if sure else 0), known + most * unseen),
        flop=flop_of(spec.swapper, spec.swap),
    )
    told = (
        f"{len(analysed)} of {len(todo.orders)} segments were looked at" if analysed else "nobody has looked for faces"
    )
    rests = (f"{told}: 0 to {most:g} faces a frame are taken where that is not known",)
    return OpenWork(len(plan.segments), index.frames, load, analysed, (), rests)


def load_of(orders: Sequence[Order], index: MediaIndex, encoder: EncoderSettings) -> Load:
    """The work in `orders`, of a film with that index."""
    looks = [order for order in orders if isinstance(order, AnalysisOrder)]
    work = [order for order in orders if isinstance(order, WorkOrder)]
    encoded = [order for order in work if not order.copy]
    frames = sum(order.segment.frames for order in looks)
    looked = sum(-(-order.segment.frames // order.detect_every) for order in looks)
    faces = float(sum(order.face_count for order in encoded))
    roles: set[Role] = {role for order in encoded for role in order.roles}
    return Load(
        megapixels=index.video.width * index.video.height / 1e6,
        codec=encoder.codec,
        preset=encoder.options.get("preset") or encoder.options.get("cpu-used", ""),
        analyse_segments=len(looks),
        analyse_frames=frames,
        looked=looked,
        found=times(A_FACE_EACH, looked),
        render_segments=len(encoded),
        render_frames=sum(order.segment.frames for order in encoded),
        copied_segments=len(work) - len(encoded),
        copied_frames=sum(order.segment.frames for order in work) - sum(order.segment.frames for order in encoded),
        faces=Range(faces, faces),
        flop=_flop_of_roles(roles),
    )


def _flop_of_roles(roles: set[Role]) -> Range:
    """From the lightest role's to the heaviest one's."""
    spans = [flop_of(role.swapper, role.options) for role in roles]
    if not spans:
        return NOTHING
    return reduce(lambda one, other: Range(min(one.low, other.low), max(one.high, other.high)), spans)
