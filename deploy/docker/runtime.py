"""The part of requirements.lock that an image needs, hashes and all: `python runtime.py requirements.lock`.

runtime.txt names the packages that face-farm and what it depends on need on Linux; `--list` makes it anew from the
metadata of what is installed, `--new` leaves of another lock what is not among them (see `make lock-images`). Standard
library alone, but for `--list`: it runs before anything is installed.
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
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
        sys.exit(f"not in the lock: {', '.join(sorted(missing))}; run make lock-images")
    return "".join(f"{block}\n" for _, block in chosen)


def closure(project: str) -> set[str]:
    """What the project depends on, with all that these depend on, by the metadata of what is installed here.

    `project` is the text of pyproject.toml.
    """
    from importlib.metadata import distribution  # noqa: PLC0415

    from packaging.requirements import Requirement  # noqa: PLC0415 - not there while an image is built
    from packaging.utils import canonicalize_name  # noqa: PLC0415

    todo = [Requirement(text) for text in tomllib.loads(project)["project"]["dependencies"]]
    seen: set[tuple[str, str]] = set()
    while todo:
        one = todo.pop()
        for extra in one.extras | {""}:
            key = (canonicalize_name(one.name), extra)
            if key not in seen:
                seen.add(key)
                below = [Requirement(text) for text in distribution(one.name).requires or ()]
                todo += [each for each in below if each.marker is None or each.marker.evaluate({"extra": extra})]
    return {name for name, _ in seen}


def main() -> str:
    """What the command line asks for, as text."""
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=Path)
    parser.add_argument("--variant", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--list", action="store_true", help="file is pyproject.toml: print runtime.txt")
    parser.add_argument("--new", action="store_true", help="file is a lock: print what runtime.txt does not name")
    given = parser.parse_args()
    text = given.file.read_text()
    if given.list:
        return "# What face-farm needs on Linux beside itself. Made by `make lock-images`.\n" + "".join(
            f"{name}\n" for name in sorted(closure(text))
        )
    wanted = names(NAMES.read_text())
    if given.new:
        return "# Made by `make lock-images`.\n" + "".join(
            f"{block}\n" for name, block in blocks(text) if name not in wanted
        )
    return runtime(text, (wanted | BUILDS) - (GPU_REPLACES if given.variant == "gpu" else set()))


if __name__ == "__main__":
    sys.stdout.write(main())
