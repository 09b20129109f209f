"""Law 4, step by step: a run is killed, or stopped and overtaken, between two steps; the same command then finishes.

Every step of a run is a place for that (tests.chaos.points); here are some of each kind, `make chaos` takes all.
What must be true is in tests.chaos.scenes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from tests.chaos.hunts import Ground, duel, ground, kill_often, kill_once, last_before, stop_once
from tests.chaos.points import Point
from tests.chaos.scenes import SCENES, Scene


def rarely(*arguments: str) -> ParameterSet:
    """Arguments of a test for the heavy run."""
    return pytest.param(*arguments, marks=pytest.mark.heavy)


BY_NAME = {scene.name: scene for scene in SCENES}
KILLED = (
    ("disk", "after link .*/DONE.json"),
    rarely("disk", "before replace OUT/out.mp4"),
    rarely("disk", "after unlink .*/segments/.*DONE.json"),
    ("shared", r"after open OUT/\.out.mp4.farm.part #2"),
    ("s3", "after put_object S3/.*/DONE.json"),
    rarely("s3", "after delete_objects"),
    rarely("disk", "after link .*/plan/"),
    rarely("s3", r"after put_object S3/.*/segments/.*\.mp4"),
    rarely("s3-far", "after put_object S3/out.mp4 "),
)
STOPPED = (
    ("s3", r"after put_object S3/.*/segments/.*\.mp4"),
    rarely("disk", "before link .*/DONE.json"),
    rarely("s3", "after list_objects_v2 S3/.*/segments"),
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with ground(tmp_path_factory.mktemp("chaos"), Path("/dev/shm")) as made:
        yield made


def found(place: Ground, scene: Scene, wanted: str) -> Point:
    """The first point of an undisturbed run that the pattern `wanted` matches."""
    return next(point for point in place.points(scene) if re.match(wanted, f"{point} "))


@pytest.mark.parametrize(("scene", "wanted"), KILLED)
def test_a_run_is_killed_and_the_next_one_finishes(place: Ground, scene: str, wanted: str) -> None:
    story = kill_once(place, BY_NAME[scene], found(place, BY_NAME[scene], wanted))
    assert story.met


@pytest.mark.parametrize(("scene", "wanted"), STOPPED)
def test_a_run_is_stopped_past_its_lease_and_goes_on(place: Ground, scene: str, wanted: str) -> None:
    story = stop_once(place, BY_NAME[scene], found(place, BY_NAME[scene], wanted))
    assert story.met


def test_run_after_run_is_killed(place: Ground) -> None:
    assert len(kill_often(place, BY_NAME["disk"], 1).ended) > 1


@pytest.mark.heavy
def test_two_drivers_that_both_think_the_job_is_theirs(place: Ground) -> None:
    assert duel(place, BY_NAME["s3"], 1).met


def test_a_step_that_a_run_does_less_often_is_met_at_its_last_time() -> None:
    point = Point("before", "open OUT/x", 13)
    passed = [Point("before", "open OUT/x", count) for count in (1, 2, 12)] + [Point("after", "open OUT/x", 13)]
    assert last_before(passed, point) == Point("before", "open OUT/x", 12)
    assert last_before([*passed, point], point) is None, "met, or not for that reason"
    assert last_before([Point("before", "open OUT/y", 1)], point) is None
