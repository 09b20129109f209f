"""The part of requirements.lock that an image needs, hashes and all: `python runtime.py requirements.lock`.

runtime.txt names the packages that face-farm and what it depends on need on Linux; the tests compare it with the
installed packages' own metadata. Standard library alone: it runs before anything is installed.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

NAMES = Path(__file__).with_name("runtime.txt")
BUILDS = {"setuptools"}  # builds face-farm itself, and is taken away again
GPU_REPLACES = {"onnxruntime"}  # gpu.lock has onnxruntime-gpu, which installs the same module


def names(text: str) -> set[str]:
    """The packages that runtime.txt names, one a line; # begins a comment."""
    return {line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")}


def blocks(lock: str) -> Iterator[tuple[str, str]]:
    """(package, its lines with all hashes) of a lock: a requirement goes on while lines end with a backslash."""
    for block in re.findall(r"^\S.*(?:(?<=\\)\n.*)*", lock, re.MULTILINE):
        found = re.match(r"([A-Za-z0-9][\w.-]*)==", block)
        if found:
            yield re.sub(r"[-_.]+", "-", found.group(1)).lower(), block


def runtime(lock: str, wanted: set[str]) -> str:
    """The blocks of `wanted`; `SystemExit` where the lock lacks one of them."""
    chosen = [(name, block) for name, block in blocks(lock) if name in wanted]
    missing = wanted - {name for name, _ in chosen}
    if missing:
        sys.exit(f"not in the lock: {', '.join(sorted(missing))}; write runtime.txt anew")
    return "".join(f"{block}\n" for _, block in chosen)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("lock", type=Path)
    parser.add_argument("--variant", choices=("cpu", "gpu"), default="cpu")
    given = parser.parse_args()
    needed = names(NAMES.read_text()) | BUILDS
    sys.stdout.write(runtime(given.lock.read_text(), needed - GPU_REPLACES if given.variant == "gpu" else needed))
