"""Whole-process measurements: wall and processor seconds and peak memory of a child, as the kernel accounts them."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Run:
    """One finished process: seconds, peak resident bytes of the largest process in its tree, and what it printed."""

    wall_s: float
    cpu_s: float
    peak_bytes: int
    output: bytes


@dataclass(frozen=True)
class Spread:
    """Several measurements of one figure."""

    low: float
    median: float
    high: float

    @staticmethod
    def of(values: Sequence[float]) -> Spread:
        return Spread(min(values), statistics.median(values), max(values))

    def text(self, digits: int = 2) -> str:
        return f"{self.median:.{digits}f} ({self.low:.{digits}f} to {self.high:.{digits}f})"


def run(command: Sequence[str]) -> Run:
    """Run `command` to its end; a non-zero exit raises with its last words."""
    started = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        # read stderr on the side, or a chatty child would block on a full pipe
        output, words = child.communicate()
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, command, output, words)
    return Run(time.monotonic() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, output)


def run_alone(command: Sequence[str]) -> Run:
    """`run` in a fresh helper process, so that the accounting holds this command's tree only."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(read_end)
            done = run(command)
            head = f"{done.wall_s} {done.cpu_s} {done.peak_bytes}\n".encode()
            with os.fdopen(write_end, "wb") as pipe:
                pipe.write(head + done.output)
            status = 0
        except subprocess.CalledProcessError as error:
            os.write(2, error.stderr[-2000:])
        finally:
            os._exit(status)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        data = pipe.read()
    _, status = os.waitpid(pid, 0)
    if status:
        raise RuntimeError(f"{' '.join(command[:4])} ... failed")
    head, _, output = data.partition(b"\n")
    wall, cpu, peak = head.split()
    return Run(float(wall), float(cpu), int(peak), output)
