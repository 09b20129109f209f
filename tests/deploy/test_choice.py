"""Which machines Ray's own scheduler (autoscaler v2) takes for a backlog of renderers, by the shipped files."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.amazon import ROOT, filled

RENDERER = {"GPU": 1.0, "CPU": 1.0}


def aws_as_filled_out() -> dict[str, Any]:
    """cluster.yaml with what Ray adds on AWS: memory and the accelerator's name, from the instance types' table."""
    document: dict[str, Any] = yaml.safe_load(filled((ROOT / "cluster.yaml").read_text()))
    gib = 2**30
    for name, kind in document["available_node_types"].items():
        if name != "head":
            accelerator = "A10G" if kind["node_config"]["InstanceType"].startswith("g5") else "L4"
            kind["resources"] |= {"memory": int(32 * gib * 0.7), f"accelerator_type:{accelerator}": 1}
    return document


def wanted(document: dict[str, Any], renderers: int, unavailable: dict[str, float] | None = None) -> Counter[str]:
    """Node types that one round would launch, by count."""
    from ray.autoscaler.v2.event_logger import AutoscalerEventLogger  # noqa: PLC0415
    from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig  # noqa: PLC0415
    from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest  # noqa: PLC0415
    from ray.autoscaler.v2.utils import ResourceRequestUtil  # noqa: PLC0415

    class Silent(AutoscalerEventLogger):
        def __init__(self) -> None:
            """Ray's wants a socket to write to."""

        def log_cluster_scheduling_update(self, *args: object, **kwargs: object) -> None:
            """Nothing."""

    config = AutoscalingConfig(document, skip_content_hash=True)
    demand = ResourceRequestUtil.group_by_count([ResourceRequestUtil.make(dict(RENDERER)) for _ in range(renderers)])
    reply = ResourceDemandScheduler(Silent()).schedule(
        SchedulingRequest(
            node_type_configs=config.get_node_type_configs(),
            max_num_nodes=config.get_max_num_worker_nodes(),  # no head is among the current nodes here
            disable_launch_config_check=True,
            resource_requests=demand,
            recoverable_resource_availabilities=unavailable or {},
        )
    )
    assert not reply.infeasible_resource_requests or renderers > document["max_workers"]
    return Counter({request.instance_type: request.count for request in reply.to_launch})


def test_the_cheapest_type_comes_first_though_resources_carry_other_names() -> None:
    assert wanted(aws_as_filled_out(), 50) == {"g6-spot": 50}


def test_a_type_that_is_sold_out_drops_behind_the_next() -> None:
    """Ray's score of a type falls to 0 when it could not be had, and climbs back to 1 within minutes."""
    document = aws_as_filled_out()
    assert wanted(document, 50, {"g6-spot": 0.0}) == {"g5-spot": 50}
    assert wanted(document, 50, {"g6-spot": 0.0, "g5-spot": 0.1}) == {"g6-ondemand": 20, "g5-spot": 30}
    assert wanted(document, 50, {"g6-spot": 1.0}) == {"g6-spot": 50}


def test_no_more_nodes_than_the_bound_whatever_the_backlog() -> None:
    assert wanted(aws_as_filled_out(), 1000).total() == 200


def test_unlike_resources_would_take_the_choice_from_priority() -> None:
    """Why `farm cluster check` insists on equal ones: of two types Ray takes the one that the demand fills better."""
    document = aws_as_filled_out()
    document["available_node_types"]["g6-spot"]["resources"] = {"CPU": 16, "GPU": 1}
    document["available_node_types"]["g5-spot"]["resources"] = {"CPU": 4, "GPU": 1}
    document["available_node_types"]["g6-ondemand"]["resources"] = {"CPU": 16, "GPU": 1}
    assert "g6-spot" not in wanted(document, 5)


@pytest.mark.parametrize("renderers", [1, 7, 110])
def test_google_clouds_file_goes_from_spot_to_what_is_bought(renderers: int, tmp_path: Path) -> None:
    document = yaml.safe_load((ROOT / "deploy/gcp/cluster.yaml").read_text())
    (tmp_path / "farm").touch()
    document["auth"]["ssh_private_key"] = str(tmp_path / "farm")
    assert wanted(document, min(renderers, 100)) == {"g2-spot": min(renderers, 100)}
    assert wanted(document, renderers, {"g2-spot": 0.0})["g2-ondemand"] == min(renderers, 10)
