"""What ONNX Runtime can really run here, and with which options: the execution providers of our policy.

`get_available_providers()` names what was compiled in, not what works, and a session asked for CUDA on a machine
without a GPU quietly runs on the CPU. So the fallbacks, the runtime's and its Python wrapper's, are switched off, and
the answer of a small graph is computed and compared.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

from core.inference.gpu import CUDA_LIBRARIES, TENSORRT_LIBRARIES, missing_library
from core.inference.shelf import Shelf
from core.records.models import Precision

TENSORRT, CUDA, CPU = "TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"
# the order in which a session's provider is chosen
POLICY = (TENSORRT, CUDA, CPU)
BATCH = 4  # faces of one call on a GPU: the trunks of the 128 px swappers fill one with that
OPTIMIZATION_LEVEL = 3  # of TensorRT's builder, 0 to 5: higher builds far longer and gains little

Wish = Literal["auto", "cpu", "cuda", "tensorrt"]


@dataclass(frozen=True)
class DeviceSpec:
    """What an actor asks for.

    wish: "auto" takes the first provider of the policy that works here, the others take that one or refuse. threads:
    of one session on the CPU. batch: the most items of one call, on a GPU their fixed number. gpu_mem_limit_bytes: of
    each session's memory on the GPU. shelf: where the farm's machines share TensorRT engines.
    """

    wish: Wish = "auto"
    device_id: int = 0
    threads: int = 1
    batch: int = BATCH
    gpu_mem_limit_bytes: int | None = None
    shelf: Shelf | None = None


@dataclass(frozen=True)
class EngineFiles:
    """Where TensorRT keeps what it builds: `wrapper` is an ONNX file whose engine lies beside it, names begin with
    `prefix`; timings of kernels are shared by all models on one kind of GPU in the folder `timing`."""

    wrapper: Path
    prefix: str
    timing: Path


def wanted(wish: Wish) -> tuple[str, ...]:
    """The providers that a wish allows, best first."""
    named: Mapping[Wish, tuple[str, ...]] = {"auto": POLICY, "cpu": (CPU,), "cuda": (CUDA,), "tensorrt": (TENSORRT,)}
    return named[wish]


def session_options(
    provider: str, spec: DeviceSpec, *, fixed: Mapping[str, int] | None = None
) -> onnxruntime.SessionOptions:
    """Options of a session on `provider`; `fixed` gives named dimensions of the graph's inputs a size.

    Threads sleep while idle instead of spinning, because other sessions and encoders want the cores; a memory
    allocator that the process has registered is used if there is one. On a GPU no node may run on the CPU.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = spec.threads if provider == CPU else 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what goes wrong is raised, and told in one line by whoever cannot mend it
    for key, value in {
        "session.intra_op.allow_spinning": "0",
        "session.inter_op.allow_spinning": "0",
        "session.use_env_allocators": "1",
    }.items():
        options.add_session_config_entry(key, value)
    if provider != CPU:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    for name, size in (fixed or {}).items():
        options.add_free_dimension_override_by_name(name, size)
    return options


def provider_options(
    provider: str,
    spec: DeviceSpec,
    *,
    precision: Precision = "fp32",
    static: bool = False,
    graph: bool = False,
    stream: int | None = None,
    engine: EngineFiles | None = None,
    build: bool = False,
) -> dict[str, str]:
    """Options of one provider of a session, as ONNX Runtime takes them.

    static: all shapes of the model are fixed. graph: calls are captured as a CUDA graph and replayed. stream: the
    address of a CUDA stream that the session shares. engine: where TensorRT's engines lie; `build` lets it write them.
    """
    if provider == CPU:
        return {}
    options = {"device_id": str(spec.device_id)}
    if stream is not None:
        options["user_compute_stream"] = str(stream)
    if provider == CUDA:
        return options | _cuda(spec, static=static, graph=graph)
    return options | _tensorrt(spec, precision, graph=graph, engine=engine, build=build)


def _cuda(spec: DeviceSpec, *, static: bool, graph: bool) -> dict[str, str]:
    options = {
        # An arena that doubles would keep up to half the device for nothing.
        "arena_extend_strategy": "kSameAsRequested",
        # Trying every algorithm pays off where shapes stay; a detector meets new sizes with every film.
        "cudnn_conv_algo_search": "EXHAUSTIVE" if static else "HEURISTIC",
        "cudnn_conv_use_max_workspace": "1",
        "do_copy_in_default_stream": "1",
        "use_tf32": "0",  # a model called fp32 computes in fp32; fp16 is a model of its own
        "enable_cuda_graph": "1" if graph else "0",
    }
    if spec.gpu_mem_limit_bytes is not None:
        options["gpu_mem_limit"] = str(spec.gpu_mem_limit_bytes)
    return options


def _tensorrt(
    spec: DeviceSpec, precision: Precision, *, graph: bool, engine: EngineFiles | None, build: bool
) -> dict[str, str]:
    # Unlike CUDA's, these options take no 0 and 1 (ONNX Runtime's Python binding reads them itself).
    options = {
        "trt_builder_optimization_level": str(OPTIMIZATION_LEVEL),
        "trt_context_memory_sharing_enable": "True",
        "trt_cuda_graph_enable": "True" if graph else "False",
        # TensorRT 10 is weakly typed: half kernels and Q/DQ need leave even where the model states its types.
        "trt_fp16_enable": "True" if precision == "fp16" else "False",
        "trt_int8_enable": "True" if precision == "int8" else "False",
        "trt_layer_norm_fp32_fallback": "True" if precision == "fp16" else "False",
    }
    if spec.gpu_mem_limit_bytes is not None:
        options["trt_max_workspace_size"] = str(spec.gpu_mem_limit_bytes)
    if engine is not None and build:
        options |= {
            # No path of the engine: it goes beside the wrapper. No wrapper is written where an engine lies already.
            "trt_engine_cache_enable": "True",
            "trt_engine_cache_prefix": engine.prefix,
            "trt_dump_ep_context_model": "True",
            "trt_ep_context_file_path": str(engine.wrapper),
            "trt_ep_context_embed_mode": "0",
            "trt_timing_cache_enable": "True",
            "trt_timing_cache_path": str(engine.timing),
        }
    elif engine is not None:  # for an engine without a wrapper, as of models that TensorRT runs in several pieces
        options |= {
            "trt_engine_cache_enable": "True",
            "trt_engine_cache_path": str(engine.wrapper.parent),
            "trt_engine_cache_prefix": engine.prefix,
        }
    return options


def providers_of(provider: str) -> tuple[str, ...]:
    """What a session on `provider` is given: TensorRT leaves the nodes it lacks to CUDA. The CPU provider is never
    named beside a GPU's, because ONNX Runtime then refuses to be strict."""
    return (TENSORRT, CUDA) if provider == TENSORRT else (provider,)


def open_inner(
    model: Path | bytes, options: onnxruntime.SessionOptions, providers: Mapping[str, Mapping[str, str]]
) -> onnxruntime.InferenceSession:
    """A session with exactly these providers; without the Python wrapper's own fallback, which prints and retries on
    the CPU, also in the middle of a run. Raises whatever ONNX Runtime raises."""
    source = model if isinstance(model, bytes) else str(model)
    if set(providers) != {CPU}:
        load_libraries()
    return onnxruntime.InferenceSession(
        source,
        options,
        providers=list(providers),
        provider_options=[dict(each) for each in providers.values()],
        enable_fallback=0,
    )


def load_libraries() -> None:
    """Load CUDA, cuDNN and TensorRT out of their Python packages, where they are installed as such."""
    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does not find, which is no error here
        onnxruntime.preload_dlls()
    spec = importlib.util.find_spec("tensorrt_libs")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for name in ("libnvinfer.so.10", "libnvinfer_plugin.so.10", "libnvonnxparser.so.10"):
            with contextlib.suppress(OSError):
                ctypes.CDLL(str(Path(folder) / name), ctypes.RTLD_GLOBAL)


def try_provider(name: str, device_id: int = 0) -> str | None:
    """None when `name` computes the probe graph itself; otherwise the reason why not, in one line."""
    if name not in onnxruntime.get_available_providers():
        return "not in this build of ONNX Runtime"
    if name != CPU:
        load_libraries()
        if missing := missing_library(CUDA_LIBRARIES | (TENSORRT_LIBRARIES if name == TENSORRT else {})):
            return missing
    spec = DeviceSpec(device_id=device_id)
    options = session_options(name, spec)
    options.log_severity_level = 4
    try:
        session = open_inner(
            _probe_graph(), options, {each: provider_options(each, spec) for each in providers_of(name)}
        )
        if session.get_providers()[0] != name:
            return f"the session ran on {session.get_providers()[0]} instead"
        (answer,) = session.run(None, {"x": np.ones((1, 3, 8, 8), np.float32)})
    except Exception as error:  # ONNX Runtime raises several unrelated types here; the reason is the answer
        return " ".join(str(error).split())[:200]
    return None if np.allclose(answer, 27.0) else f"computed {answer.flat[0]:.3f} where 27 is right"


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


def runtime_version() -> str:
    """ONNX Runtime's version."""
    return str(onnxruntime.__version__)
