"""A job in a file: what to make and how to run it, as JSON. For `ray submit`, which does not quote arguments.

{"spec": JobSpec, "run": RunOptions}; what is left out is as the command's own default. Paths are taken from the folder
in which the job runs. Written by `farm render ... --write-job FILE`, or by hand: then checked as the options are.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec

from core import codec
from core.errors import InputError
from core.media.far import FarPath
from core.records import JobSpec
from farm.artifacts import storage_error
from farm.paths import place, usable_path
from farm.resources import check_resources
from farm.settings import RunOptions

HINT = "see docs/launching.md, or write one with `farm render ... --write-job`"
MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class JobFile:
    """A film to make, and how."""

    spec: JobSpec
    run: RunOptions = field(default_factory=RunOptions)


def read_job(path: Path) -> JobFile:
    """The job in the file, or object, at `path`. `InputError` for what cannot be a job."""
    from farm.store.output import near  # noqa: PLC0415 - loads boto3

    try:
        with near(str(path)) as file, Path(file).open("rb") as stream:
            data = stream.read(MOST_BYTES + 1)
    except OSError as error:
        raise InputError(f"the job cannot be read: {error.strerror}", where=str(path), hint="check the path") from error
    if len(data) > MOST_BYTES:
        raise InputError("no job: it is larger than any", where=str(path), hint=HINT)
    with naming(path):
        job = parse_job(data)
        check_spec(job.spec)
        check_run(job.run)
    return job


def parse_job(data: bytes) -> JobFile:
    """The job that the JSON says; `InputError` for a key that there is not, and for values of another kind."""
    try:
        job = codec.decode(data, JobFile)
    except (ArithmeticError, RecursionError) as error:
        raise InputError("not a JobFile: numbers or brackets beyond all bounds") from error
    plain = msgspec.json.decode(data)
    check_keys(plain, msgspec.json.decode(codec.encode(job)), "")
    # A path in a bucket is of another class than a file's, and its two slashes are lost on the way into that one.
    run = plain.get("run", {})
    known: dict[str, Any] = {name: place(run[name]) for name, value in vars(job.run).items() if isinstance(value, Path)}
    return replace(job, run=replace(job.run, **known))


def check_keys(given: Any, known: Any, at: str) -> None:
    """`InputError` for a key of `given` that `known`, the same record written again, has not."""
    if not isinstance(given, dict) or not isinstance(known, dict):
        return
    for key, value in given.items():
        if key not in known:
            named = ", ".join(sorted(known))
            raise InputError(f"unknown key {at}{key}", hint=f"{at.rstrip('.') or 'a job'} has {named}")
        check_keys(value, known[key], f"{at}{key}.")


def check_spec(spec: JobSpec) -> None:
    """`InputError` for numbers that no option would take, and for what excludes each other."""
    swap = spec.swap
    bounded: list[tuple[str, float | Fraction, float, float]] = [
        ("swap.boost", swap.boost, 1, 8),
        ("swap.strength", swap.strength, 0, 1),
        ("swap.mask_blur", swap.mask_blur, 0, 1),
        ("swap.enhancer_blend", swap.enhancer_blend, 0, 1),
        ("swap.enhancer_weight", swap.enhancer_weight, 0, 1),
        *(("swap.mask_padding", side, 0, math.nextafter(1, 0)) for side in swap.mask_padding),
        ("detect_every", spec.detect_every, 1, math.inf),
        ("least_face_px", spec.least_face_px, 0, math.nextafter(math.inf, 0)),
        ("segment_s", spec.segment_s, 0, math.inf),
    ]
    if spec.source is not None and spec.source.face is not None:
        bounded.append(("source.face", spec.source.face, 1, math.inf))
    for name, value, low, high in bounded:
        if not low <= value <= high:
            up_to = f" to {high:g}" if high < 1e9 else " on"
            raise InputError(f"spec.{name} is {value}", hint=f"write a number from {low:g}{up_to}")
    if not swap.masks:
        raise InputError("spec.swap.masks is empty", hint="name one or more masks")
    if (spec.reference is not None) != (spec.select == "reference"):
        raise InputError("spec.select reference and spec.reference need each other", hint="write both, or neither")
    if spec.cast is not None and (spec.source is not None or spec.select != "largest"):
        raise InputError("spec.cast says who becomes whom", hint="leave out spec.source, spec.select or spec.cast")
    if not spec.target or not spec.output:
        raise InputError("spec.target or spec.output is empty", hint="name the film, and the film to make")
    for text in (spec.target, spec.output, spec.reference, spec.cast):
        if text is not None:
            usable_path(place(text), "check the path")


def check_run(run: RunOptions) -> None:
    """`InputError` where the ways to run exclude each other."""
    if run.workers is not None and run.workers < 1:
        raise InputError(f"run.workers is {run.workers}", hint="write a number from 1 on, or leave it out")
    if run.max_cost is not None and not 0 <= run.max_cost < math.inf:
        raise InputError(f"run.max_cost is {run.max_cost}", hint="write a number of at least 0, or leave it out")
    if run.max_workers is not None and (run.max_workers < 1 or run.workers is not None):
        raise InputError(f"run.max_workers is {run.max_workers}", hint="write a number from 1 on, and no run.workers")
    if run.worker_resources is not None:
        check_resources(run.worker_resources, "run.worker_resources")
    of_a_cluster = (run.workers, run.address, run.max_workers, run.worker_resources)
    if run.local and any(option is not None for option in of_a_cluster):
        raise InputError("run.local runs in one process", hint="leave out what is said of workers and clusters")


def write_job(job: JobFile, path: Path) -> None:
    """Put the job at `path`, over what is there. `StorageError` or `InputError` where that cannot be."""
    data = msgspec.json.format(codec.encode(job), indent=2) + b"\n"
    if isinstance(path, FarPath):
        from farm.store.output import publish_object  # noqa: PLC0415 - loads boto3
        from farm.store.s3path import ObjectPath  # noqa: PLC0415

        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "job.json"
            file.write_bytes(data)
            publish_object(file, ObjectPath(str(path)))
        return
    try:
        path.write_bytes(data)
    except OSError as error:
        if isinstance(error, FileNotFoundError | IsADirectoryError | NotADirectoryError | PermissionError):
            told = f"the job cannot be written: {os.strerror(error.errno or 0)}"
            raise InputError(told, where=str(path), hint="choose another with --write-job") from error
        raise storage_error(error, path) from error


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Errors that name no place name the job's file."""
    try:
        yield
    except InputError as error:
        raise InputError(error.what, where=error.where or str(path), hint=error.hint or HINT) from error
