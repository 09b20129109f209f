"""The Dockerfile, read: what it copies is there, what it installs is locked, and it ends without root."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from tests.deploy.amazon import ROOT

TEXT = (ROOT / "Dockerfile").read_text()


def instructions() -> list[tuple[str, str]]:
    """(keyword, the rest on one line), comments left out."""
    lines = "\n".join(line for line in TEXT.splitlines() if not line.startswith("#"))
    joined = re.sub(r"\\\n", " ", lines)
    return [(word, rest.strip()) for word, rest in re.findall(r"^([A-Z]+)\s+(.*)$", joined, re.MULTILINE)]


def stages() -> dict[str, list[tuple[str, str]]]:
    found: dict[str, list[tuple[str, str]]] = {}
    for word, rest in instructions():
        if word == "FROM":
            found[rest.split(" AS ")[1]] = []
        elif found:
            found[list(found)[-1]].append((word, rest))
    return found


def copied() -> list[str]:
    """What comes out of the build's context."""
    words = [rest.split() for word, rest in instructions() if word == "COPY" and "--from" not in rest]
    return [source for some in words for source in some[:-1]]


def ignored(path: str) -> bool:
    """.dockerignore's rule: the last pattern that fits decides; a pattern of a folder holds for all below it."""
    hidden = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern, back = line.removeprefix("!"), line.startswith("!")
        if not pattern or pattern.startswith("#"):
            continue
        parts = path.split("/")
        heads = ["/".join(parts[: number + 1]) for number in range(len(parts))]
        names = parts if pattern.startswith("**/") else heads
        if any(fnmatchcase(name, pattern.removeprefix("**/")) for name in names):
            hidden = not back
    return hidden


def test_what_is_copied_is_in_the_repository_and_in_the_context() -> None:
    tracked = set(
        subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    )
    for source in copied():
        below = [name for name in tracked if name == source or name.startswith(source + "/")]
        assert below, source
        assert not [name for name in below if ignored(name)], source
    for secret in (
        ".git/config",
        "film.mp4",
        "out/x.mp4",
        "film.mp4.farm/lock",
        "tests/conftest.py",
        ".env",
        "core/__pycache__/x.pyc",
    ):
        assert ignored(secret), secret


def test_every_package_of_the_project_is_copied() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        settings = tomllib.load(file)
    houses = {name.split(".")[0] for name in settings["tool"]["setuptools"]["packages"]}
    assert houses <= set(copied())
    for needed in (settings["project"]["readme"], *settings["project"]["license-files"]):
        assert needed in copied()


def runtime(*words: str) -> str:
    return subprocess.run(
        [sys.executable, "deploy/docker/runtime.py", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def listed() -> set[str]:
    return {line for line in (ROOT / "deploy/docker/runtime.txt").read_text().splitlines() if not line.startswith("#")}


def test_the_list_of_packages_is_what_the_metadata_say() -> None:
    """Where it is not: make lock-images."""
    assert runtime("pyproject.toml", "--list") == (ROOT / "deploy/docker/runtime.txt").read_text()
    assert {"ray", "av", "onnxruntime", "boto3", "numpy"} <= listed()


@pytest.mark.parametrize("variant", ["cpu", "gpu"])
def test_an_image_gets_the_locked_packages_with_their_hashes(variant: str) -> None:
    locked = (ROOT / "requirements.lock").read_text()
    chosen = runtime("requirements.lock", "--variant", variant)
    blocks = re.split(r"\n(?=\S)", chosen.strip())
    assert all(block in locked and "--hash=sha256:" in block for block in blocks)
    names = {canonicalize_name(block.split("==")[0]) for block in blocks}
    assert names == (listed() | {"setuptools"}) - ({"onnxruntime"} if variant == "gpu" else set())
    assert ("onnxruntime" in names) == (variant == "cpu")
    for extra in ("pytest", "moto", "hypothesis", "insightface", "mypy"):
        assert extra not in names


@pytest.mark.parametrize("name", ["gpu", "launch"])
def test_the_other_locks_are_hashed_and_repeat_nothing(name: str) -> None:
    text = (ROOT / f"deploy/docker/{name}.lock").read_text()
    blocks = [block for block in re.split(r"\n(?=\S)", text.strip()) if not block.startswith("#")]
    assert all(re.match(r"[\w.-]+==\S+ \\\n(\s+--hash=sha256:\w{64}( \\\n)?)+$", block) for block in blocks), blocks
    names = {canonicalize_name(block.split("==")[0]) for block in blocks}
    assert not names & (listed() - {"onnxruntime"})
    if name == "gpu":
        (cpu,) = re.findall(r"^onnxruntime==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
        assert f"onnxruntime-gpu=={cpu} " in text  # the same version: the same results but for the device


def test_pip_takes_nothing_without_a_hash_and_builds_nothing() -> None:
    installs = [part for _, rest in instructions() for part in re.split(r"&&|;", rest) if "pip install" in part]
    assert installs
    for part in installs:
        assert "--no-deps" in part, part
        assert "--no-index" in part or ("--require-hashes" in part and "--only-binary :all:" in part), part


def test_the_image_ends_without_root_and_with_what_ray_kuberay_and_nvidia_look_for() -> None:
    last = stages()["farm"]
    assert [rest for word, rest in last if word == "USER"] == ["1000:1000"]  # a number, for runAsNonRoot
    after = last[[word for word, _ in last].index("USER") :]
    assert not [word for word, _ in after if word in {"RUN", "COPY", "ADD"}]
    environment = dict(re.findall(r"(\w+)=(\S+)", " ".join(rest for word, rest in last if word == "ENV")))
    assert environment["HOME"] == "/home/farm"  # ray/autoscaler/_private/command_runner.py, run_init
    assert set(environment["NVIDIA_DRIVER_CAPABILITIES"].split(",")) == {"compute", "utility", "video"}
    assert environment["FARM_MODEL_CACHE"] == "/opt/models"
    packages = " ".join(rest for word, rest in last if word == "RUN")
    for tool in ("openssh-client", "rsync", "wget", "tmux"):
        assert tool in packages
    assert "/etc/profile.d/" in packages  # login shells forget PATH, and Ray's launcher uses them
    assert not [rest for word, rest in instructions() if word == "ADD"]


def test_models_are_fetched_when_the_image_is_built() -> None:
    assert any("farm models pull --cache /opt/models" in rest for _, rest in stages()["build"])
    assert any("--chown=1000:1000 /opt/models" in rest for _, rest in stages()["farm"])
    assert not list(Path(ROOT / "deploy").rglob("*.onnx"))
