"""What is refused of an ONNX file before any runtime sees it, and in which words."""

from __future__ import annotations

from dataclasses import replace

import onnx
import pytest
from onnx import TensorProto, helper

from core.errors import ModelError
from core.inference.manifest import load_manifests, manifest_folder
from core.inference.onnxfile import check_model, output_names
from core.inference.twins import build_twin
from tests.operator_models import small_manifest, small_onnx, with_external_weights


def test_the_manifests_model_passes() -> None:
    data = small_onnx()
    assert check_model(data, small_manifest(data)).graph.name == "small"
    # a re-export with a free number of faces is the same model, one for four at a time is not
    check_model(small_onnx(batch="n"), small_manifest())
    with pytest.raises(ModelError, match="batches of 4"):
        check_model(small_onnx(batch=4), small_manifest())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not an ONNX file: no nodes"),
        (b"hello", "not an ONNX file, or cut off"),
        (b"<!DOCTYPE html><html>", "it is a web page, not a model; download it again"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "it is a Git LFS pointer"),
        (b"PK\x03\x04" + b"\x00" * 30, "it is a zip archive"),
        (small_onnx(domain="some.vendor", op="Magic"), "operators outside the standard: some.vendor"),
        (small_onnx(opset=99), "written for operator set 99, 26 is the newest that runs here; export it"),
        (with_external_weights(small_onnx()), "weights in another file; only models in one file are loaded"),
        (
            small_onnx(source="embedding"),
            r"its inputs are target float32 \[1, 3, 16, 16\], embedding float32 \[1, 4\]; "
            r"expected target float32 \[1, 3, 16, 16\], source float32 \[1, 4\]",
        ),
        (small_onnx(side=32), r"its inputs are target float32 \[1, 3, 32, 32\].*; expected target"),
    ],
)
def test_other_files_are_refused_in_one_line(data: bytes, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        check_model(data, small_manifest())
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("model small: ")


def test_a_file_cut_off_says_how_much_is_missing() -> None:
    data = small_onnx()
    with pytest.raises(ModelError, match=f"published file has {len(data)} bytes, this one {len(data) // 2}"):
        check_model(data[: len(data) // 2], small_manifest(data))


def test_outputs_go_by_name_or_else_by_order() -> None:
    manifest = small_manifest()
    renamed = small_onnx(output="781")
    assert output_names(check_model(renamed, manifest), manifest) == ["781"]
    two = replace(manifest, outputs=(*manifest.outputs, replace(manifest.outputs[0], name="mask")))
    with pytest.raises(ModelError, match=r"its outputs are 781 float32 .*; expected output float32 .*, mask float32"):
        check_model(renamed, two)


def test_another_type_is_another_model() -> None:
    manifest = small_manifest()
    half = replace(manifest, inputs=(replace(manifest.inputs[0], dtype="float16"), manifest.inputs[1]))
    with pytest.raises(ModelError, match=r"target float32 .*; expected target float16"):
        check_model(small_onnx(), half)


def test_external_weights_and_operators_inside_a_branch_are_found() -> None:
    model = onnx.load_model_from_string(small_onnx())
    inner = helper.make_graph([helper.make_node("Magic", [], ["z"], domain="some.vendor")], "branch", [], [])
    model.graph.node.append(helper.make_node("If", ["level"], [], then_branch=inner, else_branch=inner))
    with pytest.raises(ModelError, match=r"some\.vendor"):
        check_model(model.SerializeToString(), small_manifest())
    tensor = helper.make_tensor("c", TensorProto.FLOAT, [1], [0.0])
    tensor.data_location = TensorProto.EXTERNAL
    constant = helper.make_graph([helper.make_node("Constant", [], ["c"], value=tensor)], "branch", [], [])
    model.graph.node[-1].CopyFrom(helper.make_node("If", ["level"], [], then_branch=constant, else_branch=constant))
    with pytest.raises(ModelError, match="weights in another file"):
        check_model(model.SerializeToString(), small_manifest())


def test_inswapper_must_end_with_its_emap() -> None:
    manifest = load_manifests(manifest_folder())["inswapper_128"]
    twin = build_twin(manifest, width=64)
    model = check_model(twin, manifest)
    assert list(model.graph.initializer[-1].dims) == [512, 512]
    emap = model.graph.initializer.pop()
    with pytest.raises(ModelError, match=r"its last initializer must be emap, float32 \[512, 512\]; it is .*as publ"):
        check_model(model.SerializeToString(), manifest)
    model.graph.initializer.insert(0, emap)  # there, but not last: an optimiser has been here
    with pytest.raises(ModelError, match="last initializer must be emap"):
        check_model(model.SerializeToString(), manifest)
