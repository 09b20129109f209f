"""What a job costs: the meter beside it while it runs, and the estimate before it does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

from actors.machine import machine_kind
from core.errors import InputError
from core.records import JobSpec
from core.records.cost import EstimateReport, Range, WorkEstimate
from farm.artifacts import Store
from farm.clusterfile.supply import NodeSupply, node_supply
from farm.cost.borrowed import borrow
from farm.cost.estimate import (
    Place,
    all_places,
    cloud_node,
    estimate_on,
    least_money,
    own_machine,
    places_of,
    places_on,
)
from farm.cost.kept import CostFile, known_or_noted
from farm.cost.listener import CostMeter
from farm.cost.prices import Prices, load_prices
from farm.cost.spending import machine_of
from farm.cost.within import MOST, Supply, within
from farm.cost.work import LookingDesk, NoPool, OpenWork, open_work
from farm.desk import Clock
from farm.paths import place
from farm.places import absolute_spec, check_output_place, store_place
from farm.ports import Progress
from farm.settings import RunOptions, Settings
from farm.versions import code_hash

UNKNOWN_TYPES = (
    "which types of nodes the cluster has is not known here: name its file with --cluster, or its types in [kinds] "
    "of a price table (--prices)"
)


def prices_of(run: RunOptions, settings: Settings) -> Prices:
    """The price table of this run: --prices before FARM_PRICES before that of the package."""
    return load_prices(run.prices or settings.prices)


def is_own(run: RunOptions, settings: Settings) -> bool:
    """Whether renderers run on this machine, not on a cluster."""
    return run.local or (run.address or settings.ray_address) is None


def supply_here(run: RunOptions, settings: Settings) -> NodeSupply | None:
    """What the cluster file of the cluster at --address says of its nodes. On the head that file is known: it is there
    that its autoscaler runs. None elsewhere, and for a cluster that does not grow."""
    if is_own(run, settings):
        return None
    from actors.ray.nodes import cluster_file  # noqa: PLC0415 - loads Ray

    file = cluster_file(run.address or settings.ray_address or "")
    try:
        return node_supply(file) if file is not None else None
    except InputError:
        return None


def here(prices: Prices, run: RunOptions, settings: Settings, segments: int, cluster: NodeSupply | None) -> list[Place]:
    """Where the renderers of this run would be: this machine, or any of the cluster's own types of nodes.

    These are the types of the file `cluster`, else those that the user's price table names in [kinds]; none where
    nobody here knows them.
    """
    if not is_own(run, settings):
        types = tuple(cluster.types) if cluster is not None else prices.own
        return places_on(types, prices, run.workers, segments)
    kind = machine_kind(run.device)
    slots = 1 if run.local else run.workers or settings.default_workers
    return [own_machine(kind, prices.of(kind), slots, settings.cores)]


@contextmanager
def costing(store: Store, prices: Prices, run: RunOptions, settings: Settings, *, shared: bool) -> Iterator[CostMeter]:
    """The meter of a job in `store`, while it runs; `shared` where its pool has other jobs too.

    `InputError` where there is a budget and former runs were counted in another currency, or what they cost cannot be
    read. Without a budget that is a note of the report, and the file stays as it is: whoever sets one later must know.
    """
    kept, unread = known_or_noted(store, needed=run.max_cost is not None)
    places = here(prices, run, settings, 1, supply_here(run, settings)) or all_places(prices, run.workers, 1)
    meter = CostMeter(
        prices,
        machine_of(settings.cores if is_own(run, settings) else 0),
        kept=kept,
        budget=run.max_cost,
        shared=shared,
        least=lambda load: least_money(places, load),
        notes=[unread] if unread else [],
    )
    with nullcontext() if unread else CostFile(store, kept, meter.this_run):
        try:
            yield meter
        finally:
            meter.close()


def supplies(
    prices: Prices, run: RunOptions, cluster: NodeSupply | None, segments: int
) -> tuple[list[list[Supply]], list[str]]:
    """The nodes that may come, in groups that one cluster has together: all types of the `cluster` that have a price,
    or each of the price table's kinds alone. And what is to be said of it."""
    most = run.workers or run.max_workers  # renderers

    def limited(one: Supply) -> Supply:
        return one if most is None else replace(one, at_most=min(one.at_most, max(1, most // one.slots)))

    if cluster is None:
        return [[limited(Supply(place))] for place in places_of(prices, None, segments)], []
    boot = Range(cluster.boot_s, cluster.boot_s) if cluster.boot_s is not None else None
    group, notes = [], []
    for kind, at_most in cluster.types.items():
        price = prices.of(kind)
        if price is None:
            notes.append(f"no price of {kind} is known, so none of them are counted on: see docs/cost.md")
        else:
            node = cloud_node(kind, price, None, segments)
            group.append(limited(Supply(node, min(at_most, cluster.at_most), boot)))
    return [group], notes


def estimate_job(
    spec: JobSpec,
    run: RunOptions,
    settings: Settings,
    progress: Progress,
    *,
    within_s: float | None = None,
    cluster: Path | None = None,
) -> EstimateReport:
    """What is open of the job and what it would cost; nothing is rendered, and nothing of the job's is changed. With
    `within_s`, also which nodes finish it in that time: those of the file `cluster`, by default of the cluster that
    this machine is the head of, else of the price table's kinds.

    Raises what the job itself would for a film, a source, a cast or models that will not do.
    """
    from farm.driver import check_models, check_spec  # noqa: PLC0415 - which needs the meter

    supply = node_supply(cluster) if cluster is not None else supply_here(run, settings)
    spec = absolute_spec(spec)
    output = place(spec.output)
    check_spec(spec)
    check_output_place(output, place(spec.target))
    check_models(spec, settings.model_cache)
    prices = prices_of(run, settings)
    with borrow(*store_place(run.store, output)) as store:
        clock = Clock(progress)
        desk = LookingDesk(store, NoPool(), clock, code_hash(), stop_on_damage=spec.on_damage == "fail")
        work = open_work(spec, desk, settings)
        kept, unread = known_or_noted(store, needed=run.max_cost is not None)
    places = here(prices, run, settings, work.segments, supply)
    names = {place.kind for place in places}
    others: list[Place] = []
    if is_own(run, settings) and supply is not None:
        others = places_on(supply.types, prices, run.workers, work.segments)
    elif is_own(run, settings) or not places:
        others = places_of(prices, run.workers, work.segments)
    told = [estimate_on(place, work) for place in places]
    notes = [
        f"no price of {one.kind} is known: see docs/cost.md" for one in told if one.money is None and one.kind != "cpu"
    ]
    notes += [unread] if unread else []
    if not places:
        notes.append(UNKNOWN_TYPES)
    wanted = None
    if within_s is not None:
        groups, told_of_nodes = supplies(prices, run, supply, work.segments)
        notes += told_of_nodes
        most = supply.at_most if supply is not None else MOST
        wanted = within(groups, work, within_s, most, run.workers or run.max_workers)
    return EstimateReport(
        target=spec.target,
        output=spec.output,
        currency=prices.currency,
        prices=prices.told,
        work=told_work(work),
        here=tuple(told),
        elsewhere=tuple(estimate_on(place, work) for place in others if place.kind not in names),
        earlier=kept.in_currency(prices.currency),
        earlier_runs=len(kept.runs),
        notes=tuple(notes),
        within=wanted,
    )


def told_work(work: OpenWork) -> WorkEstimate:
    load = work.load
    return WorkEstimate(
        segments=work.segments,
        frames=work.frames,
        analyse_segments=load.analyse_segments,
        analyse_frames=load.analyse_frames,
        render_segments=load.render_segments,
        render_frames=load.render_frames,
        copied_segments=load.copied_segments,
        faces=load.faces,
        rests_on=work.rests_on,
    )
