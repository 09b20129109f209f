"""Twins: every operator's model has one, it has the published tensors, structure and size, and numbers that tell."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import skimage.data
from typer.testing import CliRunner

from core.errors import ModelError, StorageError
from core.inference.manifest import ModelManifest, load_manifests, manifest_folder
from core.inference.onnxfile import check_model
from core.inference.twins import TWINS, build_twin
from core.records import Float32Array
from farm.cli.models import app
from tests.faces_assets import astronaut

MANIFESTS = load_manifests(manifest_folder())
SWAPPERS = [name for name in TWINS if MANIFESTS[name].role == "swapper"]
# These take seconds on one core, and have the graph of gpen_256 and gpen_512.
SLOW = {"gpen_1024", "gpen_2048"}


def run(manifest: ModelManifest, feeds: dict[str, Float32Array], data: bytes | None = None) -> list[Float32Array]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(data or build_twin(manifest), options, providers=["CPUExecutionProvider"])
    return [np.asarray(value) for value in session.run([spec.name for spec in manifest.outputs], feeds)]


def picture(side: int, *, other: bool = False) -> Float32Array:
    """A face, or a cat, in 0..1 [3,side,side], every pixel the nearest one."""
    whole = skimage.data.cat()[30:250, 100:320] if other else astronaut()[20:240, 115:335]
    at = np.arange(side) * whole.shape[0] // side
    return np.ascontiguousarray((whole[at][:, at] / 255).astype(np.float32).transpose(2, 0, 1))


def feeds_of(
    manifest: ModelManifest, *, other_source: bool = False, other_target: bool = False
) -> dict[str, Float32Array]:
    """Inputs as the manifest describes them."""
    feeds = {}
    for spec in manifest.inputs:
        shape = [size if isinstance(size, int) else 1 for size in spec.shape]
        other = other_source if spec.name == "source" else other_target
        if spec.dtype == "float64":
            feeds[spec.name] = np.ones(shape)
        elif len(shape) == 2:
            vector = np.random.default_rng(8 if other else 7).standard_normal(shape).astype(np.float32)
            feeds[spec.name] = vector / np.linalg.norm(vector)
        elif shape[-1] == 3:
            feeds[spec.name] = picture(shape[1], other=other).transpose(1, 2, 0)[None]
        else:
            plain = spec.name == "source" and manifest.role == "swapper"
            mean, std = (np.zeros(3), np.ones(3)) if plain else (manifest.pixels.mean, manifest.pixels.std)
            scaled = picture(shape[2], other=other) * 255 / manifest.pixels.scale
            column = [np.asarray(values, np.float32)[:, None, None] for values in (mean, std)]
            feeds[spec.name] = ((scaled - column[0]) / column[1])[None].astype(np.float32)
    return feeds


def ops(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def test_every_operators_model_has_a_twin() -> None:
    assert set(TWINS) == {name for name, manifest in MANIFESTS.items() if not manifest.embedded}


@pytest.mark.parametrize("name", TWINS)
def test_a_twin_is_a_valid_file_with_the_manifests_tensors(name: str) -> None:
    data = build_twin(MANIFESTS[name])
    onnx.checker.check_model(check_model(data, MANIFESTS[name]))
    assert build_twin(MANIFESTS[name]) == data
    assert build_twin(MANIFESTS[name], seed=1) != data


@pytest.mark.parametrize("name", [name for name in TWINS if name not in SLOW])
def test_a_twin_runs_and_gives_numbers_of_a_sensible_size(name: str) -> None:
    manifest = MANIFESTS[name]
    for spec, value in zip(manifest.outputs, run(manifest, feeds_of(manifest)), strict=True):
        assert value.shape == tuple(size if isinstance(size, int) else 1 for size in spec.shape)
        assert np.isfinite(value).all()
        assert np.abs(value).max() < 100
        assert value.std() > 1e-3


@pytest.mark.parametrize("name", SWAPPERS)
def test_a_swappers_picture_shows_the_target_and_depends_on_the_source(name: str) -> None:
    manifest = MANIFESTS[name]
    data = build_twin(manifest)
    made, other = (run(manifest, feeds_of(manifest, other_source=other), data)[0] for other in (False, True))
    target = feeds_of(manifest)["target"]
    assert np.corrcoef(made.mean(1).ravel(), target.mean(1).ravel())[0, 1] > 0.7
    low, high = np.percentile(made, (1, 99))
    assert np.abs(made - other).mean() > 0.02 * (high - low)


def test_inswapper_has_the_structure_that_surgery_meets() -> None:
    model = onnx.load_model_from_string(build_twin(MANIFESTS["inswapper_128"]))
    graph, counts = model.graph, {op: ops(model).count(op) for op in set(ops(model))}
    assert [value.name for value in graph.input] == ["target", "source"]
    assert graph.initializer[-1].name == "emap"
    assert list(graph.initializer[-1].dims) == [512, 512]
    assert not any("emap" in node.input for node in graph.node)
    # 6 blocks of 2 styled convolutions, 2 before and after the trunk each with reflected edges: 14 pads.
    pads = [node for node in graph.node if node.op_type == "Pad"]
    assert len(pads) == counts["ConstantOfShape"] == 14
    assert all(attribute.s == b"reflect" for node in pads for attribute in node.attribute)
    makers = {name: node.op_type for node in graph.node for name in node.output}
    assert {makers[node.input[1]] for node in pads} == {"Cast"}
    assert counts["Sqrt"] == counts["Gemm"] == 12
    assert counts["ReduceMean"] == 24
    assert counts["Conv"] == 20
    assert counts["Resize"] == 2
    assert "InstanceNormalization" not in counts
    chain = ["ReduceMean", "Sub", "Mul", "ReduceMean", "Add", "Sqrt", "Div", "Mul"]
    order = [op for op in ops(model) if op != "Constant"]
    first = order.index("ReduceMean")
    assert order[first : first + len(chain)] == chain


def test_the_half_inswapper_computes_in_float16_between_float32_tensors() -> None:
    full, half = (MANIFESTS[name] for name in ("inswapper_128", "inswapper_128_fp16"))
    model = onnx.load_model_from_string(build_twin(half))
    assert {tensor.data_type for tensor in model.graph.initializer} == {onnx.TensorProto.FLOAT16}
    same = TWINS[full.id](replace(full, id=half.id), 8, 0)
    difference = np.abs(run(half, feeds_of(half))[0] - run(full, feeds_of(full), same)[0])
    assert 0 < difference.max() < 0.05


def test_scrfd_heads_flatten_the_batch() -> None:
    model = onnx.load_model_from_string(build_twin(MANIFESTS["det_10g"]))
    heads = [node for node in model.graph.node if node.op_type == "Transpose"]
    assert len(heads) == 9
    values = {
        node.output[0]: onnx.numpy_helper.to_array(node.attribute[0].t)
        for node in model.graph.node
        if node.op_type == "Constant"
    }
    shapes = [values[node.input[1]].tolist() for node in model.graph.node if node.op_type == "Reshape"]
    assert sorted(shapes) == [[-1, 1]] * 3 + [[-1, 4]] * 3 + [[-1, 10]] * 3


@pytest.mark.parametrize("name", [name for name in TWINS if MANIFESTS[name].role == "detector"])
def test_a_detector_finds_a_few_faces_anywhere(name: str) -> None:
    manifest = MANIFESTS[name]
    scores = [value for value in run(manifest, feeds_of(manifest)) if value.shape[-1] == 1]
    share = np.mean(np.concatenate([value.ravel() > 0.5 for value in scores]))
    assert 0.001 < share < 0.2


@pytest.mark.parametrize("name", ["w600k_r50", "w600k_mbf"])
def test_a_recogniser_finds_a_shifted_face_more_alike_than_another(name: str) -> None:
    manifest = MANIFESTS[name]
    data = build_twin(manifest)
    face = feeds_of(manifest)["input.1"]
    shifted = np.roll(face, 2, axis=3)
    other = feeds_of(manifest, other_target=True)["input.1"]
    vectors = [run(manifest, {"input.1": value}, data)[0][0] for value in (face, shifted, other)]
    unit = [vector / np.linalg.norm(vector) for vector in vectors]
    assert unit[0] @ unit[1] > unit[0] @ unit[2] + 0.1
    assert 2 < np.linalg.norm(vectors[0]) < 60


def test_gfpgan_folds_the_batch_into_channels() -> None:
    model = onnx.load_model_from_string(build_twin(MANIFESTS["gfpgan_1.4"]))
    weights = {tensor.name for tensor in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    modulated = [node for node in model.graph.node if node.op_type == "Conv" and node.input[1] not in weights]
    assert len(modulated) == 15 + 8  # styled convolutions and those to colours
    assert {makers[node.input[0]].op_type for node in modulated} == {"Reshape"}
    assert {makers[node.input[1]].op_type for node in modulated} == {"Reshape"}


@pytest.mark.parametrize("name", ["det_10g", "det_2.5g", "det_500m", "w600k_mbf", "gpen_256", "xseg", "bisenet"])
def test_a_full_twin_is_as_large_as_the_published_file(name: str) -> None:
    manifest = MANIFESTS[name]
    assert manifest.size_bytes is not None
    assert len(build_twin(manifest, width=1)) == pytest.approx(manifest.size_bytes, rel=0.03)


BUILD = """
import resource, sys
from core.inference.manifest import load_manifests, manifest_folder
from core.inference.twins import build_twin
size = len(build_twin(load_manifests(manifest_folder())[sys.argv[1]], width=1))
print(size, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@pytest.mark.heavy
@pytest.mark.parametrize("name", ["inswapper_128", "inswapper_128_fp16", "w600k_r50", "gfpgan_1.4", "gpen_512"])
def test_a_large_full_twin_is_as_large_as_the_published_file_and_built_in_little_memory(name: str) -> None:
    manifest = MANIFESTS[name]
    assert manifest.size_bytes is not None
    done = subprocess.run([sys.executable, "-c", BUILD, name], capture_output=True, text=True, check=True)
    size, peak = (int(value) for value in done.stdout.split())
    assert size == pytest.approx(manifest.size_bytes, rel=0.01)
    assert peak < 1.5e9


def test_a_new_manifest_of_a_known_kind_gets_a_twin() -> None:
    for name in ("inswapper_128", "simswap_512", "hyperswap_1a_256", "w600k_r50", "det_10g", "gpen_256", "xseg"):
        known = MANIFESTS[name]
        new = replace(known, id="my_own")
        check_model(build_twin(new), new)


def test_what_has_no_twin_is_refused() -> None:
    with pytest.raises(ModelError, match="no twin of centerface"):
        build_twin(MANIFESTS["centerface"])
    with pytest.raises(ModelError, match="width divisor 0"):
        build_twin(MANIFESTS["det_10g"], width=0)
    odd = replace(MANIFESTS["inswapper_128"], id="odd", outputs=())
    with pytest.raises(ModelError, match="no twin of odd: its tensors"):
        build_twin(odd)


def test_the_command_writes_a_twin(tmp_path: Path) -> None:
    file = tmp_path / "twin.onnx"
    done = CliRunner().invoke(app, ["twin", "det_500m", "-o", str(file)])
    assert done.exit_code == 0, done.output
    assert file.read_bytes() == build_twin(MANIFESTS["det_500m"])
    assert [path.name for path in tmp_path.iterdir()] == ["twin.onnx"]
    full = CliRunner().invoke(app, ["twin", "det_500m", "--full", "-o", str(file)])
    assert full.exit_code == 0
    assert file.stat().st_size == pytest.approx(2524817, rel=0.03)


def test_the_command_says_where_it_cannot_write(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"")
    for place in (tmp_path / "absent" / "twin.onnx", file / "twin.onnx"):
        done = CliRunner().invoke(app, ["twin", "det_500m", "-o", str(place)])
        assert isinstance(done.exception, StorageError)
        assert str(place) in str(done.exception)
