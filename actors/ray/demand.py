"""What the cluster says of nodes that are waited for: whether any could hold a renderer, and what its autoscaler does.

Ray's autoscaler (v2; KubeRay has it too) reports to the head what it asked its cloud for, what the cloud refused, and
what it can bring up of no type. A cluster without one reports nothing.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from actors.ray.joining import ray
from actors.ray.nodes import Resources, fits

ASK_S = 5
LETTERS = 200  # of a cloud's refusal


@dataclass(frozen=True)
class Launches:
    """What an autoscaler says: nodes that it has asked for or that come up, by type; the types whose last nodes a cloud
    refused, with its words, latest first; whether what is asked for fits on no type."""

    coming: Mapping[str, int]
    refused: Sequence[tuple[str, str]] = ()
    impossible: bool = False


def launches_of(state: Any, needs: Resources) -> Launches | None:
    """Ray's message AutoscalingState; None where no autoscaler has reported."""
    if not state.autoscaler_state_version and not state.last_seen_cluster_resource_state_version:
        return None
    coming: Counter[str] = Counter()
    for request in state.pending_instance_requests:
        coming[request.ray_node_type_name] += request.count
    for instance in state.pending_instances:
        coming[instance.ray_node_type_name] += 1
    failed = sorted(state.failed_instance_requests, key=lambda request: -request.failed_ts)
    refused = dict.fromkeys((request.ray_node_type_name, first_line(request.reason)) for request in failed)
    impossible = any(
        all(request.resources_bundle.get(name, 0.0) >= amount for name, amount in needs.items())
        for request in state.infeasible_resource_requests
    )
    return Launches(coming, tuple(refused), impossible)


def launches_here(needs: Resources) -> Launches | None:
    """Those of the cluster that this process is connected to."""
    from ray.core.generated import autoscaler_pb2  # noqa: PLC0415

    client = cast(Any, ray)._raylet.GcsClient(address=ray.get_runtime_context().gcs_address)
    reply = cast(Any, autoscaler_pb2).GetClusterStatusReply()
    reply.ParseFromString(client.get_cluster_status(timeout_s=ASK_S))
    return launches_of(reply.autoscaling_state, needs)


def first_line(text: str) -> str:
    lines = text.strip().splitlines()
    line = lines[0].strip() if lines else "no reason given"
    return line if len(line) <= LETTERS else f"{line[: LETTERS - 3]}..."


def report(needs: Resources, nodes: Sequence[Resources], launches: Launches | None, shunned: int) -> str:
    """What to tell of renderers that do not come up; `nodes` are those that are there and not shunned."""
    said = []
    if any(fits(node, needs) for node in nodes):
        said.append("the nodes that could hold one are taken, or it is starting there")
    elif launches is None or launches.impossible:
        others = "other " if shunned else ""
        said.append(f"no {others}node has {json.dumps(dict(needs))}")
        said.append("no node type of the cluster has it either" if launches else "no autoscaler brings one")
    if launches is not None:
        said += [f"{count} of type {kind} on the way" for kind, count in sorted(launches.coming.items()) if count]
        said += [f"type {kind} could not be had: {why}" for kind, why in launches.refused]
    if not said:
        said.append("the autoscaler has not asked for a node yet")
    return ", ".join(said)


def nowhere(needs: Resources, nodes: Sequence[Resources], launches: Launches | None) -> bool:
    """Whether no node of `nodes` could ever hold one, and nobody brings nodes that could."""
    hopeless = launches is None or (launches.impossible and not any(launches.coming.values()))
    return hopeless and not any(fits(node, needs) for node in nodes)
