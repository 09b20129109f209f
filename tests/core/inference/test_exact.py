"""Outputs in float64: against arithmetic done by hand, and against ONNX Runtime on twins."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from core.inference.exact import exact_outputs
from core.inference.manifest import load_manifests, manifest_folder
from core.inference.providers import DeviceSpec
from core.inference.reference import made_up_feeds
from core.inference.sessions import Sessions
from core.inference.weights import installed


def test_sums_that_float32_cannot_hold(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [
            helper.make_node("Add", ["x", "one"], ["more"]),
            helper.make_node("Sub", ["more", "one"], ["same"]),
            helper.make_node("Cast", ["same"], ["single"], to=TensorProto.FLOAT),
        ],
        "sum",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1])],
        [helper.make_tensor_value_info("single", TensorProto.FLOAT, [1, 1])],
        [helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])],
    )
    file = tmp_path / "sum.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), file)
    ((found,),) = exact_outputs(file, {"x": np.full((1, 1), 1e-12)}, ["single"])
    assert found[0] == pytest.approx(1e-12, rel=1e-3)


@pytest.mark.parametrize("name", ["w600k_r50", "crossface_ghost"])
def test_sessions_on_the_cpu_are_right_to_float32(name: str, twins: Path) -> None:
    manifest = load_manifests(manifest_folder())[name]
    one = {key: feed[:1] for key, feed in made_up_feeds(manifest).items()}
    (right,) = exact_outputs(installed(manifest, twins).path, one, [manifest.outputs[0].name])
    (found,) = Sessions(twins, DeviceSpec(wish="cpu")).open(manifest).run(one)
    assert np.abs(found - right).max() < 1e-5 * np.sqrt(np.mean(np.square(right)))
