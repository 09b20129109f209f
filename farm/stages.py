"""The stages of a job: one function each, typed in and out. A stage whose result is in the store is not done again.

Keys say what a result depends on: the film's sha256, the segment, the hashes of models and code, the cast's rows.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from actors.drive import Order, Receipt, Terms
from core import codec
from core.errors import InputError, PlanError, PolicyError, VerifyFailed
from core.media.containers import check_output, container_for
from core.media.decode import decode_segment
from core.media.encode import resolve_encoder
from core.media.far import FarPath
from core.media.guard import Limits, probe_in_child
from core.media.index import index_film
from core.media.join import join_film
from core.media.plan import plan_segments
from core.media.smart import smart_settings
from core.media.stamp import check_stamp, stamp_of, unchanged
from core.media.verify import verify_film
from core.records import (
    AnalysisOrder,
    AnalysisReceipt,
    Damage,
    EncoderSettings,
    FileStamp,
    JobSpec,
    MediaIndex,
    Role,
    Segment,
    SegmentReceipt,
    VerifyReport,
    WorkOrder,
)
from farm.artifacts import Store
from farm.castings import SegmentCast
from farm.models import contracts
from farm.places import holds_film, publish_film
from farm.ports import Pool, Progress
from farm.published import announce

PROBE_S = 60.0
DAMAGE_HINT = "render what decodes with --on-damage keep"


@dataclass(frozen=True)
class Film:
    """The target with its table; `name` is where the table is in the store, `stamp` which file it was made of."""

    path: Path
    index: MediaIndex
    name: str
    stamp: FileStamp


@dataclass(frozen=True)
class Plan:
    """What will be made: segments, encoder, container, and what the report must say about them."""

    segments: tuple[Segment, ...]
    encoder: EncoderSettings
    container: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Todo:
    """The orders of a map: all of them, the receipts that are there already by order id, and what is open."""

    orders: tuple[Order, ...]
    found: dict[str, Receipt]
    open: tuple[Order, ...]
    stop_on_damage: bool


@dataclass(frozen=True)
class Mapped:
    """The receipts of a map in order of segments, how many of them were there before, and renderers lost."""

    receipts: tuple[Receipt, ...]
    reused: int
    deaths: int


# A film with replaced faces must say so in its file (trust: the AIGC tag); these containers keep the tag.
LABEL_CONTAINERS = ("mp4", "mov", "matroska", "webm")


def time_text(index: MediaIndex, pts: int) -> str:
    """A pts as seconds from the film's first frame, for people."""
    return f"{float((pts - int(index.pts[0])) * index.time_base):.3f} s"


# ---------------------------------------------------------------- index and plan


def index_stage(store: Store, target: Path, *, code: str) -> Film:
    """Index the target, or take the table that this `code` made of the same file (path, size, inode, mtime)."""
    stamp = stamp_of(target)
    where = str(target) if isinstance(target, FarPath) else os.path.realpath(target)
    identity = [where, stamp.size_bytes, stamp.inode, stamp.mtime_ns, code]
    key = f"index/{codec.digest(identity)[:32]}"
    for name in store.named(key):
        index = store.load(name, MediaIndex) if store.intact(name, name.split(".")[1]) else None
        if index is not None:
            store.claim([name])
            return Film(target, index, name, stamp)
        store.discard(name)
    with unchanged(target, stamp):
        index = index_film_safely(target)
    data = codec.encode(index)
    name = f"{key}.{hashlib.sha256(data).hexdigest()}.json"
    store.claim([name])
    store.write(name, data)
    return Film(target, index, name, stamp)


def check_length(film: Film, longest_s: int | None) -> None:
    """`PolicyError` where the film is longer than `longest_s` seconds."""
    index = film.index
    seconds = float((index.end_pts - int(index.pts[0])) * index.time_base)
    if longest_s is not None and seconds > longest_s:
        raise PolicyError(
            f"the film has {seconds:.1f} s, and {longest_s} are allowed",
            where=film.path.name,
            hint="cut it into shorter films, or ask the operator for more",
        )


def index_film_safely(target: Path) -> MediaIndex:
    """Index a film that nobody vouches for: a child process tries it first, with limits."""
    limits = Limits()
    probe_in_child(target, limits, PROBE_S)
    return index_film(target, limits)


def plan_stage(store: Store, film: Film, spec: JobSpec) -> Plan:
    """Cut the film and settle encoder and container; `InputError` when the output cannot be as asked."""
    output = Path(spec.output)
    container = container_for(output, film.index)
    encoder = resolve_encoder(film.index, spec.encode, container)
    if spec.smart and spec.swapper != "none":
        encoder = smart_settings(film.path, film.index, encoder, container)
    notes = (*film.index.notes, *encoder.notes, *check_output(film.index, encoder, container))
    if spec.swapper != "none" and container not in LABEL_CONTAINERS:
        raise InputError(
            f"{container} cannot carry the metadata that says a film is AI modified",
            where=spec.output,
            hint="name the output .mp4, .mov or .mkv",
        )
    segments = plan_segments(film.index, spec.segment_s)
    name = f"plan/{codec.digest([film.index.sha256, spec.segment_s])[:32]}.json"
    store.claim([name])
    store.write(name, codec.encode(segments))
    return Plan(segments, encoder, container, tuple(dict.fromkeys(notes)))


# ---------------------------------------------------------------- damage


def refuse_damage(film: Film, found: Iterable[Damage]) -> None:
    """`InputError` naming the first of the damaged frames in `found`, if there are any."""
    first = min(found, key=lambda damage: damage.frame, default=None)
    if first is not None:
        raise InputError(
            f"frame {first.frame} at {time_text(film.index, first.pts)} is damaged: {first.reason}",
            where=str(film.path),
            hint=DAMAGE_HINT,
        )


def refuse_index_damage(film: Film, segments: Sequence[Segment]) -> None:
    """Refuse a film whose index already shows damage, before any work.

    The first damaged packet can spoil frames shown before it, so its segment is decoded to find the first frame.
    """
    index = film.index
    if index.damage:
        first = min(index.damage, key=lambda damage: damage.frame)
        segment = next((s for s in segments if s.first <= first.frame < s.end), segments[-1])
        frames = decode_segment(film.path, index, segment)
        seen = [Damage(f.ordinal, f.pts, f.damage) for f in frames if f.damage]
        refuse_damage(film, [*seen, first])
    if index.missing_s > 0:
        raise InputError(
            f"the film is cut off: it ends before frame {index.frames} at {time_text(index, index.end_pts)}, "
            f"{float(index.missing_s):.3f} s short of what its header says",
            where=str(film.path),
            hint=DAMAGE_HINT,
        )


# ---------------------------------------------------------------- render


def work_orders(
    film: Film,
    plan: Plan,
    cast: Sequence[SegmentCast],
    roles: Sequence[Role],
    *,
    code: str,
    copies: Collection[int] = (),
) -> list[WorkOrder]:
    """One order a segment. A segment in which nobody is replaced is an order without faces and roles; `copies` are the
    indices of those whose packets are to be copied.

    An order has the roles of its own faces alone: another role of the job does not change its id. The id leaves out
    what does not decide pixels: where the film lies, and what is done about damage.
    """
    orders = []
    target, encoder = str(film.path.resolve()), replace(plan.encoder, notes=())
    # What many segments have in common is made, kept and hashed once: a job may have a hundred thousand.
    common: dict[tuple[int, ...], tuple[tuple[Role, ...], str]] = {}
    for segment, entry in zip(plan.segments, cast, strict=True):
        if entry.roles not in common:
            own = tuple(roles[number] for number in entry.roles)
            known = contracts(tuple(dict.fromkeys(model for role in own for model in role.models)))
            common[entry.roles] = own, codec.digest([film.index.sha256, encoder, own, known, code])
        own, shared = common[entry.roles]
        swaps = entry.faces > 0
        faces, sha256 = (entry.file, entry.sha256) if swaps else (None, None)
        copy = segment.index in copies
        order = WorkOrder(
            id=codec.digest([shared, segment, faces, sha256, entry.faces, copy]),
            segment=segment,
            target=target,
            target_sha256=film.index.sha256,
            index=film.name,
            encoder=encoder,
            faces=faces,
            faces_sha256=sha256,
            face_count=entry.faces,
            roles=own,
            stamp=film.stamp,
            copy=copy,
        )
        orders.append(order)
    return orders


# ---------------------------------------------------------------- the maps


def open_work(store: Store, orders: Sequence[Order], *, stop_on_damage: bool) -> Todo:
    """Compare orders with the store. After damage that an earlier run found, only what lies before it is open."""
    store.claim(f"{'analysis' if isinstance(order, AnalysisOrder) else 'segments'}/{order.id}" for order in orders)
    looked = [order.id for order in orders if isinstance(order, AnalysisOrder)]
    rendered = [order.id for order in orders if not isinstance(order, AnalysisOrder)]
    found: dict[str, Receipt] = {}
    if looked:
        found |= store.receipts(AnalysisReceipt, "analysis", looked)
    if rendered:
        found |= store.receipts(SegmentReceipt, "segments", rendered)
    damaged = [receipt.segment for receipt in found.values() if receipt.damage and stop_on_damage]
    todo = [o for o in orders if o.id not in found and (not damaged or o.segment.index < min(damaged))]
    return Todo(tuple(orders), found, tuple(todo), stop_on_damage)


def run_map(
    pool: Pool,
    progress: Progress,
    film: Film,
    todo: Todo,
    *,
    store: Store,
    terms: Terms = Terms(),  # noqa: B008 - frozen
) -> Mapped:
    """Do what is open, into the `store`.

    Raises the error that ended the batch, or `InputError` naming the film's first damaged frame.
    """
    receipts = dict(todo.found)
    deaths = 0
    if todo.open:
        watch = progress.watch(todo.orders, todo.open)
        batch = pool.run(todo.open, watch, store=store, stop_on_damage=todo.stop_on_damage, terms=terms)
        deaths = batch.deaths
        receipts |= batch.receipts
        if batch.error is not None:
            raise batch.error
    if todo.stop_on_damage:
        refuse_damage(film, (damage for receipt in receipts.values() for damage in receipt.damage))
    if len(receipts) != len(todo.orders):
        raise PlanError(f"{len(todo.orders) - len(receipts)} segments were left undone without a reason")
    return Mapped(tuple(receipts[order.id] for order in todo.orders), len(todo.found), deaths)


# ---------------------------------------------------------------- assemble


def join_stage(store: Store, film: Film, plan: Plan, receipts: Sequence[SegmentReceipt], tags: dict[str, str]) -> Path:
    """Join the segments with everything else of the source, into a temporary file of the store.

    Every segment is compared with its receipt's hash as it is joined.
    """
    check_stamp(film.path, film.stamp)
    joined = store.scratch(Path(film.path).suffix or ".film")
    pieces = list(zip(plan.segments, store.paths([receipt.file for receipt in receipts]), strict=True))
    hashes = {segment.index: receipt.sha256 for segment, receipt in zip(plan.segments, receipts, strict=True)}
    copies = [receipt.segment for receipt in receipts if receipt.copied]
    join_film(
        film.path, film.index, plan.encoder, pieces, joined, plan.container, tags=tags, hashes=hashes, copies=copies
    )
    return joined


def verify_stage(
    film: Film, plan: Plan, joined: Path, tags: dict[str, str], copies: Collection[int] = ()
) -> VerifyReport:
    """Check the joined film against its source; `VerifyFailed` names the first check that does not hold. `copies` are
    the indices of the copied segments."""
    report = verify_film(
        film.path,
        joined,
        source_index=film.index,
        settings=plan.encoder,
        extra_tags=tags,
        joints=[segment.first for segment in plan.segments],
        copies=[segment for segment in plan.segments if segment.index in copies],
    )
    failed = [check for check in report.checks if not check.ok]
    if failed:
        more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        raise VerifyFailed(
            f"not published: {failed[0].name}: expected {failed[0].expected}, got {failed[0].got}{more}",
            where=str(film.path),
            hint="the rendered segments are kept in the store",
        )
    return report


def publish_stage(store: Store, joined: Path, output: Path) -> tuple[str, int]:
    """Give the verified film its name; its sha256 and size. `StorageError` where another run has taken the job over:
    its film stays. So does the very same film where a run of this job was about to publish it, and may have."""
    with joined.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    size = joined.stat().st_size
    store.check_held()
    there = announce(store, sha256, output) and holds_film(output, sha256, size)
    store.check_held()
    if not there:
        publish_film(joined, output)
    return sha256, size
