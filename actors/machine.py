"""What a machine is called where no cluster says its type: the model of its GPU, or "cpu"."""

from __future__ import annotations

from pathlib import Path

CPU = "cpu"
NVIDIA = Path("/proc/driver/nvidia/gpus")


def machine_kind(device: str, gpus: Path = NVIDIA) -> str:
    """The kind of this machine for renderers on `device`: "cpu", or the model of its first GPU as its driver says it.

    `gpus` is where NVIDIA's driver has a folder a GPU, with a file of lines "Model: <name>".
    """
    if device == CPU:
        return CPU
    for information in sorted(gpus.glob("*/information")):
        for line in information.read_text(errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "Model" and value.strip():
                return value.strip()
    return CPU
