"""The simulator against what can be worked out by hand, and its laws: seeds, bounds, books."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import InputError
from farm.simulate.outcome import simulate
from farm.simulate.scene import FARM, NodeType, Scene
from farm.simulate.sums import jain, lower_bound_s

BOOT_S = 100.0
PREPARE_S = 1.0
PLAIN = NodeType("plain", rate=10.0, boot_s=0.0, spot=False)


def scene(nodes: int, segments: int, *types: NodeType, **more: float) -> Scene:
    """A farm in which nothing is random, with a fixed number of renderers: equal segments of 20 s, no noise."""
    fixed = Scene(nodes, segments, types=types or (PLAIN,), fixed=True, spread=0.0, noise=0.0, prepare_s=PREPARE_S)
    return replace(fixed, **more)


@pytest.mark.parametrize(("nodes", "segments"), [(1, 1), (1, 7), (4, 8), (4, 9), (7, 100), (10, 3)])
def test_equal_segments_on_equal_slots_take_as_many_rounds_as_they_must(nodes: int, segments: int) -> None:
    outcome = simulate(scene(nodes, segments))
    assert outcome.done == segments
    assert outcome.makespan_s == pytest.approx(PREPARE_S + 20.0 * math.ceil(segments / nodes), abs=PREPARE_S + 1e-3)
    assert outcome.useful_s == pytest.approx(20.0 * segments)
    assert outcome.lower_bound_s == pytest.approx(max(20.0 * segments / nodes, 20.0))
    assert not outcome.errors


def test_boots_and_cold_engines_are_paid_once_a_slot() -> None:
    booted = simulate(scene(1, 10, replace(PLAIN, boot_s=0.0), cold_engines_s=300.0))
    assert booted.makespan_s == pytest.approx(PREPARE_S + 300.0 + 200.0, abs=1e-3)
    assert booted.renderer_deaths == 0


def test_two_types_share_by_their_rates() -> None:
    """One slot of 30 and one of 10 faces a second: of 400 segments the fast one does three quarters."""
    fast, slow = NodeType("fast", rate=30.0, boot_s=0.0, spot=False), NodeType("slow", boot_s=0.0, spot=False)
    outcome = simulate(scene(2, 400, fast, slow))
    assert outcome.lower_bound_s == pytest.approx(400 * 20.0 / 2)
    assert outcome.efficiency > 0.99


def test_every_node_goes_as_often_as_it_should() -> None:
    """At one loss an hour the losses of 200 nodes in `T` are Poisson: mean 200 T, within four deviations."""
    outcome = simulate(replace(Scene(200, 10_000, types=(replace(PLAIN, spot=True),)), loss_per_hour=1.0, seed=5))
    mean = 200 * outcome.makespan_s / 3600
    assert abs(outcome.node_losses - mean) < 4 * math.sqrt(mean)
    # A loss without notice takes half of a segment on the average, one with notice next to nothing.
    assert 0 < outcome.wasted["nodes lost"] < outcome.node_losses * 20.0
    assert outcome.done == 10_000


def test_hung_attempts_are_found_after_the_patience_and_done_again() -> None:
    outcome = simulate(replace(scene(4, 400), hang_share=0.01, hang_s=100.0))
    assert outcome.hangs > 0
    assert outcome.renderer_deaths <= outcome.hangs
    assert outcome.done == 400
    assert outcome.wasted.get("hung", 0.0) == pytest.approx(100.0 * outcome.renderer_deaths, rel=0.2)


def test_a_poisoned_segment_ends_its_job_alone() -> None:
    outcome = simulate(Scene(10, 300, jobs=3, poisoned=1))
    assert set(outcome.errors) == {"0"}
    assert "segment 0 took down its renderer 3 times" in outcome.errors["0"]
    assert outcome.renderer_deaths == 3
    assert 200 <= outcome.done < 300


def test_a_seed_is_a_night() -> None:
    night = Scene(
        40, 2000, jobs=3, loss_per_hour=2.0, slow_nodes=0.1, hang_share=0.002, poisoned=1, cold_engines_s=30.0
    )

    def figures(of: Scene) -> dict[str, object]:
        return {name: value for name, value in simulate(of).json().items() if name not in {"machine", "scene"}}

    assert figures(night) == figures(night)
    assert figures(night) != figures(replace(night, seed=1))


def test_copies_shorten_the_end_on_a_farm_with_slow_nodes() -> None:
    """One of twenty nodes works at a quarter: without moves and copies its last segment alone would take 80 s more."""
    outcome = simulate(replace(scene(20, 200), slow_nodes=0.1, seed=3))
    assert outcome.copies > 0
    assert outcome.makespan_s < outcome.lower_bound_s + 2.5 * 20.0


@settings(max_examples=40)
@given(
    nodes=st.integers(1, 12),
    segments=st.integers(0, 120),
    jobs=st.integers(1, 4),
    loss=st.sampled_from([0.0, 5.0, 30.0]),
    slow=st.sampled_from([0.0, 0.3, 1.0]),
    hang=st.sampled_from([0.0, 0.02]),
    capacity=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_every_night_ends_with_every_segment_done_once(
    nodes: int, segments: int, jobs: int, loss: float, slow: float, hang: float, capacity: int, seed: int
) -> None:
    night = Scene(
        nodes,
        segments,
        jobs=jobs,
        types=FARM,
        loss_per_hour=loss,
        slow_nodes=slow,
        hang_share=hang,
        capacity=capacity,
        seed=seed,
    )
    outcome = simulate(night)
    if not outcome.errors:  # three hung attempts of one segment are as good as poison
        assert outcome.done == segments
        assert set(outcome.job_finished_s) == {str(job) for job in range(jobs)}
    assert outcome.makespan_s >= outcome.lower_bound_s * (1 - night.noise) - 1e-6
    assert outcome.attempts >= outcome.done
    if not loss and not hang:
        assert outcome.renderer_deaths == outcome.node_losses == 0
        # Work goes twice only where it is copied, and each segment is copied at most once.
        assert outcome.copies <= segments


@pytest.mark.parametrize("what", [{"nodes": 0}, {"jobs": 0}, {"slow_nodes": 1.5}, {"segment_s": 0.0}, {"hang_s": 1.0}])
def test_farms_that_cannot_be_are_refused(what: dict[str, float]) -> None:
    with pytest.raises(InputError):
        replace(Scene(4, 4), **what)


def test_the_bound_is_the_later_of_work_and_the_longest() -> None:
    assert lower_bound_s(100.0, 1.0, [(0.0, 1000.0, 1.0), (10.0, 1000.0, 2.0)]) == pytest.approx(10 + 90 / 3)
    assert lower_bound_s(100.0, 90.0, [(0.0, 1000.0, 1.0), (10.0, 1000.0, 2.0)]) == pytest.approx(10 + 45)
    assert lower_bound_s(30.0, 1.0, [(0.0, 20.0, 1.0), (50.0, 99.0, 1.0)]) == pytest.approx(60.0)
    assert lower_bound_s(0.0, 0.0, []) == 0.0


def test_jain() -> None:
    assert jain([5.0, 5.0, 5.0]) == pytest.approx(1.0)
    assert jain([9.0, 0.0, 0.0]) == pytest.approx(1 / 3)
    assert jain([0.0]) == 1.0
