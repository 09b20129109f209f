"""What something costs, in lines for people."""

from __future__ import annotations

import math
from collections.abc import Mapping

from core.records.cost import (
    CostReport,
    EstimateReport,
    KindCost,
    KindEstimate,
    NodePlan,
    Range,
    Spent,
    WithinEstimate,
)

PARTS = (("done", "work"), ("lost", "lost work"), ("running", "under way"), ("idle", "idle"), ("starting", "start-up"))
SHOWN_LOST = 10


def digits(money: float) -> int:
    """Digits behind the point: cents, or as many as the first two figures of a small amount need."""
    return 2 if money >= 0.1 or money <= 0 else min(8, 1 - math.floor(math.log10(money)))


def amount(money: float, currency: str) -> str:
    """Money as 12.50 USD, small amounts as 0.0031 USD."""
    return f"{money:.{digits(money)}f} {currency}"


def at_least(money: float) -> str:
    """A number of money that is not less than `money`, in as many digits as `amount` shows."""
    places = digits(money)
    return f"{math.ceil(money * 10**places - 1e-9) / 10**places:.{places}f}"


def duration(seconds: float) -> str:
    """Seconds as 42 s, 3.5 min or 2.1 h."""
    if seconds < 120:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def resources(spent: Spent) -> str:
    """GPU time where there was any, else core time, else that of renderers."""
    if spent.gpu_s > 0:
        return f"{duration(spent.gpu_s)} of GPUs"
    if spent.core_s > 0:
        return f"{duration(spent.core_s)} of cores"
    return f"{duration(spent.slot_s)} of renderers"


def cost_line(report: CostReport) -> str:
    """The cost in one line: of this run, its lost work, and of the whole job where there were other runs."""
    spent, lost = report.spent, report.part("lost")
    priced = any(kind.per_hour is not None for kind in report.kinds)
    told = f"{amount(spent.money, report.currency)}, {resources(spent)}" if priced else resources(spent)
    if lost.slot_s > 0:
        told += f", lost {amount(lost.money, report.currency) if priced else resources(lost)}"
    if report.earlier_runs:
        all_of_it = report.job
        runs = f"{report.earlier_runs + 1} runs"
        told += f"; {amount(all_of_it.money, report.currency) if all_of_it.money else resources(all_of_it)} in {runs}"
    if report.budget is not None:
        told += f" of {amount(report.budget, report.currency)}"
    return told


def cost_page(report: CostReport) -> list[str]:
    """The cost as lines: by kind of node and what for, what was lost and why, and where the prices are from."""
    lines = [f"cost      {cost_line(report)}"]
    for kind in report.kinds:
        lines.append(f"  on {kind_name(kind)}")
        for name, label in PARTS:
            spent: Spent = getattr(kind, name)
            if spent.slot_s > 0:
                money = amount(spent.money, report.currency) if kind.per_hour is not None else "-"
                lines.append(f"    {label:<10} {money:>14}  {resources(spent)}")
    losses = sorted(report.lost.items(), key=lambda item: -item[1].slot_s)
    lines += [
        f"  lost because {why}: {resources(spent)}, {amount(spent.money, report.currency)}"
        for why, spent in losses[:SHOWN_LOST]
    ]
    if report.earlier_runs:
        lines.append(f"  earlier runs: {resources(report.earlier)}, {amount(report.earlier.money, report.currency)}")
    if any(kind.per_hour is not None for kind in report.kinds):
        lines.append(f"  {report.prices}")
    return lines + [f"  note: {note}" for note in report.notes]


def kind_name(kind: KindCost | KindEstimate) -> str:
    market = f" ({kind.market})" if kind.market else ""
    return f"{kind.kind or 'machines without a name'}{market}"


def range_of(span: Range, currency: str) -> str:
    """Money from the least to the most."""
    if amount(span.low, currency) == amount(span.high, currency):
        return amount(span.high, currency)
    return f"{amount(span.low, currency).split()[0]} to {amount(span.high, currency)}"


def times_of(span: Range) -> str:
    low, high = duration(span.low), duration(span.high)
    return high if low == high else f"{low} to {high}"


def estimate_page(report: EstimateReport) -> list[str]:
    """The estimate as lines: the work, what it costs where it would run, elsewhere, and what all that rests on."""
    work = report.work
    lines = [f"{report.target}: {work.frames} frames in {work.segments} segments"]
    if work.analyse_segments:
        lines.append(f"  to look at    {work.analyse_segments} segments, {work.analyse_frames} frames")
    if work.render_segments:
        faces = f"{work.faces.high:.0f}" if work.faces.low == work.faces.high else f"0 to {work.faces.high:.0f}"
        if 0 < work.faces.low < work.faces.high:
            faces = f"{work.faces.low:.0f} to {work.faces.high:.0f}"
        lines.append(f"  to render     {work.render_segments} segments, {work.render_frames} frames, {faces} faces")
    if work.copied_segments:
        lines.append(f"  to copy       {work.copied_segments} segments")
    if not (work.analyse_segments or work.render_segments or work.copied_segments):
        lines.append("  nothing is left to do but to join the film")
    lines += [f"  because {text}" for text in work.rests_on]
    money = report.money
    total = "no price is known of it" if money is None else range_of(money, report.currency)
    lines.append(f"cost here: {total}")
    for kind in report.here:
        lines += _kind_lines(kind, report.currency)
    if report.earlier_runs:
        spent = f"{amount(report.earlier.money, report.currency)}, {resources(report.earlier)}"
        lines.append(f"earlier runs of this job: {spent} in {report.earlier_runs} runs")
    if report.elsewhere:
        lines.append("elsewhere:")
        for kind in report.elsewhere:
            lines += _kind_lines(kind, report.currency)
    if report.within is not None:
        lines += within_lines(report.within, report.currency)
    if any(kind.money is not None for kind in (*report.here, *report.elsewhere)):
        lines.append(report.prices)
    return lines + [f"note: {note}" for note in report.notes]


def _kind_lines(kind: KindEstimate, currency: str) -> list[str]:
    money = "-" if kind.money is None else range_of(kind.money, currency)
    what = "GPU" if kind.gpu_s.high > 0 else "renderer"
    used = f"{times_of(kind.slot_s)} of {what}s, {times_of(kind.seconds)} with {kind.slots}"
    return [f"  {kind_name(kind)}: {money}; {used}", *(f"    by {text}" for text in kind.rests_on)]


def within_lines(within: WithinEstimate, currency: str) -> list[str]:
    """How many nodes finish the work in time, a line a plan; one line alone where none does."""
    asked = f"within {duration(within.seconds)}"
    if not within.plans:
        return [f"{asked}: no nodes are needed"]
    if all(plan.at_best is None for plan in within.plans):
        return [f"{asked}: no number of nodes does it: {within.plans[0].why}"]
    return [f"{asked}, boot included:", *(f"  {_plan_line(plan, currency)}" for plan in within.plans)]


def _plan_line(plan: NodePlan, currency: str) -> str:
    if plan.at_best is None or plan.seconds is None:
        return f"{', '.join(plan.kinds)}: no number of nodes does it: {plan.why}"
    money = "-" if plan.money is None else range_of(plan.money, currency)
    told = f"{money}, done in {times_of(plan.seconds)}"
    if plan.nodes is None:
        return f"{nodes_of(plan.at_best)} if all goes as fast as it may: {told}; no number is sure: {plan.why}"
    fewer = "" if plan.at_best == plan.nodes else f"; {nodes_of(plan.at_best)} if all goes as fast as it may"
    return f"{nodes_of(plan.nodes)}: {told}{fewer}"


def nodes_of(counts: Mapping[str, int]) -> str:
    """2 nodes of g6-spot and 1 of g6-ondemand."""
    parts = [f"{count} of {kind}" for kind, count in counts.items()]
    count, _, kind = parts[0].partition(" of ")
    return " and ".join([f"{count} node{'' if count == '1' else 's'} of {kind}", *parts[1:]])
