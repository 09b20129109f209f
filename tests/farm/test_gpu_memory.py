"""FARM_GPU_MEM_LIMIT: from what an operator writes to the options of a renderer's sessions."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from core.errors import InputError
from core.inference.providers import CUDA, TENSORRT, DeviceSpec, provider_options
from farm.desk import worker_settings
from farm.doctor import examine, look_at_gpu
from farm.settings import RunOptions, load_settings
from tests.system.runs import farm_here


def limit(text: str) -> int | None:
    return load_settings({"HOME": "/h", "FARM_GPU_MEM_LIMIT": text}).gpu_mem_limit_bytes


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("8G", 8 << 30),
        ("8GiB", 8 << 30),
        ("8 gib", 8 << 30),
        ("8GB", 8_000_000_000),
        ("1.5g", 3 << 29),
        (".5T", 1 << 39),
        ("8192M", 8 << 30),
        ("8589934592", 8 << 30),
        ("8589934592B", 8 << 30),
        ("", None),
    ],
)
def test_sizes(text: str, size: int | None) -> None:
    assert limit(text) == size


@pytest.mark.parametrize("text", ["lots", "8 G G", "-8G", "8Gb/s", "1e9", "0x10", "G", ".", "\u0668G\n8"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(InputError, match=re.escape(f"FARM_GPU_MEM_LIMIT={text!r} is no size; write 8G")) as caught:
        limit(text)
    assert "\n" not in str(caught.value)


def test_a_number_without_its_unit() -> None:
    with pytest.raises(InputError, match="FARM_GPU_MEM_LIMIT='8' is too little for any model; write 8G"):
        limit("8")


def test_a_bad_size_ends_any_command_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARM_GPU_MEM_LIMIT", "much")
    ran = farm_here("render", tmp_path / "film.mp4", "-o", tmp_path / "out.mp4", "--swapper", "none", "--local")
    assert ran.code == 2
    assert "FARM_GPU_MEM_LIMIT='much' is no size" in ran.error_line


def test_it_reaches_the_sessions_of_a_renderer() -> None:
    settings = load_settings({"HOME": "/h", "FARM_GPU_MEM_LIMIT": "3G"})
    spec = worker_settings(RunOptions(local=True), settings).device_spec()
    assert spec.gpu_mem_limit_bytes == 3 << 30
    assert provider_options(CUDA, spec)["gpu_mem_limit"] == str(3 << 30)
    assert provider_options(TENSORRT, spec)["trt_max_workspace_size"] == str(3 << 30)
    assert "gpu_mem_limit" not in provider_options(CUDA, DeviceSpec())


def test_doctor_says_it(tmp_path: Path) -> None:
    assert all(finding.name != "FARM_GPU_MEM_LIMIT" for finding in look_at_gpu())
    report = examine(tmp_path, tmp_path / "models", with_ray=False, gpu_mem_limit_bytes=3 << 29)
    (found,) = [finding for finding in report.findings if finding.name == "FARM_GPU_MEM_LIMIT"]
    assert (found.group, found.detail) == ("gpu", "1.50 GiB for each model's session")


def test_help_names_it() -> None:
    ran = farm_here("render", "--help")
    assert "FARM_GPU_MEM_LIMIT" in ran.out
