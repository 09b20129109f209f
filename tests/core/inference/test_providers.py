"""Providers: options as ONNX Runtime's binding reads them, and what really runs here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest

from core.errors import ModelError
from core.inference.gpu import look_at_gpu, missing_library, tensorrt_version
from core.inference.providers import (
    CPU,
    CUDA,
    POLICY,
    TENSORRT,
    DeviceSpec,
    EngineFiles,
    provider_options,
    providers_of,
    session_options,
    try_provider,
    wanted,
)
from core.records.models import Precision

ROOT = Path(__file__).resolve().parents[3]
# How the Python binding of ONNX Runtime 1.31 reads each TensorRT option that we set: its own error messages.
BOOLEAN, NUMBER, TEXT = "True or False", "a number", "text"
TENSORRT_FORMS = {
    "device_id": NUMBER,
    "trt_max_workspace_size": NUMBER,
    "trt_builder_optimization_level": NUMBER,
    "trt_ep_context_embed_mode": NUMBER,
    "trt_context_memory_sharing_enable": BOOLEAN,
    "trt_cuda_graph_enable": BOOLEAN,
    "trt_fp16_enable": BOOLEAN,
    "trt_int8_enable": BOOLEAN,
    "trt_layer_norm_fp32_fallback": BOOLEAN,
    "trt_engine_cache_enable": BOOLEAN,
    "trt_dump_ep_context_model": BOOLEAN,
    "trt_timing_cache_enable": BOOLEAN,
    "trt_engine_cache_path": TEXT,
    "trt_engine_cache_prefix": TEXT,
    "trt_ep_context_file_path": TEXT,
    "trt_timing_cache_path": TEXT,
    "user_compute_stream": NUMBER,
}
CUDA_NAMES = {
    "device_id",
    "gpu_mem_limit",
    "arena_extend_strategy",
    "cudnn_conv_algo_search",
    "cudnn_conv_use_max_workspace",
    "do_copy_in_default_stream",
    "use_tf32",
    "enable_cuda_graph",
    "user_compute_stream",
}
SPEC = DeviceSpec(device_id=1, threads=3, gpu_mem_limit_bytes=3 << 30)
FILES = EngineFiles(wrapper=Path("/e/name/name_ctx.onnx"), prefix="name", timing=Path("/e/timing/9.0"))


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("build", [False, True])
@pytest.mark.parametrize("engine", [None, FILES])
def test_tensorrt_options_have_the_form_that_the_binding_reads(
    precision: Precision, build: bool, engine: EngineFiles | None
) -> None:
    options = provider_options(
        TENSORRT,
        SPEC,
        precision=precision,
        graph=True,
        stream=4096,
        engine=engine,
        build=build,
    )
    for name, value in options.items():
        form = TENSORRT_FORMS[name]
        assert value, name  # an empty text is refused
        assert form != BOOLEAN or value in {"True", "False"}, name
        assert form != NUMBER or value.isdecimal(), name
    assert options["trt_fp16_enable"] == str(precision == "fp16")
    assert options["trt_int8_enable"] == str(precision == "int8")
    assert options["trt_max_workspace_size"] == str(3 << 30)
    assert options["user_compute_stream"] == "4096"


def test_an_engine_is_built_beside_its_wrapper_and_found_there_again() -> None:
    built = provider_options(TENSORRT, SPEC, engine=FILES, build=True)
    assert built["trt_dump_ep_context_model"] == "True"
    assert built["trt_ep_context_file_path"] == "/e/name/name_ctx.onnx"
    assert built["trt_ep_context_embed_mode"] == "0"
    assert "trt_engine_cache_path" not in built  # must not be absolute while a wrapper is written, nor empty
    assert built["trt_timing_cache_path"] == "/e/timing/9.0"
    found = provider_options(TENSORRT, SPEC, engine=FILES)
    assert "trt_dump_ep_context_model" not in found
    assert found["trt_engine_cache_path"] == "/e/name"
    assert built["trt_engine_cache_prefix"] == found["trt_engine_cache_prefix"] == "name"
    assert "trt_engine_cache_enable" not in provider_options(TENSORRT, SPEC)


def test_cuda_options() -> None:
    options = provider_options(CUDA, SPEC, static=True, graph=True, stream=64)
    assert set(options) == CUDA_NAMES
    assert options["gpu_mem_limit"] == str(3 << 30)
    assert options["use_tf32"] == "0"
    assert options["enable_cuda_graph"] == "1"
    assert options["cudnn_conv_algo_search"] == "EXHAUSTIVE"
    open_shapes = provider_options(CUDA, DeviceSpec())
    assert open_shapes["cudnn_conv_algo_search"] == "HEURISTIC"
    assert open_shapes["enable_cuda_graph"] == "0"
    assert "gpu_mem_limit" not in open_shapes
    assert provider_options(CPU, SPEC) == {}


def test_session_options_leave_cores_alone_and_are_strict_on_gpus() -> None:
    here = session_options(CPU, SPEC)
    assert (here.intra_op_num_threads, here.inter_op_num_threads) == (3, 1)
    there = session_options(CUDA, SPEC, fixed={"batch": 4})
    assert there.intra_op_num_threads == 1
    for options in (here, there):
        assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
        assert options.get_session_config_entry("session.inter_op.allow_spinning") == "0"
    assert there.get_session_config_entry("session.disable_cpu_ep_fallback") == "1"
    with pytest.raises(RuntimeError):
        here.get_session_config_entry("session.disable_cpu_ep_fallback")


def test_policy() -> None:
    assert wanted("auto") == POLICY == (TENSORRT, CUDA, CPU)
    assert wanted("cpu") == (CPU,)
    assert wanted("cuda") == (CUDA,)
    assert wanted("tensorrt") == (TENSORRT,)
    assert providers_of(TENSORRT) == (TENSORRT, CUDA)
    assert CPU not in providers_of(CUDA) + providers_of(TENSORRT)  # named beside them it makes them not strict


def test_providers_are_tried_not_asked() -> None:
    assert try_provider(CPU) is None
    for name in (CUDA, TENSORRT):
        reason = try_provider(name)
        if name not in onnxruntime.get_available_providers():
            assert reason == "not in this build of ONNX Runtime"
        assert reason is None or "\n" not in reason


def test_missing_libraries_are_named_with_what_brings_them() -> None:
    assert missing_library({"libc.so.6": "the C library"}) is None
    assert missing_library({"libc.so.6": "the C library", "libnothere.so.9": "Nothing 9"}) == (
        "libnothere.so.9 cannot be loaded: Nothing 9 is missing"
    )


def test_trying_a_provider_prints_nothing() -> None:
    """Standard output may be JSON."""
    program = "from core.inference.providers import POLICY, try_provider; [try_provider(name) for name in POLICY]"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, cwd=ROOT)
    assert done.stdout == b""
    assert done.stderr == b""


def test_the_gpu_is_described_or_missed_in_one_line() -> None:
    if missing_library({"libcuda.so.1": "the driver"}) is not None:
        with pytest.raises(ModelError, match="no NVIDIA GPU here: libcuda"):
            look_at_gpu(0)
        with pytest.raises(ModelError, match="libnvinfer"):
            tensorrt_version()
        return
    gpu = look_at_gpu(0)
    assert gpu.total_bytes > gpu.used_bytes > 0
    assert len(gpu.capability.split(".")) == 2
