"""More nodes for a Ray of this machine: raylets of their own, with a resource that only renderers of a test ask for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import psutil
import ray

ROOT = Path(__file__).resolve().parents[2]
START_S = 180.0


@dataclass(frozen=True)
class Node:
    """`node_id` is Ray's."""

    process: subprocess.Popen[bytes]
    node_id: str

    def kill(self) -> None:
        """As when the machine is taken away: every process of the node at once."""
        family = [*psutil.Process(self.process.pid).children(recursive=True), psutil.Process(self.process.pid)]
        for each in family:
            with_pid(each)
        self.process.wait(START_S)


def with_pid(process: psutil.Process) -> None:
    try:
        process.send_signal(signal.SIGKILL)
    except psutil.NoSuchProcess:
        return


def alive() -> set[str]:
    return {str(node["NodeID"]) for node in cast(Any, ray).nodes() if node["Alive"]}


def start_node(words: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [Path(sys.executable).with_name("ray"), "start", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0", **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


@contextmanager
def another_node(resources: Mapping[str, float], environment: Mapping[str, str] | None = None) -> Iterator[Node]:
    """A node of the cluster that this process is connected to; it is gone when the context ends."""
    before = alive()
    words = [
        f"--address={ray.get_runtime_context().gcs_address}", "--num-cpus=0", "--num-gpus=0", "--block",
        f"--resources={json.dumps(dict(resources))}", "--object-store-memory=104857600",
        "--dashboard-agent-listen-port=0",
    ]  # fmt: skip
    process = start_node(words, environment or {})
    try:
        end_s = time.monotonic() + START_S
        while not (new := alive() - before):
            if process.poll() is not None:  # Ray gives its processes 30 s, on a machine that is busy too
                process = start_node(words, environment or {})
            assert time.monotonic() < end_s, "the node did not come up"
            time.sleep(0.1)
        yield Node(process, new.pop())
    finally:
        if process.poll() is None:
            Node(process, "").kill()
