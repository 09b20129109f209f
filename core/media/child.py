"""The child process of `core.media.guard.probe_in_child`: opens a film and decodes its first frames, under limits.

A crash, a hang or a memory bomb stays in it; it answers with one JSON line.
"""

from __future__ import annotations

import importlib
import json
import resource
import sys
from dataclasses import asdict
from pathlib import Path

from core.errors import InputError, StorageError
from core.media.guard import CHILD_ANSWER, Limits
from core.media.probe import probe_first_frames

MEMORY_BYTES = 6 * 1024**3  # address space: decoders of 64 Mpx frames with their threads stay below


def main() -> None:
    """The child: arguments are the path, its opener, four limits and the processor seconds it may use."""
    path, opener, *numbers = sys.argv[2:]
    width, height, pixels, streams, seconds = (int(number) for number in numbers)
    _set_limit(resource.RLIMIT_AS, MEMORY_BYTES)
    _set_limit(resource.RLIMIT_CPU, seconds)
    _set_limit(resource.RLIMIT_CORE, 0)
    _set_limit(resource.RLIMIT_FSIZE, 0)
    limits = Limits(max_width=width, max_height=height, max_pixels=pixels, max_streams=streams)
    answer: dict[str, object]
    try:
        answer = {"claims": asdict(probe_first_frames(_path(path, opener), limits).claims)}
    except (InputError, StorageError) as error:
        refused = isinstance(error, InputError)
        answer = {"refused": refused, "what": error.what, "where": error.where, "hint": error.hint}
    except MemoryError:
        told = {"what": "needs too much memory to open", "where": path, "hint": "the file is damaged or hostile"}
        answer = {"refused": True, **told}
    sys.stdout.write(f"{CHILD_ANSWER}{json.dumps(answer)}\n")
    sys.stdout.flush()


def _path(text: str, opener: str) -> Path:
    """The path that `text` is: of a file, or what "module:function" `opener` makes of it."""
    if not opener:
        return Path(text)
    module, _, name = opener.partition(":")
    made: Path = getattr(importlib.import_module(module), name)(text)
    return made


def _set_limit(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    soft = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (soft, hard))
