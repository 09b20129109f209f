"""The steps of a run at which it can be ended: every change of a file or folder, and every request to S3.

`install` wraps what the store, the outputs and the cache do their work with (the functions of `os` and `open` that
change something below the named folders, and `Bucket.once`, through which every request goes) in a process that is
about to run a command. Nothing is replaced: each step is done as ever, and before and after it the process may send
itself a signal.

A step has a name that is the same in every run of one command (random parts of file names stand as "*"), so that
"after the second `link OUT/out.mp4.farm/segments/ab12cd34/DONE.json`" names an instant whatever the threads do.
"""

from __future__ import annotations

import builtins
import fcntl
import io
import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

READS = {"head_object", "get_object", "list_objects_v2", "list_multipart_uploads"}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
TOKENS = (
    (re.compile(r"/jobs/(output|[0-9a-f]{32})"), "/jobs/*"),  # an owner, who is named after the output's path
    (re.compile(r"/jobs/\*/[0-9a-f]{32}"), "/jobs/*/*"),  # names that are claimed, of films too
    (re.compile(r"/index/[0-9a-f]{32}"), "/index/*"),  # a film's path
    (re.compile(r"/farm-\d+/[0-9a-f]{16}"), "/farm-*/*"),  # the cache of a store
    (re.compile(r"/tmp/[0-9a-f]{16}"), "/tmp/*"),  # a scratch file
    (re.compile(r"^TMP/[a-z0-9_]{8}$"), "TMP/*"),  # Python's own look whether files can be put there (tempfile)
    (re.compile(r"/(segments|analysis)/([0-9a-f]{8})[0-9a-f]+"), r"/\1/\2"),  # an order
    (re.compile(r"/\d+-[0-9a-f]{8}\."), "/*."),  # an attempt
    (re.compile(r"/content/[^.]+"), "/content/*"),
    (re.compile(r"([0-9a-f]{8})[0-9a-f]{24,}"), r"\1"),  # any other hash
)


@dataclass(frozen=True)
class Point:
    """Before or after (`side`) the `count`-th time, from 1, that the step `name` is tried.

    A step that fails has no after.
    """

    side: str
    name: str
    count: int = 1

    def __str__(self) -> str:
        return f"{self.side} {self.name} #{self.count}"


@dataclass(frozen=True)
class Plan:
    """What happens to a run: `signal` is sent at `point`, or at the `number`-th point of all, from 1; else nothing.

    Or at the first point that `pattern` matches in a process that can remove the file `token`: one of many does.
    `places` names the folders whose changes are steps: name -> path; `prefix` is what the job's keys begin with. What
    happens is written to `log`, a line a point: the nanosecond, "!" where the signal is sent, else "-", and the point.
    """

    places: Mapping[str, str]
    prefix: str
    log: str
    point: Point | None = None
    number: int = 0
    pattern: str = ""
    token: str = ""
    signal: int = signal.SIGKILL


def install(plan: Plan) -> Callable[[str, Callable[[], Any]], Any]:
    """Make this process obey `plan`; what is returned does any other step under a name."""
    steps = _Steps(plan)
    for module, name, places in (
        (os, "link", (0, 1)),
        (os, "rename", (0, 1)),
        (os, "replace", (0, 1)),
        (os, "unlink", (0,)),
        (os, "remove", (0,)),
        (os, "mkdir", (0,)),
        (os, "rmdir", (0,)),
    ):
        setattr(module, name, _watched(getattr(module, name), name, places, steps))
    os.open = _opened(os.open, steps, lambda flags: bool(int(flags) & WRITES))
    wanted = _opened(open, steps, lambda mode: bool(set(str(mode)) & set("wax+")))
    builtins.open = io.open = wanted
    fcntl.flock = _locked(fcntl.flock, steps)
    _watch_requests(steps)
    return steps.around


class _Steps:
    """Counts steps, and ends the process where the plan says."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._log = os.open(plan.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        self._places = {os.path.realpath(path): name for name, path in plan.places.items()}
        self.prefix = plan.prefix
        self._lock = threading.Lock()
        self._seen: Counter[str] = Counter()
        self._points = 0
        self._unlink = os.unlink  # as it was before it was watched

    def around(self, name: str, step: Callable[[], Any]) -> Any:
        with self._lock:
            self._seen[name] += 1
            count = self._seen[name]
        self._pass(Point("before", name, count))
        done = step()
        self._pass(Point("after", name, count))
        return done

    def place(self, path: Any, folder: int | None = None) -> str | None:
        """The name of a path below one of the places; None for any other."""
        if isinstance(path, int):
            return None
        base = Path(f"/proc/self/fd/{folder}").readlink() if folder is not None else Path.cwd()
        whole = os.path.normpath(base / os.fsdecode(path))
        found = max((root for root in self._places if f"{whole}/".startswith(f"{root}/")), key=len, default=None)
        return None if found is None else plain(f"{self._places[found]}{whole.removeprefix(found)}")

    def _pass(self, point: Point) -> None:
        with self._lock:
            self._points += 1
            here = point == self._plan.point or self._points == self._plan.number or self._chosen(point)
            os.write(self._log, f"{time.monotonic_ns()} {'!' if here else '-'} {point}\n".encode())
            if here:
                os.kill(os.getpid(), self._plan.signal)

    def _chosen(self, point: Point) -> bool:
        plan = self._plan
        if not plan.pattern or not re.fullmatch(plan.pattern, f"{point.side} {point.name}"):
            return False
        with suppress(FileNotFoundError):
            self._unlink(plan.token)
            return True
        return False


def plain(name: str) -> str:
    """`name` without its random parts."""
    for pattern, instead in TOKENS:
        name = pattern.sub(instead, name)
    return name


def _watched(real: Callable[..., Any], name: str, places: tuple[int, ...], steps: _Steps) -> Callable[..., Any]:
    def call(*arguments: Any, **named: Any) -> Any:
        folder = named.get("dir_fd")
        found = [steps.place(arguments[place], folder) for place in places]
        if None in found:
            return real(*arguments, **named)
        return steps.around(f"{name} {found[-1]}", lambda: real(*arguments, **named))

    return call


def _opened(real: Callable[..., Any], steps: _Steps, writes: Callable[[Any], bool]) -> Callable[..., Any]:
    def call(path: Any, *arguments: Any, **named: Any) -> Any:
        how = arguments[0] if arguments else named.get("mode", named.get("flags", "r"))
        found = steps.place(path, named.get("dir_fd")) if writes(how) else None
        if found is None:
            return real(path, *arguments, **named)
        return steps.around(f"open {found}", lambda: real(path, *arguments, **named))

    return call


def _locked(real: Callable[..., Any], steps: _Steps) -> Callable[..., Any]:
    def call(file: Any, operation: int) -> Any:
        number = file if isinstance(file, int) else file.fileno()
        found = steps.place(Path(f"/proc/self/fd/{number}").readlink())
        return real(file, operation) if found is None else steps.around(f"lock {found}", lambda: real(file, operation))

    return call


def _watch_requests(steps: _Steps) -> None:
    from farm.store.bucket import Bucket  # noqa: PLC0415 - loads boto3

    real = Bucket.once

    def once(self: Bucket, doing: str, key: str, **wanted: Any) -> Any:
        part = f" part {wanted['PartNumber']}" if "PartNumber" in wanted else ""
        where = plain(f"/{(key or wanted.get('Prefix', '')).removeprefix(steps.prefix)}")
        return steps.around(f"{doing} S3{where}{part}", lambda: real(self, doing, key, **wanted))

    setattr(Bucket, "once", once)  # noqa: B010 - a method is put around another


def of_steps_done(points: Sequence[Point]) -> list[Point]:
    """Each point of `points` once, in their order, without those before a step that failed: nothing changed there."""
    done = {(point.name, point.count) for point in points if point.side == "after"}
    return [point for point in dict.fromkeys(points) if (point.name, point.count) in done]


def that_matter(points: Sequence[Point]) -> list[Point]:
    """Of a step that one run does again and again, the first and the last time; of a request that only reads, after
    which all is as it was before, the first time and before it."""
    counts: dict[tuple[str, str], set[int]] = {}
    for point in points:
        counts.setdefault((point.side, point.name), set()).add(point.count)

    def matters(point: Point) -> bool:
        seen = counts[point.side, point.name]
        if point.name.partition(" ")[0] in READS:
            return point.side == "before" and point.count == min(seen)
        return point.count in {min(seen), max(seen)}

    return [point for point in points if matters(point)]


@dataclass(frozen=True)
class Passed:
    """A point that a run passed, when (monotonic ns), and whether it was sent a signal there."""

    at_ns: int
    ended: bool
    point: Point


def read_log(log: Path) -> list[Passed]:
    """What a run has passed so far, in order."""
    lines = log.read_text().split("\n")[:-1] if log.exists() else []  # the last may be under way
    return [_read(line) for line in lines]


def _read(line: str) -> Passed:
    at_ns, mark, side, rest = line.split(" ", 3)
    name, _, count = rest.rpartition(" #")
    return Passed(int(at_ns), mark == "!", Point(side, name, int(count)))
