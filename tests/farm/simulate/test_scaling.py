"""The simulated farm grows and shrinks as the keeper says, by the types that can be had, and its cost is added up."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.dispatch import Backlog, Decision, Dispatcher, Event, Keeper, NodeOffer, wanted_nodes
from actors.dispatch.keeper import OF_WORK, REJOIN_S
from farm.simulate.outcome import simulate
from farm.simulate.scene import NodeType, Scene
from farm.simulate.world import World

BOOT_S = 100.0
SPOT = NodeType("spot", rate=10.0, boot_s=BOOT_S, price_h=1.0)
OWN = NodeType("own", rate=10.0, boot_s=BOOT_S, price_h=3.0, spot=False)
LATEST_S = 1.25 * BOOT_S + 1.0  # a node's boot, and the keeper's next look


def steady(nodes: int, segments: int, *types: NodeType, **more: float) -> Scene:
    """Equal segments of 20 s, and nothing at random but boots."""
    return replace(Scene(nodes, segments, types=types or (SPOT,), spread=0.0, noise=0.0), **more)


@pytest.mark.parametrize("segments", [1, 7, 30])
def test_no_more_nodes_come_than_there_are_segments_or_may_be(segments: int) -> None:
    outcome = simulate(steady(20, segments))
    assert outcome.nodes_brought == outcome.nodes_at_once == min(segments, 20)
    assert outcome.done == segments


def test_nodes_hold_as_many_renderers_as_they_have_room_for() -> None:
    outcome = simulate(steady(20, 10, replace(SPOT, slots=4)))
    assert outcome.nodes_brought == 3
    assert outcome.done == 10


def test_types_come_in_their_order_each_up_to_its_count() -> None:
    """Of 20 nodes 12 may be spot."""
    types = (replace(SPOT, share=0.6), replace(OWN, share=0.4))
    assert set(simulate(steady(20, 12, *types)).node_hours) == {"spot"}
    both = World(steady(20, 15, *types))
    both.run()
    assert both.sums.nodes == 15
    assert both.sums.node_s["own"] == pytest.approx(both.sums.node_s["spot"] / 4, rel=0.01)


def test_a_farm_goes_away_between_jobs_and_comes_again() -> None:
    """An hour from job to job: each brings eight nodes, which work for some 40 s, wait, and go."""
    scene = steady(8, 48, jobs=3, job_every_s=3600.0, idle_timeout_s=300.0)
    outcome = simulate(scene)
    assert outcome.done == 48
    assert outcome.nodes_brought == 3 * 8
    assert outcome.nodes_at_once == 8
    # Boot, two segments, until the release and then the timeout; of the last job no more than to its end.
    whole_h = (BOOT_S + 40.0 + scene.idle_s + scene.idle_timeout_s) / 3600
    assert outcome.node_hours["spot"] == pytest.approx(2 * 8 * whole_h + 8 * (BOOT_S + 45.0) / 3600, rel=0.15)
    # One that comes up when the work is done never has a renderer.
    assert outcome.empty_money == pytest.approx(2 * 8 * scene.idle_timeout_s / 3600, rel=0.1)
    assert list(outcome.job_finished_s) == ["0", "1", "2"]
    assert all(outcome.job_finished_s[str(job)] == pytest.approx(3600 * job + 145.0, abs=45.0) for job in range(3))


def test_nodes_stay_for_a_job_that_comes_soon() -> None:
    outcome = simulate(steady(8, 48, jobs=3, job_every_s=400.0, idle_timeout_s=300.0))
    assert outcome.nodes_brought == 8
    assert outcome.done == 48


def test_a_node_that_is_lost_is_asked_for_again_after_a_while() -> None:
    world = World(steady(1, 40, loss_per_hour=20.0, notice_share=0.0))
    world.run()
    assert world.sums.done == 40
    assert world.sums.losses > 0
    assert world.sums.nodes == world.sums.losses + 1
    ups = sorted(world.sums.spans)
    for (_, gone_s, _), (up_s, _, _) in pairwise(ups):
        assert REJOIN_S + 0.75 * BOOT_S <= up_s - gone_s <= REJOIN_S + LATEST_S


def test_while_one_type_cannot_be_had_the_next_one_comes() -> None:
    """Of 20 nodes two are no spot nodes; those work alone for the first quarter of an hour."""
    types = (replace(SPOT, share=0.9, out=((0.0, 900.0),)), replace(OWN, share=0.1))
    world = World(steady(20, 600, *types))
    world.run()
    assert world.sums.done == 600
    assert sum(begun_s < 900.0 for begun_s, _, _ in world.sums.spans) == 2
    assert world.sums.nodes == 20
    assert world.sums.node_s["own"] == pytest.approx(2 * world.now_s, abs=4.0)


def test_where_nothing_can_be_had_the_keeper_says_why_and_the_jobs_end() -> None:
    world = World(steady(20, 600, replace(SPOT, out=((0.0, 9000.0),))))
    world.run()
    assert world.sums.done == world.sums.nodes == 0
    assert world.now_s == pytest.approx(world.scene.start_s, abs=10.0)
    assert "type spot could not be had: none is left" in world.sums.errors["0"]
    times = [at_s for at_s, _ in world.said]
    assert len(times) > 100
    assert all("no renderer is up" in words and "type spot could not be had" in words for _, words in world.said[1:])


def test_nodes_on_which_everything_hangs_are_given_up_and_replaced_until_the_jobs_end() -> None:
    outcome = simulate(steady(2, 40, jobs=8, hang_share=1.0, hang_s=100.0))
    assert outcome.done == 0
    assert set(outcome.errors) == {str(job) for job in range(8)}
    assert outcome.nodes_brought > 2
    assert outcome.nodes_at_once == 2


class Thorough(Keeper):
    """Looks at everything at every look."""

    def look(self, dispatcher: Dispatcher, at_s: float) -> list[Event]:
        self._changed = True
        return super().look(dispatcher, at_s)

    def hear(self, happening: Event | Decision, at_s: float) -> None:
        super().hear(happening, at_s)
        if type(happening) in OF_WORK:
            self._hear(happening, at_s)


nights = st.builds(
    Scene,
    nodes=st.integers(1, 12),
    segments=st.integers(0, 150),
    jobs=st.integers(1, 4),
    types=st.lists(
        st.builds(
            NodeType,
            name=st.sampled_from(["a", "b", "c"]),
            slots=st.integers(1, 3),
            rate=st.sampled_from([10.0, 40.0]),
            boot_s=st.sampled_from([0.0, 120.0]),
            share=st.floats(0.1, 1.0),
            price_h=st.floats(0.0, 2.0),
            spot=st.booleans(),
            out=st.sampled_from([(), ((100.0, 700.0),)]),
        ),
        min_size=1,
        max_size=3,
        unique_by=lambda kind: kind.name,
    ).map(tuple),
    loss_per_hour=st.sampled_from([0.0, 5.0, 30.0]),
    hang_share=st.sampled_from([0.0, 0.02]),
    hang_s=st.just(100.0),
    poisoned=st.just(0),
    job_every_s=st.sampled_from([0.0, 30.0, 900.0]),
    fixed=st.booleans(),
    idle_timeout_s=st.sampled_from([30.0, 720.0]),
    seed=st.integers(0, 99),
)


@settings(max_examples=40)
@given(night=nights)
def test_every_night_keeps_its_bounds_and_its_books(night: Scene) -> None:
    outcome = simulate(night)
    if not outcome.errors:
        assert outcome.done == night.segments
    assert set(outcome.job_finished_s) == {str(job) for job in range(night.jobs)}
    assert outcome.nodes_at_once <= min(night.nodes, outcome.nodes_brought)
    assert outcome.slots_at_once <= night.slots
    prices = {kind.name: kind.price_h for kind in night.types}
    money = sum(hours * prices[kind] for kind, hours in outcome.node_hours.items())
    assert outcome.money == pytest.approx(money)
    assert 0 <= outcome.empty_money <= outcome.money + 1e-9
    assert outcome.makespan_s >= outcome.lower_bound_s * (1 - night.noise) - 1e-6


@settings(max_examples=20)
@given(night=nights)
def test_what_the_keeper_leaves_out_changes_nothing(night: Scene) -> None:
    figures = []
    for keeper in (Keeper, Thorough):
        world = World(night)
        world.keeper = keeper(world.keeper.least, night.slots)
        world.run()
        figures.append((world.now_s, world.sums.events, world.sums.decisions, world.sums.nodes, world.sums.finished_s))
    assert figures[0] == figures[1]


@settings(max_examples=30)
@given(
    segments=st.integers(1, 300),
    share=st.floats(0.02, 1.0),
    at_most=st.integers(1, 60),
    fast=st.sampled_from([1.0, 1.7, 4.0]),
    seed=st.integers(0, 99),
)
def test_a_farm_of_the_wanted_nodes_is_done_in_about_the_wanted_time(
    segments: int, share: float, at_most: int, fast: float, seed: int
) -> None:
    """Of the cheap kind no more than `at_most` can be had; the dear one is `fast` times as fast."""
    kinds = (SPOT, replace(OWN, rate=fast * OWN.rate))
    tasks = list(replace(Scene(1, segments, types=(SPOT,)), seed=seed).tasks(0))
    cost, longest = sum(task.cost for task in tasks), max(task.cost for task in tasks)
    finish_s = LATEST_S + longest / SPOT.rate + share * cost / SPOT.rate
    counts = (at_most, segments)
    offers = [
        NodeOffer(kind.name, 1, kind.rate, kind.price_h, count, boot_s=LATEST_S + longest / kind.rate)
        for kind, count in zip(kinds, counts, strict=True)
    ]
    wanted = wanted_nodes(Backlog(segments, 0, cost), offers, {}, finish_s=finish_s)
    number = sum(wanted.values())
    assert number >= 1
    types = tuple(replace(kind, share=wanted[kind.name]) for kind in kinds if wanted[kind.name])
    night = Scene(number, segments, types=types, noise=0.0, seed=seed)
    mean = sum(kind.rate * kind.share for kind in types) / number  # of a slot: tasks of the same costs as above
    outcome = simulate(replace(night, segment_s=20.0 * SPOT.rate / mean))
    assert outcome.done == segments
    assert outcome.makespan_s <= finish_s + 5.0
