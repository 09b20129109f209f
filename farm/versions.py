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


# Beside core: what of the job decides results that are kept.
DECIDING = ("analysis.py", "casting.py", "castjob.py", "sources.py")


def code_hash() -> str:
    """Hash of the source text of core/, which decides every pixel, of what in farm/ decides results that are kept, and
    of the libraries they stand on."""
    digest = hashlib.sha256()
    root, here = Path(core.__file__).parent, Path(__file__).parent
    for path in [*sorted(root.rglob("*.py")), *(here / name for name in DECIDING)]:
        name = path.relative_to(root) if path.is_relative_to(root) else path.relative_to(here.parent)
        digest.update(name.as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
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
