"""What is said of nodes that do not come, from what Ray's autoscaler reports."""

from __future__ import annotations

from ray.core.generated import autoscaler_pb2

from actors.ray.demand import LETTERS, Launches, first_line, launches_of, nowhere, report

GPU = {"GPU": 1.0}
HEAD = [{"CPU": 4.0}]
TAKEN = [*HEAD, {"GPU": 1.0, "CPU": 4.0}]


def test_what_the_autoscaler_reports() -> None:
    state = autoscaler_pb2.AutoscalingState()
    assert launches_of(state, GPU) is None
    state.autoscaler_state_version = 3
    assert launches_of(state, GPU) == Launches({})
    state.pending_instance_requests.add(ray_node_type_name="g6", count=2)
    state.pending_instances.add(ray_node_type_name="g6")
    for at_s, kind, why in (
        (10, "g5", "quota"),
        (30, "g6", "InsufficientInstanceCapacity\nat line 3"),
        (20, "g5", "quota"),
    ):
        state.failed_instance_requests.add(ray_node_type_name=kind, reason=why, failed_ts=at_s)
    state.infeasible_resource_requests.add().resources_bundle["TPU"] = 1.0
    refused = (("g6", "InsufficientInstanceCapacity"), ("g5", "quota"))
    assert launches_of(state, GPU) == Launches({"g6": 3}, refused)
    state.infeasible_resource_requests.add().resources_bundle["GPU"] = 1.0
    launches = launches_of(state, GPU)
    assert launches is not None
    assert launches.impossible


def test_what_is_told() -> None:
    wanted = 'no node has {"GPU": 1.0}'
    assert report(GPU, HEAD, None, 0) == f"{wanted}, no autoscaler brings one"
    assert report(GPU, HEAD, None, 1) == 'no other node has {"GPU": 1.0}, no autoscaler brings one'
    assert report(GPU, HEAD, Launches({}, impossible=True), 0) == f"{wanted}, no node type of the cluster has it either"
    assert report(GPU, HEAD, Launches({"g6": 2}), 0) == "2 of type g6 on the way"
    told = report(GPU, HEAD, Launches({"g5": 1}, [("g6", "InsufficientInstanceCapacity")]), 0)
    assert told == "1 of type g5 on the way, type g6 could not be had: InsufficientInstanceCapacity"
    assert report(GPU, HEAD, Launches({}), 0) == "the autoscaler has not asked for a node yet"
    assert report(GPU, TAKEN, None, 0) == "the nodes that could hold one are taken, or it is starting there"


def test_where_no_place_will_be() -> None:
    assert nowhere(GPU, HEAD, None)
    assert nowhere(GPU, HEAD, Launches({}, impossible=True))
    assert not nowhere(GPU, TAKEN, None)
    assert not nowhere(GPU, HEAD, Launches({}))
    assert not nowhere(GPU, HEAD, Launches({"g6": 1}, impossible=True))


def test_the_words_of_a_cloud_are_one_line() -> None:
    assert first_line("") == "no reason given"
    assert first_line("\n a \n b") == "a"
    assert len(first_line("x" * 1000)) == LETTERS
