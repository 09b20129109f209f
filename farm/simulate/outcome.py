"""One simulation from its scene to its figures, as a table and as JSON."""

from __future__ import annotations

import resource
import sys
from dataclasses import asdict, dataclass
from typing import Any

from farm.simulate.scene import Scene
from farm.simulate.sums import Sums, jain, lower_bound_s
from farm.simulate.world import World


@dataclass(frozen=True)
class Outcome:
    """Figures of one simulation. All but those of `machine` are the same for one scene on every machine.

    `lower_bound_s`: see farm.simulate.sums. `wasted`: slot-seconds by cause, against the useful ones. `fairness`: jobs
    get equal shares, so of what was done when half of all was done, Jain's index (1 is best), and the largest
    difference between two jobs in segments of mean length; jobs that do not come at one time are not compared (1 and
    0). `nodes_brought` were asked for, the most of them at one time were `nodes_at_once`; `node_hours` by type, and
    `money` for them, are from when a node is asked for until it goes, or until the last job ends. `empty_money` of it
    is for nodes on which no renderer was.
    """

    scene: Scene
    makespan_s: float
    lower_bound_s: float
    done: int
    errors: dict[str, str]
    useful_s: float
    wasted: dict[str, float]
    attempts: int
    copies: int
    renderer_deaths: int
    node_losses: int
    hangs: int
    job_finished_s: dict[str, float]
    fairness_jain: float
    fairness_gap_segments: float
    nodes_brought: int
    nodes_at_once: int
    slots_at_once: int
    node_hours: dict[str, float]
    money: float
    empty_money: float
    events: int
    decisions: int
    machine: Machine

    @property
    def efficiency(self) -> float:
        return self.lower_bound_s / self.makespan_s if self.makespan_s > 0 else 1.0

    @property
    def wasted_share(self) -> float:
        """Of all slot-seconds that were worked."""
        wasted = sum(self.wasted.values())
        return wasted / (wasted + self.useful_s) if wasted > 0 else 0.0

    def json(self) -> dict[str, Any]:
        """For machines: as the fields, with the shares beside them."""
        return {**asdict(self), "efficiency": self.efficiency, "wasted_share": self.wasted_share}

    def table(self) -> str:
        """For people: a figure a line."""
        scene, machine = self.scene, self.machine
        causes = ", ".join(f"{why} {seconds / 3600:.2f} h" for why, seconds in sorted(self.wasted.items())) or "none"
        hours = ", ".join(f"{kind} {hours:.2f}" for kind, hours in self.node_hours.items()) or "none"
        rows = [
            ("farm", f"at most {scene.nodes} nodes, {scene.slots} slots, {scene.segments} segments, {scene.jobs} jobs"),
            ("makespan", f"{self.makespan_s:.1f} s"),
            ("lower bound (all slots at work while they were up)", f"{self.lower_bound_s:.1f} s"),
            ("bound / makespan", f"{100 * self.efficiency:.2f} %"),
            ("segments done", f"{self.done} in {self.attempts} attempts, {self.copies} of them copies"),
            ("useful work", f"{self.useful_s / 3600:.2f} slot-hours"),
            ("wasted work", f"{100 * self.wasted_share:.3f} % ({causes})"),
            (
                "nodes",
                f"{self.nodes_brought} brought up, at most {self.nodes_at_once} at a time with {self.slots_at_once} "
                "renderers",
            ),
            ("node-hours", hours),
            ("lost", f"{self.node_losses} nodes, {self.renderer_deaths} renderers, {self.hangs} attempts hung"),
            ("jobs finished", f"{first_last(self.job_finished_s)}"),
            (
                "fairness when half was done",
                f"Jain {self.fairness_jain:.6f}, largest gap {self.fairness_gap_segments:.1f} segments",
            ),
            (
                "price of the nodes, by the types' prices",
                f"{self.money:.2f}, {self.empty_money:.2f} of it without a renderer",
            ),
            ("decisions", f"{self.decisions} on {self.events} events"),
            ("dispatcher and keeper", f"{machine.dispatcher_s:.2f} s, {machine.decisions_per_s:.0f} decisions/s"),
            ("whole simulation", f"{machine.simulation_s:.1f} s, {machine.peak_mb:.0f} MB"),
        ]
        rows += [(f"job {job}", f"failed: {error}") for job, error in sorted(self.errors.items())]
        width = max(len(name) for name, _ in rows)
        return "".join(f"{name.ljust(width)}  {text}\n" for name, text in rows)


@dataclass(frozen=True)
class Machine:
    """What the simulation took here: seconds of a processor, peak memory of the process. The dispatcher's are with the
    keeper's."""

    dispatcher_s: float
    simulation_s: float
    decisions_per_s: float
    peak_mb: float


def first_last(finished_s: dict[str, float]) -> str:
    times = sorted(finished_s.values())
    return f"first {times[0]:.1f} s, last {times[-1]:.1f} s" if times else "none"


def simulate(scene: Scene) -> Outcome:
    """Run the scene to its end."""
    world = World(scene)
    world.run()
    sums = world.sums
    shares = fair_shares(scene, sums)
    mean = sums.useful_cost / sums.done if sums.done else 1.0
    return Outcome(
        scene=scene,
        makespan_s=world.now_s,
        lower_bound_s=lower_bound_s(sums.useful_cost, sums.longest_cost, sums.spans),
        done=sums.done,
        errors=sums.errors,
        useful_s=sums.useful_s,
        wasted=sums.wasted,
        attempts=sums.assigned,
        copies=world.dispatcher.copies,
        renderer_deaths=world.dispatcher.deaths,
        node_losses=sums.losses,
        hangs=sums.hangs,
        job_finished_s=sums.finished_s,
        fairness_jain=jain(shares),
        fairness_gap_segments=(max(shares) - min(shares)) / mean if shares else 0.0,
        nodes_brought=sums.nodes,
        nodes_at_once=sums.nodes_at_once,
        slots_at_once=world.keeper.peak,
        node_hours={kind: seconds / 3600 for kind, seconds in sums.node_s.items()},
        money=sums.money,
        empty_money=sums.empty_money,
        events=sums.events,
        decisions=sums.decisions,
        machine=Machine(
            dispatcher_s=sums.dispatcher_s,
            simulation_s=sums.cpu_s,
            decisions_per_s=sums.decisions / sums.dispatcher_s if sums.dispatcher_s > 0 else 0.0,
            peak_mb=peak_mb(),
        ),
    )


def fair_shares(scene: Scene, sums: Sums) -> list[float]:
    """Cost done by job when half of all was done; a job that failed has no share, nor has one where they came one after
    the other."""
    if scene.job_every_s > 0:
        return []
    return [sums.served_at_half.get(job, 0.0) for job in range(scene.jobs) if str(job) not in sums.errors]


def peak_mb() -> float:
    """Peak resident memory of this process so far, in 1e6 bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e6  # kibibytes, on macOS bytes
