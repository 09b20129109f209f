"""Sessions: any number of items on any batch, shared by threads, small on memory, and clear when they refuse.

The models are small graphs that count what they are fed.
"""

from __future__ import annotations

import hashlib
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from core.errors import ModelError
from core.inference.batches import call_items
from core.inference.binding import BoundRunner, PlainRunner
from core.inference.loading import Loader, first_line, fixed_dimensions, passed_over
from core.inference.manifest import ArchiveSpec, ModelManifest, TensorSpec, load_manifests, manifest_folder
from core.inference.prepared import get_ready
from core.inference.providers import CPU, CUDA, TENSORRT, DeviceSpec, open_inner, session_options, try_provider
from core.inference.reference import KEPT, check_outputs, made_up_feeds, sample, stored_reference
from core.inference.residency import Ladder
from core.inference.sessions import Session, Sessions
from core.inference.weights import add, model_file
from core.records import Float32Array

SIDE = 6
ONE = DeviceSpec(wish="cpu")


def graph(batch: int | str, *, weight: bool = False) -> bytes:
    """image [n,3,6,6], vector [n,4] -> sum [n,3,6,6] of image, mean of vector and weight; where [n]: sums of image."""
    inputs = [
        helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 3, SIDE, SIDE]),
        helper.make_tensor_value_info("vector", TensorProto.FLOAT, [batch, 4]),
    ]
    nodes = [
        helper.make_node("ReduceMean", ["vector"], ["mean"], axes=[1], keepdims=1),
        helper.make_node("Unsqueeze", ["mean", "axes"], ["level"]),
        helper.make_node("ReduceSum", ["image", "all"], ["where"], keepdims=0),
    ]
    if weight:
        inputs.append(helper.make_tensor_value_info("weight", TensorProto.DOUBLE, [1]))
        nodes += [
            helper.make_node("Cast", ["weight"], ["single"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["level", "single"], ["scaled"]),
            helper.make_node("Add", ["image", "scaled"], ["sum"]),
        ]
    else:
        nodes.append(helper.make_node("Add", ["image", "level"], ["sum"]))
    made = helper.make_graph(
        nodes,
        "counting",
        inputs,
        [
            helper.make_tensor_value_info("sum", TensorProto.FLOAT, [batch, 3, SIDE, SIDE]),
            helper.make_tensor_value_info("where", TensorProto.FLOAT, [batch]),
        ],
        [
            helper.make_tensor("axes", TensorProto.INT64, [2], [2, 3]),
            helper.make_tensor("all", TensorProto.INT64, [3], [1, 2, 3]),
        ],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def manifest(name: str = "counting", *, weight: bool = False) -> ModelManifest:
    inputs = [TensorSpec("image", "float32", (1, 3, SIDE, SIDE), ""), TensorSpec("vector", "float32", (1, 4), "")]
    return ModelManifest(
        id=name,
        role="swapper",
        title="a test's model",
        licence="tests",
        commercial_use=True,
        licence_note="",
        inputs=(*inputs, TensorSpec("weight", "float64", (1,), "")) if weight else tuple(inputs),
        outputs=(TensorSpec("where", "float32", (1,), ""), TensorSpec("sum", "float32", (1, 3, SIDE, SIDE), "")),
    )


def embed(cache: Path, data: bytes, *, weight: bool = False) -> ModelManifest:
    """The file as an embedded model, which is loaded as it is, whatever batch it states."""
    made = replace(
        manifest(weight=weight),
        archive=ArchiveSpec("package", "1", "wheel", 1, "member", "0" * 64),
        sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data),
    )
    cache.mkdir(exist_ok=True)
    model_file(made, cache).write_bytes(data)
    return made


def feeds(count: int, seed: int = 0) -> dict[str, Float32Array]:
    random = np.random.default_rng(seed)
    return {
        "image": random.standard_normal((count, 3, SIDE, SIDE)).astype(np.float32),
        "vector": random.standard_normal((count, 4)).astype(np.float32),
    }


def expected(given: dict[str, Float32Array]) -> list[Float32Array]:
    level = given["vector"].mean(axis=1)[:, None, None, None]
    return [given["image"].sum(axis=(1, 2, 3)), given["image"] + level]


@pytest.mark.parametrize("batch", ["batch", 1, 3, 4])
def test_any_number_of_items_on_any_batch(batch: int | str, tmp_path: Path) -> None:
    session = Sessions(tmp_path, ONE).open(embed(tmp_path, graph(batch)))
    assert session.batch == (batch if isinstance(batch, int) else None)
    for count in (0, 1, 2, 3, 4, 5, 9):
        given = feeds(count)
        outputs = session.run(given)
        for output, right in zip(outputs, expected(given), strict=True):
            assert output.shape == right.shape
            assert output.dtype == np.float32
            np.testing.assert_allclose(output, right, atol=1e-5)


def test_one_number_for_the_whole_call(tmp_path: Path) -> None:
    session = Sessions(tmp_path, ONE).open(embed(tmp_path, graph(2, weight=True), weight=True))
    given = feeds(3)
    right = expected({**given, "vector": given["vector"] * 0.25})
    for weight in (np.array([0.25]), np.full(3, 0.25), np.array(0.25)):
        outputs = session.run({**given, "weight": weight.astype(np.float32)})
        np.testing.assert_allclose(outputs[1], right[1], atol=1e-5)
    with pytest.raises(ModelError, match="weight takes one number a call, not 2"):
        session.run({**given, "weight": np.array([0, 1], np.float32)})


def test_the_same_session_for_the_same_model(tmp_path: Path) -> None:
    sessions = Sessions(tmp_path, ONE)
    model = embed(tmp_path, graph("batch"))
    with pytest.raises(ModelError, match="not in the cache"):
        sessions.open(replace(model, sha256="0" * 64, id="absent"))
    opened: list[Session] = []
    threads = [threading.Thread(target=lambda: opened.append(sessions.open(model))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 6
    assert len(set(map(id, opened))) == 1
    (use,) = sessions.uses()
    assert (use.id, use.sha256, use.listed) == ("counting", model.sha256, True)
    assert (use.provider, use.device, use.precision, use.batch, use.steps) == (CPU, "cpu", "fp32", None, ())


def test_threads_share_a_session(tmp_path: Path) -> None:
    session = Sessions(tmp_path, ONE).open(embed(tmp_path, graph(3)))
    wrong: list[int] = []

    def work(seed: int) -> None:
        for count in range(1, 8):
            given = feeds(count, seed)
            if not np.allclose(session.run(given)[1], expected(given)[1], atol=1e-5):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_dropped_session_loads_again(tmp_path: Path) -> None:
    session = Sessions(tmp_path, ONE).open(embed(tmp_path, graph("batch")))
    assert session.drop()
    assert not session.drop()
    given = feeds(2)
    np.testing.assert_allclose(session.run(given)[1], expected(given)[1], atol=1e-5)


def test_refusals_are_one_line(tmp_path: Path) -> None:
    session = Sessions(tmp_path, ONE).open(embed(tmp_path, graph("batch")))
    given = feeds(2)
    bad = [
        {**given, "vector": given["vector"][:1]},
        {**given, "image": given["image"][:, :2]},
        {"image": given["image"]},
        {**given, "image": given["image"][:, :, :5]},
    ]
    for one in bad:
        with pytest.raises(ModelError, match="model counting") as caught:
            session.run(one)
        assert "\n" not in str(caught.value)


def test_an_operators_file_is_prepared_for_any_number(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    file = tmp_path / "given.onnx"
    file.write_bytes(graph(1))
    installed = add(manifest("mine"), file, cache, unlisted=True, accept_licence=True)
    sessions = Sessions(cache, ONE)
    session = sessions.open(manifest("mine"))
    assert session.batch is None
    given = feeds(5)
    np.testing.assert_allclose(session.run(given)[1], expected(given)[1], atol=1e-5)
    assert (session.use.sha256, session.use.listed) == (installed.sha256, False)


@pytest.mark.parametrize(("wish", "provider"), [("cuda", CUDA), ("tensorrt", TENSORRT)])
def test_a_gpu_is_used_or_refused(wish: str, provider: str, tmp_path: Path) -> None:
    sessions = Sessions(tmp_path, DeviceSpec(wish=wish))  # type: ignore[arg-type]
    model = embed(tmp_path, graph("batch"))
    reason = try_provider(provider)
    if reason is None:
        assert sessions.open(model).provider == provider
        return
    with pytest.raises(ModelError) as caught:
        sessions.open(model)
    assert str(caught.value).startswith(f"{wish} was asked for, and {provider} does not work here: {reason}; ")
    assert "farm doctor" in caught.value.hint


def test_notes_say_why_better_providers_are_not_used(tmp_path: Path) -> None:
    reasons = {name: try_provider(name) for name in (TENSORRT, CUDA)}
    model = embed(tmp_path, graph("batch"))
    said: list[str] = []
    sessions = Sessions(tmp_path, DeviceSpec(), progress=said.append)
    assert sessions.notes == ()
    sessions.open(model)
    sessions.open(replace(model))
    missing = {reason for reason in reasons.values() if reason is not None}
    assert len(sessions.notes) == len(missing)
    assert set(sessions.notes) <= set(said)
    assert all(any(note.endswith(f": {reason}") for note in sessions.notes) for reason in missing)
    for wish in ("cpu", *(name for name, reason in (("cuda", reasons[CUDA]),) if reason is None)):
        strict = Sessions(tmp_path, DeviceSpec(wish=wish))  # type: ignore[arg-type]
        strict.open(model)
        assert strict.notes == ()


def test_providers_passed_over_for_one_reason_are_one_line() -> None:
    absent = "not in this build of ONNX Runtime"
    assert passed_over({TENSORRT: absent, CUDA: absent, CPU: None}, CPU) == [
        f"models run on the CPU, not on TensorRT or CUDA: {absent}"
    ]
    assert passed_over({TENSORRT: "libnvinfer.so.10 cannot be loaded", CUDA: None, CPU: None}, CUDA) == [
        "models run on CUDA, not on TensorRT: libnvinfer.so.10 cannot be loaded"
    ]
    assert len(passed_over({TENSORRT: "one", CUDA: "other", CPU: None}, CPU)) == 2
    assert passed_over({TENSORRT: None, CUDA: "other", CPU: None}, TENSORRT) == []


def test_auto_finds_something(tmp_path: Path) -> None:
    session = Sessions(tmp_path, DeviceSpec()).open(embed(tmp_path, graph("batch")))
    given = feeds(3)
    np.testing.assert_allclose(session.run(given)[1], expected(given)[1], atol=1e-3)


def test_bound_buffers_give_what_plain_calls_give(tmp_path: Path) -> None:
    """The path of GPUs, on the CPU: other shapes in between, more than are kept, and no result is overwritten."""
    inner = open_inner(graph("batch"), session_options(CPU, ONE), {CPU: {}})
    plain, bound = PlainRunner(inner, ["sum", "where"]), BoundRunner(inner, ["sum", "where"], "cpu", 0)
    kept = [(given, bound.run(given)) for given in (feeds(count, count) for count in (2, 3, 2, 1, 4, 5, 6, 2))]
    again = feeds(2, 77)
    kept.append((again, bound.run(again)))
    for given, outputs in kept:
        for output, right in zip(outputs, plain.run(given), strict=True):
            np.testing.assert_array_equal(output, right)


def test_reference_is_computed_once_and_catches_what_is_wrong(tmp_path: Path) -> None:
    model = manifest()
    calls: list[int] = []

    def compute(given: dict[str, Float32Array]) -> list[Float32Array]:
        calls.append(1)
        return expected(given)

    file = tmp_path / "model.reference.npz"
    reference = stored_reference(model, file, "ab", compute)
    again = stored_reference(model, file, "ab", compute)
    assert len(calls) == 1
    for one, other in zip(reference.samples, again.samples, strict=True):
        np.testing.assert_array_equal(one, other)
    stored_reference(model, file, "cd", compute)  # other weights
    file.write_bytes(b"torn")
    stored_reference(model, file, "cd", compute)
    assert len(calls) == 3
    assert [path.name for path in tmp_path.iterdir()] == [file.name]

    right = expected(reference.feeds)
    check_outputs(model, reference, right, "fp32")
    check_outputs(model, reference.first(1), [output[:1] for output in right], "fp32")
    swapped = [output[::-1] for output in right]
    noisy = [output * np.float32(1.02) for output in right]
    broken = [right[0], np.full_like(right[1], np.nan)]
    check_outputs(model, reference, noisy, "fp16")
    for wrong in (swapped, noisy, broken):
        with pytest.raises(ModelError, match="something else than the CPU"):
            check_outputs(model, reference, wrong, "fp32")


def test_a_model_is_checked_before_it_is_used(tmp_path: Path) -> None:
    """The way onto a GPU with the CPU at its end: a fixed batch by name, warm-up, comparison with the reference."""
    cache = tmp_path / "cache"
    model = embed(cache, graph("batch"))
    model = replace(
        model,
        inputs=tuple(replace(spec, shape=("batch", *spec.shape[1:])) for spec in model.inputs),
        outputs=tuple(replace(spec, shape=("batch", *spec.shape[1:])) for spec in model.outputs),
    )
    loader = Loader(cache, ONE)
    ready = get_ready(model, cache, 4, "fp32", lambda _: None)
    loaded = loader._checked(CPU, model, ready, graph=False, engine=None)
    assert loaded.batch == 4
    assert {value.shape[0] for value in loaded.inner.get_inputs()} == {4}
    reference = next(cache.glob("*.reference.npz"))
    with np.load(reference) as kept:
        arrays = dict(kept)
    np.savez(reference, **{**arrays, "output1": -arrays["output1"]})
    with pytest.raises(ModelError, match="output sum is off by 2 of its size"):
        loader._checked(CPU, model, ready, graph=False, engine=None)


def test_a_model_that_cannot_be_rebatched_runs_one_face_at_a_time(tmp_path: Path) -> None:
    """Its graph mixes the items: it takes the mean over the first axis."""
    made = onnx.load_model_from_string(graph(1))
    made.graph.node.append(helper.make_node("ReduceMean", ["level"], ["of_all"], axes=[0], keepdims=1))
    adding = next(node for node in made.graph.node if node.op_type == "Add")
    adding.input[1] = "of_all"
    made.graph.node.remove(adding)
    made.graph.node.append(adding)
    file, cache = tmp_path / "given.onnx", tmp_path / "cache"
    file.write_bytes(made.SerializeToString())
    add(manifest("mine"), file, cache, unlisted=True, accept_licence=True)
    said: list[str] = []
    sessions = Sessions(cache, ONE, progress=said.append)
    session = sessions.open(manifest("mine"))
    assert session.batch == 1
    assert any(line.endswith("it is used one face at a time") for line in said)
    assert [note.endswith("it is used one face at a time") for note in sessions.notes] == [True]
    given = feeds(3)
    np.testing.assert_allclose(session.run(given)[1], expected(given)[1], atol=1e-5)


def test_open_sizes_are_fixed_on_a_gpu(twins: Path, tmp_path: Path) -> None:
    """SCRFD leaves height and width open and computes with them; fixed, nothing of that is left to run."""
    detector = load_manifests(manifest_folder())["det_500m"]
    ready = get_ready(detector, twins, 2, "fp32", lambda _: None)
    left = {}
    for batch in (None, 2):
        options = session_options(CPU, ONE, fixed=fixed_dimensions(detector, batch))
        options.optimized_model_filepath = str(tmp_path / f"optimised-{batch}.onnx")
        inner = open_inner(ready.path, options, {CPU: {}})
        left[batch] = {node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node} & {"Shape"}
    assert left == {None: {"Shape"}, 2: set()}
    assert inner.get_inputs()[0].shape == [2, 3, 640, 640]


def test_large_pictures_get_small_calls() -> None:
    def of(side: int) -> ModelManifest:
        return replace(manifest(), inputs=(TensorSpec("image", "float32", (1, 3, side, side), ""),))

    assert [call_items(of(side), 4) for side in (128, 256, 512, 1024, 2048)] == [4, 4, 4, 1, 1]
    assert [call_items(of(side), 8) for side in (128, 512, 700)] == [8, 4, 2]
    assert [call_items(of(128), batch) for batch in (1, 2, 3)] == [1, 2, 3]
    channels_last = replace(manifest(), inputs=(TensorSpec("image", "float32", ("batch", 256, 256, 3), ""),))
    assert call_items(channels_last, 4) == 4


def test_made_up_inputs_fit_the_manifest() -> None:
    given = made_up_feeds(manifest(weight=True))
    assert {name: feed.shape[1:] for name, feed in given.items()} == {
        "image": (3, SIDE, SIDE),
        "vector": (4,),
        "weight": (),
    }
    np.testing.assert_allclose(np.linalg.norm(given["vector"], axis=1), 1, atol=1e-6)
    assert 0 <= given["image"].min() < given["image"].max() <= 1
    assert not np.array_equal(given["image"][0], given["image"][1])
    assert sample(np.zeros((2, 3, 200, 200), np.float32)).shape[1] <= KEPT


def test_an_exception_is_told_in_one_line() -> None:
    assert first_line(ValueError("one\ntwo")) == "one"
    assert first_line(KeyError()) == "KeyError"
    assert Ladder(batch=4).limit is None
