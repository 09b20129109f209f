"""What was done: the JobReport, its one line, and its page for people."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence

from core import codec
from core.records import (
    Damage,
    EncoderSettings,
    JobReport,
    JobSpec,
    MediaIndex,
    ModelUse,
    RoleUse,
    SegmentReceipt,
    VerifyReport,
)
from core.swap.stages import ENHANCE, no_memory
from farm.castings import Casting
from farm.cost.texts import cost_line, cost_page
from farm.versions import versions

SHOWN_DAMAGE = 20


def make_report(
    spec: JobSpec,
    index: MediaIndex,
    encoder: EncoderSettings,
    receipts: Sequence[SegmentReceipt],
    *,
    casting: Casting,
    reused: int,
    deaths: int,
    workers: int,
    checks: VerifyReport,
    damage: Sequence[Damage],
    notes: Sequence[str],
    seconds_by_stage: dict[str, float],
    seconds: float,
    output_sha256: str,
    output_bytes: int,
    models: Sequence[ModelUse] = (),
    quality: str | None = None,
) -> JobReport:
    """The report of a job that is published. Frames a second are over the whole job, start-up included."""
    skipped: Counter[str] = Counter()
    for receipt in receipts:
        skipped.update(receipt.faces_skipped)
    faces = sum(receipt.faces_replaced for receipt in receipts)
    return JobReport(
        target=spec.target,
        output=spec.output,
        swapper=", ".join(dict.fromkeys(role.swapper for role in casting.specs)) or spec.swapper,
        source=", ".join(dict.fromkeys(role.source.path for role in casting.specs)) or source_of(spec),
        cast=spec.cast,
        roles=roles_of(casting, receipts),
        segments_analysed=len(casting.receipts) - casting.reused,
        codec=encoder.codec,
        encoder=encoder.encoder,
        frames=index.frames,
        frames_replaced=sum(receipt.frames_replaced for receipt in receipts),
        faces=faces,
        faces_skipped=dict(skipped),
        segments=len(receipts),
        segments_rendered=len(receipts) - reused,
        segments_reused=reused,
        segments_copied=sum(1 for receipt in receipts if receipt.copied),
        seconds_by_stage=seconds_by_stage,
        seconds=round(seconds, 3),
        frames_per_second=round(index.frames / seconds, 3) if seconds > 0 else 0.0,
        workers=workers,
        workers_lost=deaths,
        provider=", ".join(sorted({r.provider for r in receipts} | {use.provider for use in models})),
        device=", ".join(sorted({receipt.device for receipt in receipts})),
        checks_passed=sum(1 for check in checks.checks if check.ok),
        checks=checks.checks,
        damage=tuple(damage),
        output_sha256=output_sha256,
        output_bytes=output_bytes,
        labelled=faces > 0,
        notes=tuple(dict.fromkeys([*notes, *left_out_notes(receipts)])),
        versions=versions(),
        models=tuple(models),
        quality=quality,
        film_seconds=round(float((index.end_pts - int(index.pts[0])) * index.time_base), 3),
    )


def left_out_notes(receipts: Sequence[SegmentReceipt]) -> list[str]:
    """A line for each segment in which memory was too short for the enhancer."""
    reason = no_memory(ENHANCE)
    return [
        f"segment {receipt.segment}: {receipt.faces_skipped[reason]} of {receipt.faces_replaced} faces are without the "
        "enhancer, memory was short"
        for receipt in receipts
        if receipt.faces_skipped.get(reason)
    ]


def source_of(spec: JobSpec) -> str | None:
    return spec.source.path if spec.source else None


def roles_of(casting: Casting, receipts: Sequence[SegmentReceipt]) -> tuple[RoleUse, ...]:
    """Every role of the job with the people who have it, and how many faces it was given."""
    faces = [0] * len(casting.specs)
    for entry, receipt in zip(casting.entries, receipts, strict=True):
        for number, count in zip(entry.roles, receipt.faces_by_role, strict=True):
            faces[number] += count
    return tuple(
        RoleUse(people, role.source.path, role.swapper, count)
        for role, people, count in zip(casting.specs, casting.people, faces, strict=True)
    )


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


def summary(report: JobReport) -> str:
    """One line: where the film is, frames, faces, speed, checks."""
    parts = [
        f"{report.output}: {report.frames} frames",
        f"{report.faces} faces replaced",
        f"{report.segments_rendered} segments rendered"
        + (f" and {report.segments_reused} reused" if report.segments_reused else "")
        + (f", {report.segments_copied} of them copied from the source" if report.segments_copied else ""),
        f"{report.frames_per_second:.1f} frames/s over {report.seconds:.1f} s",
        f"{report.checks_passed} of {len(report.checks)} checks passed",
    ]
    if report.damage:
        parts.append(f"{len(report.damage)} damaged frames")
    if report.cost is not None and any(kind.per_hour is not None for kind in report.cost.kinds):
        parts.append(f"cost {cost_line(report.cost)}")
    return ", ".join(parts)


def page(report: JobReport) -> list[str]:
    """The report as lines for a person."""
    seconds = ", ".join(f"{name} {value:.1f}" for name, value in report.seconds_by_stage.items())
    lines = [
        summary(report),
        f"  encoder   {report.encoder} ({report.codec})",
        f"  faces     {report.faces} in {report.frames_replaced} frames, label: {'yes' if report.labelled else 'no'}",
        *(f"  role      {role_text(role)}" for role in report.roles),
        f"  workers   {report.workers}, lost {report.workers_lost}, on {report.device} ({report.provider})",
        f"  seconds   {seconds}",
        f"  sha256    {report.output_sha256}",
    ]
    if report.faces_skipped:
        lines.append("  skipped   " + ", ".join(f"{count} {why}" for why, count in report.faces_skipped.items()))
    if report.cost is not None:
        lines += [f"  {line}" for line in cost_page(report.cost)]
    lines += [f"  model     {model_text(use)}" for use in report.models]
    lines += [f"  note      {note}" for note in report.notes]
    lines += [f"  damaged   frame {d.frame} (pts {d.pts}): {d.reason}" for d in report.damage[:SHOWN_DAMAGE]]
    if len(report.damage) > SHOWN_DAMAGE:
        lines.append(f"  damaged   and {len(report.damage) - SHOWN_DAMAGE} frames more")
    return lines


def role_text(role: RoleUse) -> str:
    """Who became whom, by what, and how often, in one line."""
    return f"{', '.join(role.people)} -> {role.source}, {role.swapper}, {role.faces} faces"


def model_text(use: ModelUse) -> str:
    """Which file ran, where and how, in one line."""
    batch = "any batch" if use.batch is None else f"batch {use.batch}"
    unlisted = "" if use.listed else ", no published hash"
    steps = f", stepped down: {', '.join(use.steps)}" if use.steps else ""
    return f"{use.id} {use.sha256[:12]} on {use.device} ({use.provider}), {use.precision}, {batch}{unlisted}{steps}"


def print_report(data: bytes) -> None:
    """Print the JSON of a report (`farm render --json`) as a page on stdout."""
    sys.stdout.write("\n".join(page(codec.decode(data, JobReport))) + "\n")
