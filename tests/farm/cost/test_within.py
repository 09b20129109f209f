"""How many nodes finish a job in time: laws of the plan, figures worked out by hand, and the words for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InputError
from core.records import EncodeSpec, JobSpec, NodePlan, Range, WithinEstimate
from farm.cli.cost_options import CostOptions, check_costs
from farm.cli.parse import duration
from farm.clusterfile.supply import NodeSupply, node_supply
from farm.cost.estimate import Place, cloud_node
from farm.cost.job import estimate_job, supplies
from farm.cost.prices import Price, load_prices
from farm.cost.rates import Load, Measured, slot_seconds
from farm.cost.texts import within_lines
from farm.cost.within import Supply, within
from farm.cost.work import OpenWork
from farm.seconds import duration_of
from farm.settings import RunOptions, Settings
from tests.faces_assets import carphone_clip, model_cache
from tests.farm.test_driver import UNDISTURBED

ROOT = Path(__file__).resolve().parents[3]
BOOT = Range(100.0, 300.0)
LOAD = Load(2.0, "h264", render_segments=100, render_frames=24_000)
WORK = OpenWork(100, 24_000, LOAD)


def node(name: str, per_hour: float, gpus: float = 1.0) -> Place:
    return cloud_node(name, Price(name, "spot", per_hour, per_hour, per_hour, gpus=gpus, cores=8.0 * gpus), None, 100)


def slot_s(place: Place) -> Range:
    return slot_seconds(LOAD, place.machine, Measured()).slot_s


def only(plans: WithinEstimate) -> NodePlan:
    (plan,) = plans.plans
    return plan


def test_a_number_worked_out_by_hand() -> None:
    """At the slow end, with boot and one segment put aside, just enough for the work of five nodes."""
    place = node("spot", 0.5)
    work_s = slot_s(place)
    for over, expected in ((0.01, 5), (-1.0, 6)):
        seconds = BOOT.high + work_s.high / 100 + work_s.high / 5 + over
        plan = only(within([[Supply(place, boot=BOOT)]], WORK, seconds))
        assert plan.nodes == {"spot": expected}
        assert plan.at_best == {"spot": 1}
        assert plan.seconds is not None
        assert plan.seconds.high == pytest.approx(BOOT.high + work_s.high / 100 + work_s.high / expected)
        assert plan.seconds.high <= seconds * (1 + 1e-9)
        assert plan.money is not None
        assert plan.money.high == pytest.approx(expected * 0.5 * plan.seconds.high / 3600)
        assert plan.why == ""


def test_nodes_with_two_gpus_are_half_as_many() -> None:
    one, two = node("one", 1.0), node("two", 2.0, gpus=2.0)
    seconds = BOOT.high + slot_s(one).high / 100 + slot_s(one).high / 8 + 0.01
    first, second = within([[Supply(one, boot=BOOT)], [Supply(two, boot=BOOT)]], WORK, seconds).plans
    assert (first.nodes, second.nodes) == ({"one": 8}, {"two": 4})


def test_what_runs_out_is_made_up_for_by_the_next_dear_one() -> None:
    cheap, dear = Supply(node("cheap", 0.3), 3, BOOT), Supply(node("dear", 1.0), 20, BOOT)
    seconds = BOOT.high + slot_s(dear.place).high / 100 + slot_s(dear.place).high / 8 + 0.01
    together = only(within([[dear, cheap]], WORK, seconds))
    assert together.nodes == {"cheap": 3, "dear": 5}
    assert only(within([[dear, cheap]], WORK, seconds, most_nodes=7)).nodes is None
    alone = only(within([[cheap]], WORK, seconds))
    assert alone.nodes is None
    assert alone.at_best is not None
    assert alone.why == "more nodes than may be had would be needed"


def test_no_more_renderers_than_were_asked_for() -> None:
    prices = load_prices()
    cluster = NodeSupply({"g6-spot": 200, "g5-spot": 200, "g6-ondemand": 20}, 200, 360.0)
    for run in (RunOptions(workers=8), RunOptions(max_workers=8)):
        ((*group,),), _ = supplies(prices, run, cluster, 100)
        assert [one.at_most for one in group] == [max(1, 8 // one.slots) for one in group]
    cheap, dear = Supply(node("cheap", 0.3), 6, BOOT), Supply(node("dear", 1.0), 6, BOOT)
    seconds = BOOT.high + slot_s(dear.place).high / 100 + slot_s(dear.place).high / 8 + 0.01
    assert only(within([[cheap, dear]], WORK, seconds, most_slots=8)).nodes == {"cheap": 6, "dear": 2}
    assert only(within([[cheap, dear]], WORK, seconds, most_slots=7)).nodes is None
    big = Supply(node("big", 1.0, gpus=8.0), 1, BOOT)
    assert only(within([[big]], WORK, seconds, most_slots=3)).nodes == {"big": 1}, "a node is there as a whole"


def test_where_all_types_together_do_not_fit_fewer_do() -> None:
    """A type that would be used first takes the room of another one, which alone is in time."""
    slow, fast = node("slow", 0.01), node("fast", 1.0)
    late = Supply(slow, 3, Range(BOOT.high, 2 * BOOT.high))
    seconds = BOOT.high + slot_s(fast).high / 100 + slot_s(fast).high / 4 + 0.01
    for limits in ({"most_nodes": 4}, {"most_slots": 4}):
        plan = only(within([[late, Supply(fast, 20, BOOT)]], WORK, seconds, **limits))
        assert plan.nodes == {"fast": 4}
        assert plan.at_best is not None


def test_of_fewer_types_it_is_the_cheapest_film_and_not_the_cheapest_hour() -> None:
    """Four small nodes cost less an hour than a big one, which is so much sooner done that it costs less in all."""
    small, big = Supply(node("small", 1.0), 20, BOOT), Supply(node("big", 5.0, gpus=8.0), 20, BOOT)
    work_s = slot_s(small.place).high
    seconds = BOOT.high + work_s / 100 + work_s / 4 + 0.01
    late = Supply(node("late", 0.01), 3, Range(BOOT.high, seconds - work_s / 100 - 1.0))  # takes the others' room
    limits = {"most_nodes": 4, "most_slots": 8}
    hour, film = (only(within([[one]], WORK, seconds, **limits)) for one in (small, big))
    assert (hour.nodes, film.nodes) == ({"small": 4}, {"big": 1})
    assert hour.money is not None
    assert film.money is not None
    assert film.money.high < hour.money.high
    for group in ([late, small, big], [big, late, small]):
        plan = only(within([group], WORK, seconds, **limits))
        assert (plan.nodes, plan.money) == (film.nodes, film.money)


def test_what_is_sure_is_told_though_at_best_another_type_would_come_first() -> None:
    """At best the cheap type boots in time, and takes the place of the one node that does it for sure."""
    late = Supply(node("late", 0.01), 50, Range(300.0, 3000.0))
    soon = Supply(node("soon", 3.0, 8.0), 50, Range(0.0, 0.0))
    seconds = slot_s(soon.place).high / 100 + slot_s(soon.place).high / 8 + 60.0
    assert 300.0 < seconds < 300.0 + slot_s(late.place).low, "one node of the cheap type does not do"
    found = within([[late, soon]], WORK, seconds, most_nodes=1)
    assert only(found).nodes == only(found).at_best == {"soon": 1}
    assert within_lines(found, "EUR")[1].startswith("  1 node of soon: ")


def test_the_cheapest_comes_first_and_what_does_not_do_last() -> None:
    places = [node("dear", 9.0), node("cheap", 0.1), node("middle", 1.0)]
    late = Supply(node("late", 0.01), boot=Range(1e6, 1e6))
    plans = within([*([Supply(place, boot=BOOT)] for place in places), [late]], WORK, 3600.0).plans
    assert [plan.kinds for plan in plans] == [("cheap",), ("middle",), ("dear",), ("late",)]
    assert plans[-1].at_best is None
    assert "boot" in plans[-1].why


def test_no_number_of_nodes_is_one_line() -> None:
    place = node("spot", 0.5)
    found = within([[Supply(place, boot=BOOT)], [Supply(node("own", 1.0), boot=BOOT)]], WORK, 60.0)
    (line,) = within_lines(found, "EUR")
    assert line.startswith(
        "within 60 s: no number of nodes does it: a node takes at least 100 s to boot, and a segment"
    )
    (line,) = within_lines(within([[], []], WORK, 60.0), "EUR")
    assert "no type of nodes with a price is known" in line
    (line,) = within_lines(within([[Supply(place)]], OpenWork(1, 1, Load(2.0, "h264")), 60.0), "EUR")
    assert line == "within 60 s: no nodes are needed"


def test_lines_of_plans() -> None:
    span, money = Range(100.0, 7200.0), Range(1.0, 2.5)
    sure = NodePlan(("a", "b"), {"a": 2, "b": 1}, {"a": 1}, span, money)
    same = NodePlan(("a",), {"a": 1}, {"a": 1}, span, None)
    perhaps = NodePlan(("c{}",), None, {"c{}": 3}, span, money, "a node takes long")
    never = NodePlan(("d",), None, None, why="it cannot be")
    assert within_lines(WithinEstimate(7200.0, (sure, same, perhaps, never)), "EUR") == [
        "within 2.0 h, boot included:",
        "  2 nodes of a and 1 of b: 1.00 to 2.50 EUR, done in 100 s to 2.0 h; "
        "1 node of a if all goes as fast as it may",
        "  1 node of a: -, done in 100 s to 2.0 h",
        "  3 nodes of c{} if all goes as fast as it may: 1.00 to 2.50 EUR, done in 100 s to 2.0 h; "
        "no number is sure: a node takes long",
        "  d: no number of nodes does it: it cannot be",
    ]


@given(
    frames=st.integers(1, 500_000),
    segments=st.integers(1, 3000),
    seconds=st.floats(1.0, 1e6),
    prices=st.lists(st.floats(0.01, 5.0), min_size=1, max_size=3),
    at_most=st.integers(1, 2000),
    gpus=st.sampled_from([1.0, 4.0]),
)
def test_plans_keep_what_they_say(
    frames: int, segments: int, seconds: float, prices: list[float], at_most: int, gpus: float
) -> None:
    work = OpenWork(segments, frames, replace(LOAD, render_segments=segments, render_frames=frames))
    group = [Supply(node(f"k{i}", price, gpus), at_most) for i, price in enumerate(prices)]
    plan = only(within([group], work, seconds))
    for counts in (plan.nodes, plan.at_best):
        assert counts is None or all(0 < count <= at_most for count in counts.values())
        assert counts is None or sum(counts.values()) * gpus <= segments + gpus - 1
    if plan.nodes is not None:
        assert plan.at_best is not None, "what does it for sure does it at best"
        assert plan.seconds is not None
        assert plan.seconds.low <= plan.seconds.high <= seconds * (1 + 1e-6)
        assert plan.money is not None
        assert plan.money.low <= plan.money.high
        more = only(within([group], work, 2 * seconds))
        assert more.nodes is not None
        assert sum(more.nodes.values()) <= sum(plan.nodes.values()), "with more time, no more nodes"
    assert (plan.at_best is None) == (plan.seconds is None)
    assert bool(plan.why) == (plan.nodes is None)


def test_what_cluster_files_say_of_nodes(tmp_path: Path) -> None:
    shipped = node_supply(ROOT / "cluster.yaml")
    assert dict(shipped.types) == {"g6-spot": 200, "g5-spot": 200, "g6-ondemand": 20}
    assert (shipped.at_most, shipped.boot_s) == (200, 360.0)
    assert node_supply(ROOT / "deploy/gcp/cluster.yaml").boot_s
    bare = tmp_path / "bare.yaml"
    bare.write_text("available_node_types: {head: {max_workers: 0}, w: {max_workers: 3}}\nhead_node_type: head\n")
    assert node_supply(bare) == replace(node_supply(bare), types={"w": 3}, at_most=2, boot_s=None)
    bare.write_text(
        "max_workers: 9\navailable_node_types: {head: {}, w: {}, x: {max_workers: 3}}\nhead_node_type: head\n"
    )
    assert dict(node_supply(bare).types) == {"w": 9, "x": 3}, "as many as the cluster may have"
    bare.write_text("available_node_types: {head: {}, w: {}}\nhead_node_type: head\n")
    assert dict(node_supply(bare).types) == {"w": 2}, "Ray's own default"
    bare.write_text("provider: {type: local}\n")
    with pytest.raises(InputError, match="no type of nodes that may come"):
        node_supply(bare)


@pytest.mark.parametrize(
    ("text", "seconds"), [("8h", 28800.0), ("90m", 5400.0), ("90min", 5400.0), ("1h30m", 5400.0), ("1.5d", 129600.0)]
)
def test_lengths_of_time(text: str, seconds: float) -> None:
    assert duration_of(text) == duration(text) == seconds


@pytest.mark.parametrize("text", ["8", "", "h", "8 h", "-8h", "8h30", "1e9h", "0h", "0.0s", "eight hours"])
def test_what_is_no_length_of_time(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="8h, 90m, 1h30m or 45s"):
        duration(text)


def test_options_that_ask_for_nothing_are_refused() -> None:
    with pytest.raises(typer.BadParameter, match="add --estimate"):
        check_costs(CostOptions(within=60.0))
    with pytest.raises(typer.BadParameter, match="add --estimate"):
        check_costs(CostOptions(cluster=Path("cluster.yaml")))
    check_costs(CostOptions(estimate=True, cluster=Path("cluster.yaml")))
    check_costs(CostOptions(estimate=True, within=60.0))


def test_an_estimate_of_a_film_says_how_many_nodes(tmp_path: Path) -> None:
    film = carphone_clip(tmp_path, frames=12)
    spec = JobSpec(
        str(film), str(tmp_path / "out.mp4"), None, encode=EncodeSpec("h264", 30, "ultrafast"), swapper="none"
    )
    run, settings = RunOptions(local=True, device="cpu"), Settings(cores=2, model_cache=model_cache())
    kinds = set(load_prices().kinds)
    asked = estimate_job(replace(spec, smart=False), run, settings, UNDISTURBED, within_s=3600.0).within
    assert asked is not None
    assert {plan.kinds for plan in asked.plans} == {(kind,) for kind in kinds}
    assert all(plan.nodes == {plan.kinds[0]: 1} for plan in asked.plans)
    of_file = estimate_job(
        replace(spec, smart=False), run, settings, UNDISTURBED, within_s=3600.0, cluster=ROOT / "cluster.yaml"
    ).within
    assert of_file is not None
    assert only(of_file).nodes == {"g6-spot": 1}
    assert only(of_file).seconds is not None
    assert estimate_job(spec, run, settings, UNDISTURBED).within is None
