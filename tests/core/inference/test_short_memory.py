"""Sessions when memory runs out for real, in the runtime's own arena: steps down, and one line when none is left."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from onnx import TensorProto, helper

from core.inference.manifest import ModelManifest, TensorSpec
from tests.core.inference.test_sessions import embed

ROOT = Path(__file__).resolve().parents[3]

OUT_OF_MEMORY = """
import sys
from pathlib import Path
import numpy as np
import onnxruntime as ort
from tests.core.inference.test_short_memory import hungry
from core.errors import ModelError
from core.inference.providers import DeviceSpec
from core.inference.sessions import Sessions

info = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
config = ort.OrtArenaCfg({"max_mem": int(sys.argv[2]), "arena_extend_strategy": 1})
ort.create_and_register_allocator(info, config)
sessions = Sessions(Path(sys.argv[1]), DeviceSpec(wish="cpu", batch=8))
session = sessions.open(hungry(Path(sys.argv[1])), may_go=sys.argv[3] == "may go")
images = np.random.default_rng(0).random((7, 3, 64, 64), np.float32)
try:
    (means,) = session.run({"image": images})
    np.testing.assert_allclose(means, 0.1 * images.sum(axis=1).mean(axis=(1, 2)), rtol=1e-4)
    print("right")
except ModelError as error:
    print(error)
print(",".join(session.use.steps), sessions.ring(8), sessions.enhancer_off)
"""


def hungry(cache: Path) -> ModelManifest:
    """A model that needs 1 MiB of memory an item: 64 channels of 64x64."""
    made = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "w"], ["wide"]),
            helper.make_node("Relu", ["wide"], ["positive"]),
            helper.make_node("ReduceMean", ["positive"], ["mean"], axes=[1, 2, 3], keepdims=0),
        ],
        "hungry",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 64, 64])],
        [helper.make_tensor_value_info("mean", TensorProto.FLOAT, ["batch"])],
        [helper.make_tensor("w", TensorProto.FLOAT, [64, 3, 1, 1], [0.1] * 192)],
    )
    data = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    one = embed(cache, bytes(data))
    return replace(
        one,
        inputs=(TensorSpec("image", "float32", ("batch", 3, 64, 64), ""),),
        outputs=(TensorSpec("mean", "float32", ("batch",), ""),),
    )


@pytest.mark.parametrize(
    ("mib", "told"),
    [
        (64, ["right", " 8 False"]),
        (6, ["right", "unused sessions dropped,frame ring halved,batch 2 4 False"]),
        (3, ["right", "unused sessions dropped,frame ring halved,batch 2,batch 1 4 False"]),
    ],
)
def test_memory_that_runs_out_costs_steps_not_the_job(mib: int, told: list[str], tmp_path: Path) -> None:
    assert starve(tmp_path, mib << 20) == told


def test_memory_that_is_never_enough_is_one_line(tmp_path: Path) -> None:
    error, steps = starve(tmp_path, 3 << 19)
    assert error == "model counting: too little memory on cpu; close other programs there, or use the device cpu"
    assert steps == "unused sessions dropped,frame ring halved,batch 2,batch 1 4 False"


def test_a_model_that_may_go_goes_at_last(tmp_path: Path) -> None:
    error, steps = starve(tmp_path, 3 << 19, may_go=True)
    assert error == "model counting: left out for want of memory"
    assert steps == "unused sessions dropped,frame ring halved,batch 2,batch 1,enhancer off 4 True"
    assert starve(tmp_path, 3 << 20, may_go=True)[0] == "right", "not before"


def starve(cache: Path, arena_bytes: int, *, may_go: bool = False) -> list[str]:
    """What a process says whose arena, ONNX Runtime's own, may not grow beyond this. It says nothing else."""
    command = [sys.executable, "-c", OUT_OF_MEMORY, str(cache), str(arena_bytes), "may go" if may_go else "must stay"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stderr == ""
    return done.stdout.strip().splitlines()
