"""A cluster is silent while it was asked and has not answered; the time in which the driver itself was stopped is not
its silence."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.ray.fleet import FleetWatch
from actors.ray.joining import join
from actors.ray.silence import STEP_S, Silence
from actors.ray.transport import SILENCE_S, RayTransport
from core.errors import WorkerLost
from tests.chaos.cluster import SETTINGS, RayCluster
from tests.system.runs import DEADLINE_S, ROOT

RELEASED = """
import sys, time, ray
from actors.drive import Patience
from actors.pool import ClusterSpec, RayPool
from actors.worker import WorkerSettings
spec = ClusterSpec(sys.argv[1], workers=1, cpu_workers=1, cores=1, patience=Patience())
pool = RayPool(WorkerSettings("unused", 1, 1), spec)
pool.start()
pool.release()
print("released", ray.is_initialized(), flush=True)
while ray.is_initialized():
    time.sleep(0.1)
pool.close()
print("left", flush=True)
"""


def test_silence_is_counted_from_the_question() -> None:
    silence = Silence()
    assert silence.seconds(100.0) == silence.seconds(130.0) == 0.0
    silence.asked()
    assert silence.seconds(130.5) == 0.5
    silence.asked()
    assert silence.seconds(131.0) == 1.0
    silence.answered()
    assert silence.seconds(140.0) == 0.0
    assert silence.seconds(150.0) == 0.0


@given(
    steps=st.lists(st.floats(0.0, STEP_S), max_size=40),
    stops=st.lists(st.floats(25.0, 1e5), min_size=1, max_size=4),
)
def test_a_driver_that_was_stopped_counts_little_of_it(steps: list[float], stops: list[float]) -> None:
    silence, now_s = Silence(), 0.0
    silence.seconds(now_s)
    silence.asked()
    for step_s in (*steps, *stops):
        now_s += step_s
        silence.seconds(now_s)
    assert sum(steps) - 1e-6 <= silence.seconds(now_s) <= sum(steps) + STEP_S * len(stops) + 1e-6


def test_who_lingers_is_told_once_that_nobody_answers() -> None:
    told: list[str] = []
    fleet = FleetWatch(lambda event: told.append(str(event)), {})
    fleet.waiting = True
    fleet.linger(0.0, lambda: told.append("silent"))
    fleet._report(frozenset({"gone"}), {"leaving": 0}, 0)  # which nobody takes out of a queue any more
    assert not fleet.waiting
    fleet._count()  # in this thread: it ends with what it tells
    assert told == ["silent"]


class Watched(RayTransport):
    """Notes who was there to leave Ray while renderers were ended."""

    def _end_all(self) -> None:
        self.during = self._fleet._most_s


def test_ray_is_left_only_after_the_last_renderer_is_ended() -> None:
    told: list[str] = []
    transport = Watched(lambda _: None, {})
    transport.dismiss(lambda: told.append("silent"))
    assert (transport.during, transport._fleet._most_s, told) == (float("inf"), SILENCE_S, [])


def test_with_a_silent_head_ray_is_left_at_once_and_no_renderer_is_asked_for() -> None:
    told: list[str] = []
    transport = RayTransport(lambda _: None, {})
    transport._actors["r1"] = object()  # which Ray refuses to end
    transport._fleet._silence.asked()
    for look in range(20):
        transport._fleet._silence.seconds(look * STEP_S)
    transport.dismiss(lambda: told.append("silent"))
    assert told == ["silent"]


def test_no_call_of_ray_starts_one() -> None:
    told = "from actors.ray.joining import ray; ray.get_runtime_context().gcs_address"
    ran = subprocess.run(
        [sys.executable, "-c", told], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 1
    assert "ray.init" in ran.stderr.splitlines()[-1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_who_joins_hears_signals_as_before(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    try:
        signal.signal(number, hears := lambda *_: None)
        with pytest.raises(WorkerLost):
            join("no address")  # Ray has put its own handler when it sees that
        assert signal.getsignal(number) is hears
    finally:
        signal.signal(number, before)


@pytest.mark.heavy
def test_a_driver_whose_renderers_are_given_back_outlives_the_head() -> None:
    """Ray ends a process that is connected to a head that is gone: whoever still joins a film leaves it before."""
    before = dict(os.environ)
    cluster = RayCluster(1)
    command = [sys.executable, "-c", RELEASED, cluster.address]
    process = subprocess.Popen(command, cwd=ROOT, env=dict(os.environ) | SETTINGS, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "released True\n"
        assert cluster.kill_head()
        assert process.communicate(timeout=DEADLINE_S)[0] == "left\n"
        assert process.returncode == 0
    finally:
        process.kill()
        process.communicate()
        cluster.end()
        os.environ.clear()
        os.environ.update(before)
