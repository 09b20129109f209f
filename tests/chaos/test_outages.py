"""A bucket that nobody can reach for a while, and one whose server has too much to do: the run waits and goes on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.chaos.hunts import Ground, ground
from tests.chaos.relay import Relay
from tests.chaos.scenes import SCENES, Trial, check_end
from tests.system.runs import DEADLINE_S

FAR = next(scene for scene in SCENES if scene.name == "s3-far")
AWAY_S = 1.0


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with ground(tmp_path_factory.mktemp("chaos"), Path("/dev/shm")) as made:
        yield made


@contextmanager
def behind_relay(place: Ground) -> Iterator[tuple[Trial, Relay]]:
    """A job whose way to the store goes through a relay."""
    place.undisturbed(FAR)
    relay = Relay(int(urlsplit(place.assets.endpoint).port or 0))
    trial = place.trial(FAR)
    trial.env["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{relay.port}"
    trial.env["CHAOS_LEASE_S"] = "12"
    try:
        yield trial, relay
    finally:
        relay.kill()
        trial.clear()


RARELY = pytest.mark.heavy
STEPS = [
    pytest.param("put_object S3/state/segments/", marks=RARELY),
    pytest.param("put_object S3/state/plan/", marks=RARELY),
    pytest.param("put_object S3/out.mp4", marks=RARELY),
]


@pytest.mark.parametrize("step", STEPS)
def test_nobody_answers_for_a_while_in_the_middle(place: Ground, step: str) -> None:
    with behind_relay(place) as (trial, relay):
        child = trial.start()
        end_s = time.monotonic() + DEADLINE_S
        while not any(point.name.startswith(step) for point in trial.points()):
            assert time.monotonic() < end_s, f"no {step}"
            time.sleep(0.005)
        relay.kill()
        time.sleep(AWAY_S)
        relay.start()
        check_end(trial, place.undisturbed(FAR), trial.nursery.finish(child))


@RARELY
def test_a_storm_of_503(place: Ground) -> None:
    with behind_relay(place) as (trial, relay):
        relay.kill()
        relay.start(storm=0.25)
        check_end(trial, place.undisturbed(FAR), trial.run())
