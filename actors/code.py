"""Which code a process runs: compared between driver and renderers, so that no segment is made by another version."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import core

RUN_BY_RENDERERS = ("core", "actors", "farm/store")
# What decodes, computes on and encodes pixels. ONNX Runtime has a name of its own for GPUs, and its version is part
# of how a model ran (core.inference), so it is not compared here.
LIBRARIES = ("av", "numpy", "opencv-python-headless")
DIGITS = 8


@dataclass(frozen=True)
class Code:
    """The sha256 of the source text that renderers run, and the versions of libraries that decide bytes or ""."""

    sources: str
    libraries: tuple[tuple[str, str], ...]


def code_here() -> Code:
    """The code of this process's installation."""
    digest = hashlib.sha256()
    root = Path(core.__file__).parents[1]
    for path in sorted(path for part in RUN_BY_RENDERERS for path in (root / part).rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return Code(digest.hexdigest(), tuple((name, version_of(name)) for name in LIBRARIES))


def version_of(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def difference(here: Code, there: Code) -> str:
    """What is not the same, in words; "" where nothing is."""
    if here.sources != there.sources:
        return f"another version of the farm (code {there.sources[:DIGITS]}, here {here.sources[:DIGITS]})"
    for (name, ours), (_, theirs) in zip(here.libraries, there.libraries, strict=True):
        if ours != theirs:
            return f"{name} {theirs or 'nowhere'}, here {ours or 'nowhere'}"
    return ""
