"""What code made a result: part of every key, so that another version never passes its work off as this one's."""

from __future__ import annotations

import hashlib
import platform
from importlib import metadata
from pathlib import Path

import core

# Packages whose version can change pixels or bytes.
LIBRARIES = ("av", "numpy", "onnxruntime", "opencv-python-headless", "ray")


def version_of(package: str) -> str:
    """The installed version, or "absent"; read from its metadata, without importing it."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "absent"


def code_hash() -> str:
    """Hash of the source text of core/, which decides every pixel, and of the libraries it stands on."""
    digest = hashlib.sha256()
    root = Path(core.__file__).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    for package in LIBRARIES:
        if package != "ray":
            digest.update(f"{package} {version_of(package)}\0".encode())
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """For the report: program, code, Python and libraries."""
    return {
        "farm": version_of("face-farm"),
        "code": code_hash()[:16],
        "python": platform.python_version(),
        **{package: version_of(package) for package in LIBRARIES},
    }
