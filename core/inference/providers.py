"""What ONNX Runtime can really run here: each execution provider of our policy, tried with a small graph.

`get_available_providers()` names what was compiled in, not what works, and a session asked for CUDA on a machine
without a GPU quietly runs on the CPU. So the fallback is switched off and the answer is computed and compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

TENSORRT, CUDA, CPU = "TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"
# the order in which a session's provider is chosen
POLICY = (TENSORRT, CUDA, CPU)


@dataclass(frozen=True)
class DeviceSpec:
    """What an actor asks for.

    wish: "auto" takes the first provider of the policy that works here, the others take that one or refuse. threads:
    of one session on the CPU. batch: faces of one call on a GPU. gpu_mem_limit_bytes: of each session's arena.
    engine_cache: the folder of built TensorRT engines that the farm shares, beside the model cache's own.
    """

    wish: Literal["auto", "cpu", "cuda", "tensorrt"] = "auto"
    device_id: int = 0
    threads: int = 1
    batch: int = 4
    gpu_mem_limit_bytes: int | None = None
    engine_cache: str | None = None


def session_options(provider: str, spec: DeviceSpec) -> onnxruntime.SessionOptions:
    """Options of a session on `provider`: threads that sleep while idle, because other sessions want the cores."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = spec.threads if provider == CPU else 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if provider != CPU:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    return options


def _probe_graph() -> bytes:
    """A 1x3x8x8 convolution with a kernel of ones: every real provider has it, and its answer is known."""
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"])],
        "probe",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, 6, 6])],
        [helper.make_tensor("w", TensorProto.FLOAT, [1, 3, 3, 3], [1.0] * 27)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def try_provider(name: str) -> str | None:
    """None when `name` computes the probe graph itself; otherwise the reason why not, in one line."""
    if name not in onnxruntime.get_available_providers():
        return "not in this build of ONNX Runtime"
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if name != "CPUExecutionProvider":
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    try:
        session = onnxruntime.InferenceSession(_probe_graph(), options, providers=[name])
        if session.get_providers()[0] != name:
            return f"the session ran on {session.get_providers()[0]} instead"
        (answer,) = session.run(None, {"x": np.ones((1, 3, 8, 8), np.float32)})
    except Exception as error:  # ONNX Runtime raises several unrelated types here; the reason is the answer
        return " ".join(str(error).split())[:200]
    return None if np.allclose(answer, 27.0) else f"computed {answer.flat[0]:.3f} where 27 is right"
