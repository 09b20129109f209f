"""`farm doctor`: what this machine can really do, found by trying each thing."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

State = Literal["works", "absent", "broken"]

# encoder, pixel format tried; the hardware ones are allowed to be absent
ENCODERS = (
    ("libx264", "yuv420p"),
    ("libx264", "yuv420p10le"),
    ("libx265", "yuv420p"),
    ("libx265", "yuv420p10le"),
    ("libsvtav1", "yuv420p"),
    ("libvpx-vp9", "yuv420p"),
    ("prores_ks", "yuv422p10le"),
    ("ffv1", "yuv420p"),
    ("h264_nvenc", "yuv420p"),
    ("hevc_nvenc", "yuv420p"),
    ("av1_nvenc", "yuv420p"),
)
DECODERS = ("h264", "hevc", "av1", "vp9", "vp8", "prores", "ffv1", "mpeg4", "mpeg2video", "mjpeg")
NEEDED_FREE_BYTES = 2 << 30

# what a machine can be asked to have beyond a CPU -> the finding that shows it
NEEDS = {
    "cuda": ("provider", "CUDAExecutionProvider"),
    "tensorrt": ("provider", "TensorrtExecutionProvider"),
    "nvenc": ("encoder", "h264_nvenc yuv420p"),
    "nvdec": ("decoder", "nvdec (cuda)"),
}


@dataclass(frozen=True)
class Finding:
    """One thing tried: `absent` is a fact about the machine, `broken` is something to mend."""

    group: str
    name: str
    state: State
    detail: str


@dataclass(frozen=True)
class DoctorReport:
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        return all(finding.state != "broken" for finding in self.findings)

    def needing(self, needs: Iterable[str]) -> DoctorReport:
        """The same, with what is absent but among `needs` (keys of NEEDS) as broken."""
        needed = {NEEDS[name] for name in needs}
        return DoctorReport(
            tuple(
                replace(finding, state="broken", detail=f"needed here, but: {finding.detail}")
                if finding.state == "absent" and (finding.group, finding.name) in needed
                else finding
                for finding in self.findings
            )
        )


def look_at_providers() -> Iterator[Finding]:
    from core.inference.providers import POLICY, try_provider  # noqa: PLC0415 - only when asked

    for name in POLICY:
        reason = try_provider(name)
        needed = name == "CPUExecutionProvider"
        state: State = "works" if reason is None else ("broken" if needed else "absent")
        yield Finding("provider", name, state, reason or "computed the probe graph")


def look_at_gpu(limit_bytes: int | None = None) -> Iterator[Finding]:
    """The first GPU, and what FARM_GPU_MEM_LIMIT leaves a model of it."""
    from core.errors import ModelError  # noqa: PLC0415
    from core.inference import gpu  # noqa: PLC0415

    try:
        found = gpu.look_at_gpu(0)
    except ModelError as error:
        yield Finding("gpu", "device 0", "absent", error.what)
        found = None
    if limit_bytes is not None:
        state: State = "broken" if found is not None and limit_bytes > found.total_bytes else "works"
        more = ", more than the device has" if state == "broken" else ""
        yield Finding(
            "gpu", "FARM_GPU_MEM_LIMIT", state, f"{limit_bytes / 2**30:.2f} GiB for each model's session{more}"
        )
    if found is None:
        return
    memory = f"{found.used_bytes / 2**30:.1f} of {found.total_bytes / 2**30:.1f} GiB in use"
    detail = f"compute capability {found.capability}, driver {found.driver}, {memory}"
    yield Finding("gpu", found.name, "works", detail)


def look_at_sessions(cache: Path, gpu_mem_limit_bytes: int | None = None) -> Iterator[Finding]:
    """Where each model that is there really runs, and that it computes there what the CPU computes."""
    from core.errors import ModelError  # noqa: PLC0415
    from core.inference.manifest import load_manifests, manifest_folder  # noqa: PLC0415
    from core.inference.providers import DeviceSpec  # noqa: PLC0415
    from core.inference.sessions import Sessions  # noqa: PLC0415
    from core.inference.weights import present  # noqa: PLC0415

    sessions = Sessions(cache, DeviceSpec(gpu_mem_limit_bytes=gpu_mem_limit_bytes))
    for name, manifest in sorted(load_manifests(manifest_folder()).items()):
        try:
            if present(manifest, cache) is None:
                continue
            session = sessions.open(manifest)
        except ModelError as error:
            yield Finding("session", name, "broken", str(error))
            continue
        use = session.use
        batch = "any number of items" if use.batch is None else f"{use.batch} items"
        yield Finding("session", name, "works", f"{use.provider} on {use.device}, {use.precision}, {batch} a call")
        session.drop()


def look_at_encoders() -> Iterator[Finding]:
    from core.media.encode import try_encoder  # noqa: PLC0415

    for name, pix_fmt in ENCODERS:
        reason = try_encoder(name, pix_fmt)
        hardware = name.endswith("_nvenc")
        state: State = "works" if reason is None else ("absent" if hardware else "broken")
        yield Finding("encoder", f"{name} {pix_fmt}", state, reason or "encoded a frame")


def look_at_decoders() -> Iterator[Finding]:
    from core.media.trial import try_decoder, try_hardware_decoder  # noqa: PLC0415

    for name in DECODERS:
        reason = try_decoder(name)
        yield Finding("decoder", name, "works" if reason is None else "broken", reason or "decoded a frame")
    reason = try_hardware_decoder("cuda")
    yield Finding("decoder", "nvdec (cuda)", "works" if reason is None else "absent", reason or "opened the device")


def look_at_ray() -> Iterator[Finding]:
    from actors.ray.joining import try_ray  # noqa: PLC0415

    started = time.monotonic()
    reason = try_ray()
    took = f"ran a task in an actor, {time.monotonic() - started:.1f} s with start-up"
    yield Finding("ray", "local cluster", "works" if reason is None else "broken", reason or took)


def look_at_disk(folder: Path) -> Iterator[Finding]:
    free = shutil.disk_usage(folder).free
    block = os.urandom(1 << 20)
    started = time.monotonic()
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            for _ in range(32):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        yield Finding("disk", str(folder), "broken", f"cannot write: {error.strerror}; choose another folder")
        return
    rate = 32 / (time.monotonic() - started)
    state: State = "works" if free >= NEEDED_FREE_BYTES else "broken"
    yield Finding("disk", str(folder), state, f"{free / 2**30:.1f} GiB free, writes {rate:.0f} MiB/s to the medium")


def look_at_models(cache: Path) -> Iterator[Finding]:
    """The embedded models and those the operator has added; the others are counted."""
    from core.inference.manifest import load_manifests, manifest_folder  # noqa: PLC0415
    from core.inference.weights import check, model_file  # noqa: PLC0415

    others = 0
    for name, manifest in sorted(load_manifests(manifest_folder()).items()):
        if not manifest.embedded and not model_file(manifest, cache).exists():
            others += 1
            continue
        reason = check(manifest, cache)
        yield Finding("model", name, "works" if reason is None else "absent", reason or f"hash matches, in {cache}")
    if others:
        yield Finding("model", f"{others} more", "absent", "operators' models: see farm models list")


def examine(
    folder: Path, cache: Path, *, with_ray: bool = True, gpu_mem_limit_bytes: int | None = None
) -> DoctorReport:
    """Try everything; a look that itself fails is a broken finding, never an exception."""
    looks: list[tuple[str, Callable[[], Iterator[Finding]]]] = [
        ("gpu", lambda: look_at_gpu(gpu_mem_limit_bytes)),
        ("provider", look_at_providers),
        ("encoder", look_at_encoders),
        ("decoder", look_at_decoders),
        ("disk", lambda: look_at_disk(folder)),
        ("model", lambda: look_at_models(cache)),
        ("session", lambda: look_at_sessions(cache, gpu_mem_limit_bytes)),
    ]
    if with_ray:
        looks.append(("ray", look_at_ray))
    findings: list[Finding] = []
    for group, look in looks:
        try:
            findings.extend(look())
        except Exception as error:  # the doctor's whole job is to survive and name what does not work
            findings.append(Finding(group, group, "broken", f"{type(error).__name__}: {' '.join(str(error).split())}"))
    return DoctorReport(tuple(findings))
