"""The size of a picture that somebody sent, decoded in a child process: one that claims much harms nobody."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

from core.errors import Busy, InputError

PROCESSOR_S = 30.0  # more is the picture's fault
CLOCK_S = 60.0  # a machine that has not decoded it by then has too much to do
MEMORY_BYTES = 2 << 30  # address space; 64 Mpx of four bytes, and the libraries
FAILED = 3


def picture_size(path: Path) -> tuple[int, int]:
    """Height and width of the picture, upright. `InputError`, with the file's path, where it cannot be read whole;
    `Busy` where the machine did not come to it."""
    command = [sys.executable, "-m", "farm.api.picture", str(path)]
    imports = os.pathsep.join(entry for entry in sys.path if entry)
    environment = {**os.environ, "PYTHONPATH": imports, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(command, capture_output=True, timeout=CLOCK_S, check=False, env=environment)
    except subprocess.TimeoutExpired:
        told = f"opening it took longer than {CLOCK_S:g} s"
        raise Busy(told, where=str(path), hint="wait until this machine has less to do, and try again") from None
    if done.returncode == FAILED:
        raise InputError(**json.loads(done.stdout))
    if done.returncode == -signal.SIGXCPU:
        told = f"opening it used the processor for more than {PROCESSOR_S:g} s"
        raise InputError(told, where=str(path), hint="export it again, smaller")
    if done.returncode:
        told = f"opening it ended the decoder ({done.returncode})"
        raise InputError(told, where=str(path), hint="the file is damaged, hostile or too large")
    height, width = json.loads(done.stdout)
    return int(height), int(width)


def main(path: str) -> int:
    """The child: the size as JSON on stdout, or why there is none."""
    from core.media.image import image_size  # noqa: PLC0415 - only the child decodes
    from core.niceness import go_last  # noqa: PLC0415

    go_last()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (int(PROCESSOR_S), int(PROCESSOR_S) + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    try:
        answer: object = image_size(path)
        ended = 0
    except InputError as error:
        answer, ended = {"what": error.what, "where": error.where, "hint": error.hint}, FAILED
    except MemoryError:
        hint = "the file is damaged or hostile"
        answer, ended = {"what": "needs too much memory to open", "where": path, "hint": hint}, FAILED
    sys.stdout.write(json.dumps(answer))
    return ended


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
