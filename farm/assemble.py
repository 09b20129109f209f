"""From the casting to a verified film: which segments are copied, the render map, the join, and the proof.

Copies are an offer: where the joined film does not verify with them, their segments are encoded after all.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from core import codec
from core.errors import CopyFailed, InputError, PlanError, VerifyFailed
from core.media.smart import Copier, Copies
from core.records import JobSpec, SegmentReceipt, VerifyReport
from farm import stages
from farm.castings import Casting
from farm.desk import Desk


@dataclass(frozen=True)
class Assembled:
    """The joined film and what is known of it; `reused` segments were there before this run."""

    joined: Path
    receipts: tuple[SegmentReceipt, ...]
    checks: VerifyReport
    reused: int
    notes: tuple[str, ...] = ()


def choose_copies(
    spec: JobSpec, film: stages.Film, plan: stages.Plan, casting: Casting, desk: Desk
) -> tuple[Copies, list[str]]:
    """Which segments of the casting are copied, and notes on those that could not be although nobody is replaced.

    None in a job that replaces nobody by design: it takes every frame through the whole path.
    """
    wanted = {entry.segment for entry in casting.entries if not entry.faces}
    if not spec.smart or spec.swapper == "none" or not wanted:
        return Copies(), []
    damaged = {damage.frame for receipt in casting.receipts for damage in receipt.damage}
    with desk.clock.stage("scan"):
        copier = Copier(film.path, film.index, plan.encoder, plan.container)
        copies = copier.choose(plan.segments, wanted, damaged)
    notes = [
        f"{count} of {len(wanted)} segments in which nobody is replaced are encoded, not copied: {reason}"
        for reason, count in Counter(copies.reasons.values()).most_common()
    ]
    return copies, notes


def assemble(film: stages.Film, plan: stages.Plan, casting: Casting, desk: Desk, copies: Copies) -> Assembled:
    """Render what is open, join and verify; a film with copies that fails is made again without them."""
    if not copies.segments:
        return _attempt(film, plan, casting, desk, copies)
    done = len(desk.maps)
    try:
        return _attempt(film, plan, casting, desk, copies)
    except (CopyFailed, VerifyFailed) as error:
        why = error.what.removeprefix("not published: ")
    made = _attempt(film, plan, casting, desk, Copies())
    # The first attempt's segments are there now, but were made in this run.
    reused = min([made.reused, *(mapped.reused for mapped in desk.maps[done:])])
    note = f"the film did not verify with copied packets, so all of it is encoded ({why})"
    return replace(made, reused=reused, notes=(note,))


def _attempt(film: stages.Film, plan: stages.Plan, casting: Casting, desk: Desk, copies: Copies) -> Assembled:
    stage = desk.clock.stage
    orders = stages.work_orders(film, plan, casting.entries, casting.roles, code=desk.code, copies=copies.segments)
    rendered = desk.run_map(film, "render", orders)
    if not copies.segments:  # else they may still be needed
        desk.release()
    receipts = tuple(receipt for receipt in rendered.receipts if isinstance(receipt, SegmentReceipt))
    tags = provenance(receipts)
    with stage("join"):
        joined = _join(film, plan, desk, receipts, tags, copies)
    try:
        with stage("verify"):
            # What is missing after the last frame is in the report, but is no frame of the film.
            checks = stages.verify_stage(film, plan, joined, tags, copies.segments)
    except VerifyFailed:
        joined.unlink(missing_ok=True)
        raise
    desk.release()
    return Assembled(joined, receipts, checks, rendered.reused)


def _join(
    film: stages.Film,
    plan: stages.Plan,
    desk: Desk,
    receipts: tuple[SegmentReceipt, ...],
    tags: dict[str, str],
    copies: Copies,
) -> Path:
    """Join the segments; what fails beside copies may not fail without them."""
    try:
        return stages.join_stage(desk.store, film, plan, receipts, tags)
    except (InputError, PlanError) as error:
        if not copies.segments:
            raise
        raise CopyFailed(error.what, where=error.where, hint=error.hint) from error


def provenance(receipts: tuple[SegmentReceipt, ...]) -> dict[str, str]:
    """The metadata that says what the film is, none where nothing was replaced; its id names the work done."""
    if not any(receipt.faces_replaced for receipt in receipts):
        return {}
    from core.trust.label import aigc_tags  # noqa: PLC0415 - loads OpenCV

    return aigc_tags(codec.digest([receipt.order_id for receipt in receipts])[:32])
