"""The NVIDIA GPU as its driver describes it, asked through ctypes so that nothing needs to be installed.

Devices are numbered as CUDA numbers them in this process. libcuda names the device and its compute capability;
NVML, which counts otherwise, is asked by PCI bus id for the driver's version and the memory in use by everybody.
Function names and constants: cuda.h and nvml.h of NVIDIA's toolkit.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

from core.errors import ModelError

CAPABILITY_MAJOR, CAPABILITY_MINOR = 75, 76  # CUdevice_attribute
TEXT_BYTES = 96
# soname -> what brings it; what the CUDA and TensorRT providers of ONNX Runtime 1.31 are linked against
CUDA_LIBRARIES = {
    "libcuda.so.1": "the NVIDIA driver",
    "libcudart.so.13": "CUDA 13",
    "libcublasLt.so.13": "cuBLAS 13",
    "libcurand.so.10": "cuRAND 10",
    "libcudnn.so.9": "cuDNN 9",
}
TENSORRT_LIBRARIES = {"libnvinfer.so.10": "TensorRT 10"}


@dataclass(frozen=True)
class Gpu:
    """One device: `capability` is "9.0" for example, `driver` the driver's version."""

    name: str
    capability: str
    driver: str
    total_bytes: int
    used_bytes: int


class _Memory(ctypes.Structure):
    """nvmlMemory_t."""

    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


def look_at_gpu(device_id: int) -> Gpu:
    """The device with that number; `ModelError` where there is none or its driver does not answer."""
    cuda, nvml = _library("libcuda.so.1"), _library("libnvidia-ml.so.1")
    device = ctypes.c_int()
    _call(cuda, "cuInit", 0)
    _call(cuda, "cuDeviceGet", ctypes.byref(device), device_id)
    name, bus, driver = (ctypes.create_string_buffer(TEXT_BYTES) for _ in range(3))
    _call(cuda, "cuDeviceGetName", name, TEXT_BYTES, device)
    _call(cuda, "cuDeviceGetPCIBusId", bus, TEXT_BYTES, device)
    capability = []
    for attribute in (CAPABILITY_MAJOR, CAPABILITY_MINOR):
        value = ctypes.c_int()
        _call(cuda, "cuDeviceGetAttribute", ctypes.byref(value), attribute, device)
        capability.append(str(value.value))
    handle, memory = ctypes.c_void_p(), _Memory()
    _call(nvml, "nvmlInit_v2")
    _call(nvml, "nvmlDeviceGetHandleByPciBusId_v2", bus, ctypes.byref(handle))
    _call(nvml, "nvmlSystemGetDriverVersion", driver, TEXT_BYTES)
    _call(nvml, "nvmlDeviceGetMemoryInfo", handle, ctypes.byref(memory))
    return Gpu(
        name=name.value.decode(errors="replace"),
        capability=".".join(capability),
        driver=driver.value.decode(errors="replace"),
        total_bytes=int(memory.total),
        used_bytes=int(memory.used),
    )


def tensorrt_version() -> str:
    """The version of the TensorRT library, as 10.16.1 for example; `ModelError` where it cannot be loaded."""
    number = int(_library("libnvinfer.so.10").getInferLibVersion())  # major * 10000 + minor * 100 + patch
    return f"{number // 10000}.{number // 100 % 100}.{number % 100}"


def missing_library(names: dict[str, str]) -> str | None:
    """The first of the shared libraries that cannot be loaded and what brings it, in one line; None if all load."""
    for soname, bringer in names.items():
        try:
            ctypes.CDLL(soname)
        except OSError:
            return f"{soname} cannot be loaded: {bringer} is missing"
    return None


def _library(soname: str) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(soname)
    except OSError as error:
        raise ModelError(f"no NVIDIA GPU here: {soname} cannot be loaded", hint="use the device cpu") from error


def _call(library: ctypes.CDLL, function: str, *arguments: object) -> None:
    status = getattr(library, function)(*arguments)
    if status != 0:
        raise ModelError(f"the NVIDIA driver refused {function}: code {status}", hint="try: nvidia-smi")
