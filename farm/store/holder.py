"""Who holds a store: what its lock says, in a folder and in a bucket alike. It names a run, and excludes nobody."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path

RUN_DIGITS = 16


@dataclass(frozen=True)
class Holder:
    """Who holds a lock; `boot` and `pid` name a process of one running machine. No token: nobody does any more."""

    token: str
    epoch: int
    node: str
    boot: str
    pid: int

    @property
    def run(self) -> str:
        """The name under which this run tells how far it is (core.records.JobStatus.run)."""
        return run_of(self.token)


def run_of(token: str) -> str:
    return token[:RUN_DIGITS]


def this_process(token: str, epoch: int) -> Holder:
    return Holder(token, epoch, platform.node(), boot_id(), os.getpid())


def write_holder(holder: Holder, nonce: int = 0) -> bytes:
    """What stands in a lock; `nonce` makes one renewal differ from the next."""
    return json.dumps({**asdict(holder), "nonce": nonce}).encode()


def read_holder(data: bytes) -> Holder | None:
    """Who a lock names; None where it cannot be read, as one that a person made by hand."""
    try:
        told = json.loads(data)
        return Holder(str(told["token"]), int(told["epoch"]), str(told["node"]), str(told["boot"]), int(told["pid"]))
    except (ValueError, KeyError, TypeError):
        return None


def is_free(holder: Holder | None) -> bool:
    """Whether the lock was given back, or its holder was a process of this machine that is gone."""
    if holder is None:
        return False
    if not holder.token:
        return True
    if not holder.boot or (holder.node, holder.boot) != (platform.node(), boot_id()):
        return False
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def boot_id() -> str:
    """Names this start of this machine's kernel and this table of process numbers; "" where nothing does."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def kernel_of(boot: str) -> str:
    """The part of a `boot_id` that names the start of the kernel, which all its containers share."""
    return boot.partition("/")[0]
