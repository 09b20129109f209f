"""Operators' files that parse as ONNX and still cannot be the model: refused when they are added, in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from core.errors import ModelError
from core.inference.manifest import ModelManifest, load_manifests, manifest_folder
from core.inference.twins import build_twin
from core.inference.weights import add

Change = Callable[[onnx.ModelProto], None]


@pytest.fixture(scope="module")
def manifest() -> ModelManifest:
    return load_manifests(manifest_folder())["inswapper_128"]


@pytest.fixture(scope="module")
def twin(manifest: ModelManifest) -> bytes:
    return build_twin(manifest)


def batch_of_four(model: onnx.ModelProto) -> None:
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 4


def cut_weights(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].raw_data = model.graph.initializer[0].raw_data[:-4]


def cut_emap(model: onnx.ModelProto) -> None:
    model.graph.initializer[-1].raw_data = model.graph.initializer[-1].raw_data[:100]


def newer_format(model: onnx.ModelProto) -> None:
    model.ir_version = 99


def sparse_constant(model: onnx.ModelProto) -> None:
    values = numpy_helper.from_array(np.ones(1, np.float32), "far")
    values.data_location = TensorProto.EXTERNAL
    values.external_data.add(key="location", value="../../secret")
    indices = numpy_helper.from_array(np.zeros(1, np.int64), "where")
    sparse = helper.make_sparse_tensor(values, indices, [4])
    model.graph.node.append(helper.make_node("Constant", [], ["unused"], sparse_value=sparse))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (batch_of_four, "batches of 4"),
        (cut_weights, "bytes"),
        (cut_emap, "bytes"),
        (newer_format, "format 99"),
        (sparse_constant, "sparse"),
    ],
    ids=lambda value: value.__name__ if callable(value) else None,
)
def test_what_only_looks_like_the_model(
    change: Change, words: str, manifest: ModelManifest, twin: bytes, tmp_path: Path
) -> None:
    model = onnx.load_model_from_string(twin)
    change(model)
    file, cache = tmp_path / "file.onnx", tmp_path / "models"
    file.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=words) as caught:
        add(manifest, file, cache, unlisted=True, accept_licence=True)
    assert "\n" not in str(caught.value)
    assert not list(cache.glob("*.onnx"))
