"""`farm bench farm`: the dispatcher's rate in the simulator, the driver's memory, what the farm adds to real work, how
soon it works again after its driver's death, and how much of its time a farm of sleeping renderers sleeps; the same
small farms in the simulator, so that what it says of large ones can be believed.

The renderers of one machine sleep, so they do not compete for its cores; what is left of the time is the farm's own.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from actors.drive import Patience
from actors.worker import WorkerSettings
from farm.artifacts import DiskStore
from farm.bench.measure import run_alone
from farm.bench.media import Row, Table
from farm.bench.overhead import measure_overhead
from farm.bench.resume import measure_resume
from farm.bench.sleeping import Pace, film_orders
from farm.settings import load_settings
from farm.simulate.outcome import simulate
from farm.simulate.scene import NodeType, Scene

RATE_GOAL = 20_000
RUNS = 3  # of the simulation
EFFICIENCY_GOAL = 0.97
MEMORY_GOAL_MB = 300
PREDICTION_GOAL = 0.1
OVERHEAD_GOAL = 1.02
OVERHEAD_ROUNDS = 2
RESUME_GOAL_S = 15.0
RESUME_FILM_S = 60
MEMORY_SEGMENTS = 100_000
FACES_A_SECOND = 240.0
PREPARE_S = 0.05
PATIENCE = Patience(hang_s=120.0, start_s=120.0)


@dataclass(frozen=True)
class SmallFarm:
    """A real run with sleeping renderers: its seconds, and the same farm in the simulator."""

    renderers: int
    work_s: float  # of all renderers together
    wall_s: float
    predicted_s: float

    @property
    def efficiency(self) -> float:
        return self.work_s / (self.renderers * self.wall_s)

    @property
    def off(self) -> float:
        """How far the real run is from the prediction, as a share of it."""
        return self.wall_s / self.predicted_s - 1


def small_scene(renderers: int, segments: int, segment_s: float) -> Scene:
    """Renderers that are up at once and do not differ, lose nothing and make no noise."""
    kind = NodeType("sleeping", rate=FACES_A_SECOND, boot_s=0.0, spot=False)
    return Scene(
        renderers,
        segments,
        types=(kind,),
        fixed=True,
        segment_s=segment_s,
        spread=0.25,
        noise=0.0,
        prepare_s=PREPARE_S,
    )


def run_small_farm(folder: Path, renderers: int, segments: int, segment_s: float) -> SmallFarm:
    """Sleep through the segments of a film on Ray on this machine."""
    from actors.pool import ClusterSpec, RayPool  # noqa: PLC0415 - Ray takes a second to load

    scene = small_scene(renderers, segments, segment_s)
    orders = film_orders(scene.tasks(0))
    settings = WorkerSettings(model_cache="", threads=1, model_threads=1)
    cluster = ClusterSpec(address=None, workers=renderers, cpu_workers=renderers, cores=renderers, patience=PATIENCE)
    pool = RayPool(settings, cluster, make=Pace(1 / FACES_A_SECOND, PREPARE_S))
    try:
        pool.start()
        began = time.monotonic()
        batch = pool.run(orders, lambda _, __: None, store=DiskStore(str(folder)), stop_on_damage=True)
        wall_s = time.monotonic() - began
    finally:
        pool.close()
    if batch.error is not None:
        raise batch.error
    work_s = sum(order.segment.frames for order in orders) / FACES_A_SECOND
    return SmallFarm(renderers, work_s, wall_s, simulate(scene).makespan_s)


def bench_farm(
    *, renderers: Sequence[int], segments: int, segment_s: float, nodes: int, simulated: int, work_s: int
) -> Table:
    """All rows; `segments` a sleeping renderer, `simulated` segments on `nodes` in the simulator, `work_s` seconds of
    film that are rendered in earnest (0 leaves these rows out)."""
    table = Table()
    scene = Scene(nodes, simulated, jobs=4, loss_per_hour=0.2, slow_nodes=0.02, cold_engines_s=60.0)
    # The same seed makes the same decisions, so that what one run takes longer than another is the machine's.
    outcome, *others = sorted((simulate(scene) for _ in range(RUNS)), key=lambda run: -run.machine.decisions_per_s)
    rate = outcome.machine.decisions_per_s
    others_told = ", ".join(f"{run.machine.decisions_per_s:.0f}" for run in others)
    name = f"dispatcher, {nodes} nodes, {simulated} segments: decisions/s, best of {RUNS}"
    table.add(Row(name, f"{rate:.0f} ({others_told})", f"at least {RATE_GOAL}", rate >= RATE_GOAL))
    table.add(Row("the same: simulation, s of a processor", f"{outcome.machine.simulation_s:.1f}"))
    table.add(Row("the same: bound / makespan", f"{outcome.efficiency:.3f}"))
    table.add(Row("the same: wasted work", f"{100 * outcome.wasted_share:.3f} %"))
    peak = run_alone([sys.executable, "-m", "farm.bench.instant", str(MEMORY_SEGMENTS)]).peak_bytes / 1e6
    base = run_alone([sys.executable, "-m", "farm.bench.instant", "1"]).peak_bytes / 1e6
    name = f"driver, {MEMORY_SEGMENTS} segments: peak MB (of those without segments)"
    table.add(Row(name, f"{peak:.0f} ({base:.0f})", f"under {MEMORY_GOAL_MB}", peak < MEMORY_GOAL_MB))
    if work_s:
        add_work(table, work_s)
    for count in renderers:
        with tempfile.TemporaryDirectory(prefix="farm-bench-") as folder:
            small = run_small_farm(Path(folder), count, segments * count, segment_s)
        met = small.efficiency >= EFFICIENCY_GOAL
        name = f"{count} sleeping renderers, {segments * count} segments of {segment_s:g} s: asleep"
        table.add(Row(name, f"{100 * small.efficiency:.1f} %", f"at least {100 * EFFICIENCY_GOAL:.0f} %", met))
        table.add(
            Row(
                "the same: run / simulated run",
                f"{small.wall_s:.2f} s / {small.predicted_s:.2f} s, {100 * small.off:+.1f} %",
                f"within {100 * PREDICTION_GOAL:.0f} %",
                abs(small.off) <= PREDICTION_GOAL,
            )
        )
    return table


def add_work(table: Table, seconds: int) -> None:
    """The rows of real work: beside one process, and after a death."""
    with tempfile.TemporaryDirectory(prefix="farm-bench-") as folder:
        beside = measure_overhead(Path(folder), load_settings(), seconds=seconds, rounds=OVERHEAD_ROUNDS)
    name = f"{beside.segments} segments of {beside.segment_s:.0f} s of work: farm / loop in one process"
    met = beside.ratio.median <= OVERHEAD_GOAL
    table.add(Row(name, beside.ratio.text(3), f"at most {OVERHEAD_GOAL}", met))
    with tempfile.TemporaryDirectory(prefix="farm-bench-") as folder:
        again = measure_resume(Path(folder), seconds=RESUME_FILM_S)
    name = f"driver killed, {again.kept} of {again.segments} segments kept: s to the next"
    table.add(Row(name, f"{again.work_s:.1f}", f"under {RESUME_GOAL_S:g}", again.work_s < RESUME_GOAL_S))
    table.add(Row("  and Ray's start, s", f"{again.ray_s:.1f}"))
