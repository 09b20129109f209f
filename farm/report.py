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
    SegmentReceipt,
    VerifyReport,
)
from core.swap.stages import ENHANCE, no_memory
from farm.versions import versions

SHOWN_DAMAGE = 20


def make_report(
    spec: JobSpec,
    index: MediaIndex,
    encoder: EncoderSettings,
    receipts: Sequence[SegmentReceipt],
    *,
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
) -> JobReport:
    """The report of a job that is published. Frames a second are over the whole job, start-up included."""
    skipped: Counter[str] = Counter()
    for receipt in receipts:
        skipped.update(receipt.faces_skipped)
    faces = sum(receipt.faces_replaced for receipt in receipts)
    return JobReport(
        target=spec.target,
        output=spec.output,
        swapper=spec.swapper,
        source=spec.source.path if spec.source else None,
        codec=encoder.codec,
        encoder=encoder.encoder,
        frames=index.frames,
        frames_replaced=sum(receipt.frames_replaced for receipt in receipts),
        faces=faces,
        faces_skipped=dict(skipped),
        segments=len(receipts),
        segments_rendered=len(receipts) - reused,
        segments_reused=reused,
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


def summary(report: JobReport) -> str:
    """One line: where the film is, frames, faces, speed, checks."""
    parts = [
        f"{report.output}: {report.frames} frames",
        f"{report.faces} faces replaced",
        f"{report.segments_rendered} segments rendered"
        + (f" and {report.segments_reused} reused" if report.segments_reused else ""),
        f"{report.frames_per_second:.1f} frames/s over {report.seconds:.1f} s",
        f"{report.checks_passed} of {len(report.checks)} checks passed",
    ]
    if report.damage:
        parts.append(f"{len(report.damage)} damaged frames")
    return ", ".join(parts)


def page(report: JobReport) -> list[str]:
    """The report as lines for a person."""
    seconds = ", ".join(f"{name} {value:.1f}" for name, value in report.seconds_by_stage.items())
    lines = [
        summary(report),
        f"  encoder   {report.encoder} ({report.codec})",
        f"  faces     {report.faces} in {report.frames_replaced} frames, label: {'yes' if report.labelled else 'no'}",
        f"  workers   {report.workers}, lost {report.workers_lost}, on {report.device} ({report.provider})",
        f"  seconds   {seconds}",
        f"  sha256    {report.output_sha256}",
    ]
    if report.faces_skipped:
        lines.append("  skipped   " + ", ".join(f"{count} {why}" for why, count in report.faces_skipped.items()))
    lines += [f"  model     {model_text(use)}" for use in report.models]
    lines += [f"  note      {note}" for note in report.notes]
    lines += [f"  damaged   frame {d.frame} (pts {d.pts}): {d.reason}" for d in report.damage[:SHOWN_DAMAGE]]
    if len(report.damage) > SHOWN_DAMAGE:
        lines.append(f"  damaged   and {len(report.damage) - SHOWN_DAMAGE} frames more")
    return lines


def model_text(use: ModelUse) -> str:
    """Which file ran, where and how, in one line."""
    batch = "any batch" if use.batch is None else f"batch {use.batch}"
    unlisted = "" if use.listed else ", no published hash"
    steps = f", stepped down: {', '.join(use.steps)}" if use.steps else ""
    return f"{use.id} {use.sha256[:12]} on {use.device} ({use.provider}), {use.precision}, {batch}{unlisted}{steps}"


def print_report(data: bytes) -> None:
    """Print the JSON of a report (`farm render --json`) as a page on stdout."""
    sys.stdout.write("\n".join(page(codec.decode(data, JobReport))) + "\n")
