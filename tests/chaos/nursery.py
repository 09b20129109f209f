"""Runs of `farm` that start at once: a process that has everything loaded, and forks for each run.

The parent has one thread, so a fork of it is as good as a fresh process. `Nursery` is the hand of the tests on it;
`python -m tests.chaos.nursery` is the parent itself, told what to do by lines of JSON.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.chaos.points import Plan, Point
from tests.system.runs import DEADLINE_S, ROOT, Ran

TRIED_S = 0.01
LOADED = (
    "actors.local",
    "boto3",
    "core.faces.analyse",
    "core.inference.sessions",
    "core.swap.segment",
    "core.swap.stages",
    "core.trust.label",
    "farm.castjob",
    "farm.cli.render",
    "farm.driver",
    "farm.quality.job",
    "farm.store.s3path",
)


@dataclass(frozen=True)
class Child:
    """A run under way: its process, and where its words go."""

    pid: int
    out: Path
    err: Path


class Nursery:
    """Starts runs and hears how they ended."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._heard = b""
        self._codes: dict[int, int] = {}
        self._count = 0

    def start(self, arguments: Sequence[str | Path], plan: Plan, folder: Path, env: Mapping[str, str]) -> Child:
        """The command as a process of its own session; its words go to files in `folder`."""
        self._count += 1
        out, err = folder / f"{self._count}.out", folder / f"{self._count}.err"
        wanted = {
            "arguments": [str(argument) for argument in arguments],
            "plan": asdict(plan) | {"places": dict(plan.places)},
            "env": dict(env),
            "out": str(out),
            "err": str(err),
        }
        self._say(wanted)
        return Child(int(self._hear("pid")), out, err)

    def finish(self, child: Child) -> Ran:
        """How the run ended; -9 for one that was killed, as subprocess has it."""
        while child.pid not in self._codes:
            told = self._listen(DEADLINE_S)
            assert told, "a run did not end in time"
            self._codes[int(told["ended"])] = int(told["code"])
        return Ran(self._codes.pop(child.pid), child.out.read_text(), child.err.read_text())

    def ended(self, pid: int) -> bool:
        """Whether the run `pid` has ended; waits a moment for it."""
        if pid not in self._codes and (told := self._listen(TRIED_S)):
            self._codes[int(told["ended"])] = int(told["code"])
        return pid in self._codes

    def run(self, arguments: Sequence[str | Path], plan: Plan, folder: Path, env: Mapping[str, str]) -> Ran:
        return self.finish(self.start(arguments, plan, folder, env))

    def _say(self, wanted: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(wanted).encode() + b"\n")
        self._process.stdin.flush()

    def _hear(self, name: str) -> Any:
        while True:
            told = self._listen(DEADLINE_S)
            assert told, "no run was started in time"
            if name in told:
                return told[name]
            self._codes[int(told["ended"])] = int(told["code"])

    def _listen(self, timeout_s: float) -> Any:
        """What the parent of runs said next; None where it says nothing for `timeout_s`."""
        assert self._process.stdout is not None
        while b"\n" not in self._heard:
            ready, _, _ = select.select([self._process.stdout], [], [], timeout_s)
            if not ready:
                return None
            more = os.read(self._process.stdout.fileno(), 65536)
            assert more, "the parent of runs is gone"
            self._heard += more
        line, _, self._heard = self._heard.partition(b"\n")
        return json.loads(line)


@contextmanager
def nursery() -> Iterator[Nursery]:
    command = [sys.executable, "-m", "tests.chaos.nursery"]
    one = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield Nursery(one)
    finally:
        one.communicate()  # it ends when nobody talks to it any more


def wait_stopped(pid: int) -> None:
    """Until the process `pid` is stopped by a signal."""
    end_s = time.monotonic() + DEADLINE_S
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        assert time.monotonic() < end_s, "the run was not stopped"
        time.sleep(TRIED_S)


def main() -> None:
    """Fork for every line that is heard, and tell of every child that ended, until the hearer is gone; what runs then,
    or was stopped, is killed."""
    load()
    alive: set[int] = set()
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    heard = b""
    while True:
        ready, _, _ = select.select([0, woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            alive -= bury()
        if 0 in ready:
            more = os.read(0, 65536)
            if not more:
                for pid in alive:
                    os.kill(pid, signal.SIGKILL)
                return
            *lines, heard = (heard + more).split(b"\n")
            for line in lines:
                alive.add(bear(json.loads(line)))


def load() -> None:
    """Import what a run imports, so that no run has to."""
    for name in LOADED:
        importlib.import_module(name)


def tell(**told: int) -> None:
    os.write(1, (json.dumps(told) + "\n").encode())


def bury() -> set[int]:
    """Tell of all that have ended since; their numbers, which may be others' from now on."""
    ended: set[int] = set()
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if not pid:
            return ended
        ended.add(pid)
        tell(ended=pid, code=os.waitstatus_to_exitcode(status))


def bear(wanted: dict[str, Any]) -> int:
    """Fork; the child's number."""
    pid = os.fork()
    if pid:
        tell(pid=pid)
        return pid
    code = 70
    try:
        code = live(wanted)
    finally:
        os._exit(code)


def live(wanted: dict[str, Any]) -> int:
    """Be the command `farm` that was asked for; its exit code."""
    import tempfile  # noqa: PLC0415

    from farm.cli.main import run  # noqa: PLC0415
    from farm.store import lease  # noqa: PLC0415
    from tests.chaos.points import install  # noqa: PLC0415

    os.setsid()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number, name in ((1, "out"), (2, "err")):
        file = os.open(wanted[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, number)
        os.close(file)
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, 0)
    os.environ.update(wanted["env"])
    tempfile.tempdir = None  # asked anew
    lease_s = float(os.environ.get("CHAOS_LEASE_S", lease.LEASE_S))
    assert lease.Lease.__init__.__kwdefaults__ is not None
    lease.Lease.__init__.__kwdefaults__.update(lease_s=lease_s, poll_s=min(lease.POLL_S, lease_s / 4))
    plan = dict(wanted["plan"])
    point = Point(**plan.pop("point")) if plan["point"] else (plan.pop("point"), None)[1]
    install(Plan(point=point, **plan))
    try:
        run(wanted["arguments"])
    except SystemExit as done:
        return int(done.code or 0)
    return 0


if __name__ == "__main__":
    main()
