"""The simulator against a real small run in which things go wrong: renderers of a Ray on this machine sleep instead of
rendering, one at a quarter of the others' rate; each is cold at first; and one is killed."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from actors.dispatch import SlotDied, SlotReady
from actors.drive import Happening
from actors.pool import ClusterSpec, RayPool
from actors.worker import WorkerSettings
from farm.artifacts import DiskStore
from farm.bench.farm import FACES_A_SECOND, PATIENCE, PREDICTION_GOAL, PREPARE_S, small_scene
from farm.bench.sleeping import Pace, SleepingWorker, film_orders
from farm.simulate.cloud import Node
from farm.simulate.scene import Scene
from farm.simulate.world import SimSlot, World

pytestmark = pytest.mark.heavy

RENDERERS, SEGMENTS, SEGMENT_S = 4, 48, 4.0
SLOW, COLD_S, KILL_S = 0.25, 6.0, 20.0
SLOW_FILE = "slow"


@dataclass(frozen=True)
class Uneven(Pace):
    """The first renderer of a folder is slow; the others leave the numbers of their processes there."""

    folder: str = ""

    def __call__(self, _: WorkerSettings) -> SleepingWorker:
        try:
            (Path(self.folder) / SLOW_FILE).touch(exist_ok=False)
        except FileExistsError:
            (Path(self.folder) / f"{os.getpid()}.pid").touch()
            return SleepingWorker(self)
        return SleepingWorker(replace(self, frame_s=self.frame_s / SLOW))


class Told(World):
    """The first slot is slow; the second dies at `KILL_S` and is up again `again_s` later."""

    def __init__(self, scene: Scene, again_s: float) -> None:
        super().__init__(scene)
        self._again_s = again_s
        self._begun: list[str] = []
        self.later(KILL_S, self._kill)

    def begins(self, slot: str, node: Node) -> None:
        if not self._begun:
            node.rate *= SLOW
        self._begun.append(slot)
        super().begins(slot, node)

    def _kill(self) -> None:
        slot = self._slots[self._begun[1]]
        self._slot_dies(slot, slot.life, "killed")

    def _set_up(self, slot: SimSlot, seconds: float) -> None:
        super()._set_up(slot, self._again_s if slot.life else seconds)


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[RayPool]:
    settings = WorkerSettings(model_cache="", threads=1, model_threads=1)
    cluster = ClusterSpec(None, workers=RENDERERS, cpu_workers=RENDERERS, cores=RENDERERS, patience=PATIENCE)
    made = RayPool(settings, cluster, make=Uneven(1 / FACES_A_SECOND, PREPARE_S, COLD_S, str(tmp_path)))
    made.start()
    try:
        end_s = time.monotonic() + PATIENCE.start_s
        while made._keeper is None or made._keeper.peak < RENDERERS:  # of a fixed number, workers says all
            assert time.monotonic() < end_s, "the renderers are not up"
            time.sleep(0.1)
        yield made
    finally:
        made.close()


def test_a_run_with_a_death_a_slow_renderer_and_cold_ones_takes_what_the_simulator_says(
    pool: RayPool, tmp_path: Path
) -> None:
    scene = replace(small_scene(RENDERERS, SEGMENTS, SEGMENT_S), cold_engines_s=COLD_S, beat_s=1.0)
    died_s: list[float] = []
    back_s: list[float] = []

    def hear(happening: Happening, at_s: float) -> None:
        if isinstance(happening, SlotDied):
            died_s.append(at_s)
        elif isinstance(happening, SlotReady) and died_s:
            back_s.append(at_s)

    orders = film_orders(scene.tasks(0))
    (victim, *_) = tmp_path.glob("*.pid")
    killer = threading.Timer(KILL_S, os.kill, (int(victim.stem), signal.SIGKILL))
    killer.daemon = True
    began_s = time.monotonic()
    killer.start()
    try:
        batch = pool.run(orders, hear, store=DiskStore(str(tmp_path / "store")), stop_on_damage=True)
    finally:
        killer.cancel()
    wall_s = time.monotonic() - began_s
    assert batch.error is None
    assert len(batch.receipts) == SEGMENTS
    assert len(died_s) == 1
    # How long Ray takes to bring a renderer up is this machine's, and given: on a busy one, longer than the run.
    again_s = (back_s[0] if back_s else math.inf) - died_s[0]
    world = Told(scene, again_s)
    world.run()
    assert world.sums.done == SEGMENTS
    print(f"{wall_s:.1f} s, simulated {world.now_s:.1f} s; back after {again_s:.1f} s")
    assert wall_s == pytest.approx(world.now_s, rel=PREDICTION_GOAL)
