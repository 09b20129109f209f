"""`farm simulate`: the dispatcher on a farm that is not there."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Annotated

import typer

from farm.cli.out import put


def simulate(
    nodes: Annotated[int, typer.Option(min=1, help="The most machines at one time.")] = 100,
    segments: Annotated[int, typer.Option(min=0, help="Segments of all jobs together.")] = 10_000,
    jobs: Annotated[int, typer.Option(min=1, help="Films that are rendered at the same time.")] = 1,
    job_every: Annotated[float, typer.Option(min=0, help="Seconds from one job to the next; 0 for all at once.")] = 0.0,
    loss_per_hour: Annotated[
        float, typer.Option(min=0, help="Spot nodes lost, a node and hour; half of them with two minutes' notice.")
    ] = 0.0,
    slow_nodes: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the nodes that work at a quarter of their rate.")
    ] = 0.0,
    cold_engines: Annotated[
        float, typer.Option(min=0, help="Seconds that the first segment of a renderer takes longer.")
    ] = 0.0,
    hang_share: Annotated[float, typer.Option(min=0, max=1, help="Share of the attempts that stop moving.")] = 0.0,
    poisoned: Annotated[int, typer.Option(min=0, help="Segments of the first job that kill their renderer.")] = 0,
    segment_seconds: Annotated[float, typer.Option(min=0.001, help="Work of a mean segment on a mean slot.")] = 20.0,
    idle_timeout: Annotated[
        float, typer.Option(min=1, help="Seconds after which a node without renderers goes.")
    ] = 720.0,
    no_spot: Annotated[
        tuple[float, float], typer.Option(metavar="FROM UNTIL", help="No spot node can be had between these seconds.")
    ] = (0.0, 0.0),
    seed: Annotated[int, typer.Option(help="Another seed is another night.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="All figures as JSON.")] = False,
) -> None:
    """Run the farm's dispatcher, and what asks for nodes, against nodes that boot, slow down, hang and vanish.

    Tells how well they did. Nothing is rendered. The same seed gives the same figures; only what the two take is
    measured.
    """
    from farm.simulate.outcome import simulate as run  # noqa: PLC0415
    from farm.simulate.scene import FARM, Scene  # noqa: PLC0415

    out = (no_spot,) if no_spot[1] > no_spot[0] else ()
    scene = Scene(
        nodes,
        segments,
        jobs=jobs,
        types=tuple(replace(kind, out=out) if kind.spot else kind for kind in FARM),
        job_every_s=job_every,
        loss_per_hour=loss_per_hour,
        slow_nodes=slow_nodes,
        cold_engines_s=cold_engines,
        hang_share=hang_share,
        poisoned=poisoned,
        segment_s=segment_seconds,
        idle_timeout_s=idle_timeout,
        seed=seed,
    )
    outcome = run(scene)
    put(json.dumps(outcome.json(), indent=1) + "\n" if as_json else outcome.table())
