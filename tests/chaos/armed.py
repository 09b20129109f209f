"""What renderers of the monkey's cluster are when they start: each node has a folder for temporary files of its own, as
machines have, and each renderer's steps are written down (tests.chaos.points); at one of them it may end itself.

`environment` names `arm` to Ray, which calls it in each worker process of the nodes. What a renderer is to do is read
when it is set up, from the folder's `plan.json`: nodes live longer than jobs.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from actors.work import Order
from actors.worker import Worker
from tests.chaos.points import Passed, Plan, install, plain, read_log
from tests.chaos.scenes import published_by
from tests.system.runs import ROOT

HOOK = "__RAY_WORKER_PROCESS_SETUP_HOOK_ENV_VAR"  # Ray's, for its own use; it names a function
FOLDER = "CHAOS_FOLDER"
DISK = "CHAOS_DISK"  # where a node's temporary files are, if not in the folder
PLAN, TOKEN, LOGS = "plan.json", "token", "logs"
RENDER = "render"


def environment(folder: Path) -> dict[str, str]:
    """What nodes are started with."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {HOOK: f"{__name__}.arm", FOLDER: str(folder), "PYTHONPATH": os.pathsep.join(paths)}


def instruct(folder: Path, job: str, out: Path, pattern: str = "", part_bytes: int = 0) -> None:
    """Renderers that are set up from now on work on `job`, whose output is in `out` and whose keys begin with its name.

    The first that comes to a point that `pattern` matches ends itself. `part_bytes`: what is larger goes up in parts.
    """
    shutil.rmtree(folder / LOGS / job, ignore_errors=True)  # of an earlier try
    (folder / LOGS / job).mkdir(parents=True)
    wanted = {"job": job, "out": str(out), "pattern": pattern, "part_bytes": part_bytes}
    (folder / f"{PLAN}.new").write_text(json.dumps(wanted))
    (folder / f"{PLAN}.new").replace(folder / PLAN)
    (folder / TOKEN).unlink(missing_ok=True)
    if pattern:
        (folder / TOKEN).touch()


def ended_itself(folder: Path) -> bool:
    """Whether one has come to the point."""
    return not (folder / TOKEN).exists()


def passed_by(folder: Path, job: str) -> list[Passed]:
    """What the renderers of a job have passed, in order."""
    found = [passed for log in sorted((folder / LOGS / job).iterdir()) for passed in read_log(log)]
    return sorted(found, key=lambda passed: passed.at_ns)


def rendered_again(passed: Sequence[Passed], until_ns: float = float("inf")) -> list[str]:
    """Orders that a renderer began to render although their receipt was published when it was given them; those that
    it was given after `until_ns` do not count."""
    again = []
    published: dict[str, int] = {}
    for one in passed:
        folder, _, name = published_by(one).rpartition("/")
        if name == "DONE.json":
            published.setdefault(folder, one.at_ns)
        kind, _, where = one.point.name.partition(" ")
        if kind == RENDER and one.point.side == "before":
            order, _, given_ns = where.rpartition(" of ")
            if published.get(order, float("inf")) < int(given_ns) < until_ns:
                again.append(order)
    return again


def arm() -> None:
    """Called by Ray in a worker process that has just started."""
    folder = Path(os.environ[FOLDER])
    own = Path(os.environ.get(DISK, folder / f"node-{os.getppid()}"))  # whoever starts the worker is its node
    own.mkdir(exist_ok=True)
    os.environ["TMPDIR"] = str(own)
    tempfile.tempdir = None  # asked anew
    setup, begun = Worker.setup, threading.Lock()

    def armed_setup(self: Worker) -> Any:
        if begun.acquire(blocking=False):
            take_up(folder)
        return setup(self)

    setattr(Worker, "setup", armed_setup)  # noqa: B010 - a method is put around another


def take_up(folder: Path) -> None:
    """Obey the plan that is there now."""
    wanted = json.loads((folder / PLAN).read_text())
    if wanted["part_bytes"]:
        from farm.store import bucket  # noqa: PLC0415 - loads boto3

        bucket.PART_BYTES = wanted["part_bytes"]
    log = folder / LOGS / wanted["job"] / f"{os.getpid()}-{time.monotonic_ns()}.points"
    places = {"OUT": wanted["out"], "TMP": os.environ["TMPDIR"]}
    plan = Plan(places, f"{wanted['job']}/", str(log), pattern=wanted["pattern"], token=str(folder / TOKEN))
    around = install(plan)
    given = threading.local()
    work, render = Worker.work, Worker.render

    def armed_work(self: Worker, order: Order, *others: Any) -> Any:
        given.ns = time.monotonic_ns()
        return work(self, order, *others)

    def armed_render(self: Worker, order: Any, *others: Any) -> Any:
        name = plain(f"/segments/{order.id}")
        return around(f"{RENDER} {name} of {given.ns}", lambda: render(self, order, *others))

    setattr(Worker, "work", armed_work)  # noqa: B010
    setattr(Worker, "render", armed_render)  # noqa: B010
