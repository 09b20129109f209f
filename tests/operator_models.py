"""A small model of the kind that operators bring, with its manifest, and files that are wrong in one way each."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from core.inference.manifest import ModelManifest, TensorSpec

SIDE = 16


def small_onnx(
    *,
    source: str = "source",
    target: str = "target",
    output: str = "output",
    side: int = SIDE,
    batch: int | str = 1,
    op: str = "Add",
    domain: str = "",
    opset: int = 17,
    seed: int = 0,
) -> bytes:
    """source [1,4], target [1,3,16,16] -> output [1,3,16,16]: target plus the mean of source and a weight."""
    weight = np.random.default_rng(seed).standard_normal((1, 3, 1, 1)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", [source], ["mean"], axes=[1], keepdims=1),
            helper.make_node("Unsqueeze", ["mean", "axes"], ["level"]),
            helper.make_node("Add", ["level", "weight"], ["shift"]),
            helper.make_node(op, [target, "shift"], [output], domain=domain),
        ],
        "small",
        [
            helper.make_tensor_value_info(target, TensorProto.FLOAT, [batch, 3, side, side]),
            helper.make_tensor_value_info(source, TensorProto.FLOAT, [batch, 4]),
        ],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [batch, 3, side, side])],
        [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(np.array([2, 3], np.int64), "axes")],
    )
    opsets = [helper.make_opsetid("", opset)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString(deterministic=True))


def small_manifest(data: bytes | None = None, *, commercial: bool = False, file: str = "small.onnx") -> ModelManifest:
    """The manifest of `small_onnx`; with `data`, its hash and size are published."""
    return ModelManifest(
        id="small",
        role="swapper",
        title="a test's model",
        licence="for tests",
        commercial_use=commercial,
        licence_note="tests only.",
        inputs=(
            TensorSpec("target", "float32", (1, 3, SIDE, SIDE), ""),
            TensorSpec("source", "float32", (1, 4), ""),
        ),
        outputs=(TensorSpec("output", "float32", (1, 3, SIDE, SIDE), ""),),
        sha256=hashlib.sha256(data).hexdigest() if data is not None else None,
        size_bytes=len(data) if data is not None else None,
        file=file,
    )


def other(manifest: ModelManifest, name: str, file: str) -> ModelManifest:
    """The same contract under another id and file name."""
    return replace(manifest, id=name, file=file)


def with_external_weights(data: bytes) -> bytes:
    model = onnx.load_model_from_string(data)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="secrets.bin")
    return bytes(model.SerializeToString())
