"""What keeps a renderer from working here, in one line each: versions, absent code, types of node."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from ray._private.utils import check_version_info
from ray.autoscaler._private.util import prepare_config

from actors.code import code_here, difference
from actors.deaths import address_in, at_node
from actors.drive import Patience
from actors.pool import ClusterSpec, sizes
from actors.ray.joining import not_started
from actors.ray.nodes import Capacity, NodeType, cluster_file, fits, node_kind, node_name, node_types, types_in
from core.errors import ModelError, StorageError


def test_ray_and_python_of_another_version() -> None:
    there = {"ray_version": "2.1.0", "python_version": "3.9.1", "git_commit": ""}
    with pytest.raises(RuntimeError) as caught:
        check_version_info(there, "this process")
    told = not_started(caught.value, "head:6379")
    text = str(told)
    assert "\n" not in text
    assert text.startswith("head:6379: Version mismatch: The cluster was started with: Ray: 2.1.0 Python: 3.9.1")
    assert text.endswith("install the same Ray and Python here")
    assert str(not_started(ValueError("no such host.\nmore"), "head:1")).startswith(
        "head:1: Ray did not start: no such host; check the address"
    )
    assert "see `farm doctor`" in str(not_started(Exception(), ""))


def test_where_a_renderer_could_not_be_made_and_what_a_node_lacks() -> None:
    told = RuntimeError(
        "an error raised in its creation task, ray::Renderer.__init__() (pid=7, ip=10.0.0.7, actor_id=a)"
    )
    assert address_in(told) == "10.0.0.7"
    assert address_in(RuntimeError("nothing of the kind")) == ""
    full = at_node(StorageError("the disk is full", where="/tmp", hint="free some"), "10.0.0.7/01234567")
    assert (type(full), str(full)) == (StorageError, "10.0.0.7/01234567: /tmp: the disk is full; free some")
    assert at_node(full, "10.0.0.7/01234567") is full
    absent = at_node(ModelError("model x is not in the cache"), "10.0.0.7/01234567")
    assert (absent.exit_code, str(absent)) == (4, "10.0.0.7/01234567: model x is not in the cache")


def test_code_of_another_version() -> None:
    here = code_here()
    assert difference(here, code_here()) == ""
    assert "another version of the farm (code 00000000, here" in difference(here, replace(here, sources="0" * 64))
    libraries = (("av", "1.0"), *here.libraries[1:])
    assert difference(here, replace(here, libraries=libraries)).startswith("av 1.0, here ")


def test_nodes_by_name_and_kind() -> None:
    assert node_name("10.0.0.7", "a" * 48 + "01234567") == "10.0.0.7/01234567"
    labels = {"ray.io/accelerator-type": "L4", "ray.io/node-group": "spot_g6", "ray.io/node-id": "x"}
    assert node_kind(labels, "auto") == "spot_g6"
    assert node_kind({"ray.io/accelerator-type": "L4"}, "auto") == "L4"
    assert node_kind({"ray.io/node-id": "x"}, "cpu") == "cpu"


def test_what_fits() -> None:
    assert fits({"GPU": 4, "CPU": 48}, {"GPU": 1.0}) == 4
    assert fits({"GPU": 4, "CPU": 6}, {"GPU": 1.0, "CPU": 4.0}) == 1
    assert fits({"CPU": 6}, {"GPU": 1.0}) == 0
    assert fits({"GPU": 1}, {"GPU": 0.25}) == 4
    has = Capacity([{"CPU": 0.0}], (NodeType("spot", {"GPU": 1, "CPU": 4}, 30), NodeType("big", {"GPU": 8}, 2)))
    assert (has.gpus, has.knows_gpus, has.slots({"GPU": 1.0}), has.slots_to_come({"GPU": 1.0})) == (0, True, 0, 46)
    assert not Capacity([{"CPU": 4.0}], ()).knows_gpus


def test_how_many_renderers() -> None:
    own = ClusterSpec(None, None, 3, 8, Patience())
    machine = Capacity([{"CPU": 8.0, "GPU": 2.0, "memory": 16e9}], ())
    assert sizes(own, machine, {"CPU": 1.0}) == (3, 3), "as many as the cores can feed"
    assert sizes(own, machine, {"GPU": 1.0}) == (2, 2)
    for needs, count in (({"CPU": 2.0}, 4), ({"GPU": 0.5}, 4), ({"GPU": 1.0, "CPU": 8.0}, 1), ({"memory": 4e9}, 4)):
        asked = replace(own, resources=needs)
        assert sizes(asked, machine, needs) == (count, count)
        assert sizes(replace(asked, max_workers=3), machine, needs) == (min(3, count),) * 2
    assert sizes(replace(own, workers=5), machine, {"GPU": 1.0}) == (5, 5)
    joined = replace(own, address="head:6379")
    grows = Capacity([{}], (NodeType("spot", {"GPU": 4}, 10),))
    assert sizes(joined, grows, {"GPU": 1.0}) == (0, 40)
    assert sizes(replace(joined, max_workers=7), grows, {"GPU": 1.0}) == (0, 7)


def test_the_types_of_the_cluster_file_of_the_autoscaler_on_this_machine(tmp_path: Path) -> None:
    file = tmp_path / "cluster.yaml"
    types = {
        "head": {"resources": {"CPU": 0}, "max_workers": 0},
        "spot": {"resources": {"GPU": 1, "CPU": 4}, "max_workers": 20},
        "bare": {"max_workers": 3},
    }
    file.write_text(yaml.safe_dump({"available_node_types": types}, sort_keys=False))
    process = tmp_path / "proc" / "17"
    process.mkdir(parents=True)
    words = ["python", "monitor.py", f"--autoscaling-config={file}", "--gcs-address=10.0.0.1:6379", ""]
    (process / "cmdline").write_text("\0".join(words))
    found = (NodeType("spot", {"GPU": 1, "CPU": 4}, 20), NodeType("bare", {}, 3))
    assert node_types("10.0.0.1:6379", tmp_path / "proc") == found
    assert node_types("10.0.0.2:6379", tmp_path / "proc") == ()
    assert cluster_file("auto", tmp_path / "proc") == file
    assert cluster_file("auto", tmp_path) is None
    file.write_text("{")
    assert node_types("10.0.0.1:6379", tmp_path / "proc") == ()
    file.unlink()
    assert node_types("10.0.0.1:6379", tmp_path / "proc") == ()
    assert types_in(None) == ()


def test_a_type_without_a_number_of_its_own_has_the_cluster_s() -> None:
    """As it is read from a file that was given to `ray start` as it is: `ray up` writes the numbers in."""
    types = {"head": {"resources": {}}, "spot": {"resources": {"GPU": 1}}, "few": {"max_workers": 1}}
    cluster = {"available_node_types": types, "head_node_type": "head", "max_workers": 20}
    assert types_in(cluster) == (NodeType("spot", {"GPU": 1}, 20), NodeType("few", {}, 1))
    del cluster["max_workers"]
    assert types_in(cluster) == (NodeType("spot", {"GPU": 1}, 2), NodeType("few", {}, 1))
    prepared = prepare_config({**cluster, "cluster_name": "film", "provider": {"type": "aws", "region": "us-west-2"}})
    assert {one.name: one.at_most for one in types_in(prepared)} == {"spot": 2, "few": 1}, "what Ray makes of it"
