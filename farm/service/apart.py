"""The coordinator and its pool in a process of their own, beside the one that answers HTTP, begun again when it ends.

Ray ends a process whose head was silent for a minute, and a decoder may crash: neither takes HTTP along. The two share
the table and nothing else: leases and epochs keep them apart as they keep two machines apart. What jobs count comes
back through a pipe, so that counters go on where the process before stopped.
"""

from __future__ import annotations

import logging
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import cast

from actors.pooled import Pooled
from core.errors import FarmError, WorkerLost
from farm.desk import make_pool
from farm.paths import place
from farm.service.clearing import Retention
from farm.service.coordinator import Coordinator
from farm.service.database import open_database
from farm.service.places import ServicePlaces
from farm.settings import RunOptions, Settings
from farm.watching.figures import BY_NAME, Figure, Instruments
from farm.watching.jsonlog import begin_json, speaks_json
from farm.watching.metrics import Metrics

log = logging.getLogger("farm.service")
UP_S = 180.0  # a Ray that comes up on a busy machine is given a second try of half a minute
LOOK_S = 0.2
TELL_S = 0.5
LOST_S = 10.0  # jobs whose pool has ended write down why
END_S = 50.0  # segments are stopped, jobs given back, Ray ended
AGAIN_S, AGAIN_MOST_S = 1.0, 30.0  # pauses before the next one, as long as they come to nothing
LIVED_S = 120.0  # one that ran for so long was no failure
SILENT_S = 60.0  # since its last word, of which there is one every TELL_S
STDERR = 2
# As a module of its name, not as __main__: what is sent over the line is of the same classes at both ends.
BEGIN = "from farm.service.apart import main; main()"

Key = tuple[str, tuple[str, ...]]  # a figure's name, and its labels


@dataclass(frozen=True)
class Task:
    """What the process is to do: the coordinator's arguments, as they can be sent. `json`: it logs in JSON."""

    database: str
    connections: int
    root: str
    run: RunOptions
    settings: Settings
    most_jobs: int
    retention: Retention
    json: bool = False


@dataclass(frozen=True)
class Up:
    """The pool is up and the coordinator works; or why not. `session` is the folder of its Ray, "" where it has none of
    its own."""

    error: FarmError | None = None
    session: str = ""


@dataclass(frozen=True)
class Counted:
    """What was counted since the last time."""

    added: dict[Key, float]
    levels: dict[Key, float]
    seen: list[tuple[Key, float]]


def task_of(
    places: ServicePlaces,
    database: str,
    connections: int,
    run: RunOptions,
    settings: Settings,
    most_jobs: int,
    retention: Retention,
) -> Task:
    """The task of a coordinator that says what it says as this process does."""
    return Task(database, connections, str(places.root), run, settings, most_jobs, retention, speaks_json())


class Silent(Exception):
    """The process is there, and says nothing any more."""


# ------------------------------------------------------------ here


class Apart:
    """`start` brings the process up, `close` ends it; between them there is one, or the next one is on its way."""

    def __init__(self, task: Task, to: Instruments) -> None:
        """`to` is told what jobs count."""
        self._task = task
        self._to = to
        self._levels: set[Key] = set()
        self._was_up = False
        self._over = threading.Event()
        self._first: queue.SimpleQueue[FarmError | None] = queue.SimpleQueue()
        self._child: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._main, name="keeper", daemon=True)

    @property
    def pid(self) -> int | None:
        """The process, or None while there is none."""
        child = self._child
        return child.pid if child is not None else None

    def start(self) -> None:
        """Returns when the first one is up; raises what keeps it from that."""
        self._thread.start()
        told = self._first.get()
        if told is not None:
            raise told

    def close(self) -> None:
        """Have it give its jobs back, and end it and all that it started. Safe in any state."""
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _main(self) -> None:
        try:
            self._keep()
        finally:  # where nobody was told yet
            self._first.put(WorkerLost("the coordinator's process ended before it was up"))

    def _keep(self) -> None:
        pause_s = AGAIN_S
        while not self._over.is_set():
            began_s = time.monotonic()
            try:
                why = self._one()
            except Exception as error:  # of whatever kind: without this thread no job would ever run again
                log.exception("the coordinator's process could not be begun, or said what cannot be read")
                why = f"{type(error).__name__}: {error}"
                if not self._was_up:
                    self._first.put(WorkerLost(f"the coordinator's process cannot be begun: {why}"))
            if self._over.is_set() or not self._was_up:
                break
            pause_s = AGAIN_S if time.monotonic() - began_s >= LIVED_S else min(2 * pause_s, AGAIN_MOST_S)
            log.warning("the coordinator's process ended (%s): the next one begins in %g s", why, pause_s)
            self._over.wait(pause_s)

    def _one(self) -> str:
        """One process, from its start to its end, and what it ended with."""
        paths = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
        mine, theirs = Pipe()
        with mine:
            with theirs:
                child = subprocess.Popen(
                    [sys.executable, "-P", "-c", BEGIN, str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=STDERR,
                    pass_fds=[theirs.fileno()],
                    env={**os.environ, "PYTHONPATH": paths},
                    start_new_session=True,  # all that it starts can be ended with it, and Ctrl-C goes here alone
                )
            self._child = child
            told, session, patience_s = "", "", END_S + LOST_S
            try:
                with suppress(OSError, EOFError):
                    mine.send(self._task)
                    for word in words(mine, self._over):
                        if isinstance(word, Counted):
                            self._count(word)
                            continue
                        told, session = str(word.error or ""), word.session
                        if not self._was_up:
                            self._was_up = word.error is None
                            self._first.put(word.error)
            except Silent as error:
                told, patience_s = str(error), 0.0
            finally:
                mine.close()  # which it hears, and ends
                code = reaped(child, patience_s)
                self._child = None
                if session:  # a process that was killed, or waited in vain, left it
                    shutil.rmtree(session, ignore_errors=True)
                for name, labels in self._levels:  # nothing runs
                    self._to.set(BY_NAME[name], 0, *labels)
        return told or (f"signal {-code}" if code < 0 else f"exit code {code}")

    def _count(self, told: Counted) -> None:
        for (name, labels), amount in told.added.items():
            self._to.add(BY_NAME[name], amount, *labels)
        for (name, labels), value in told.levels.items():
            self._to.set(BY_NAME[name], value, *labels)
        for (name, labels), value in told.seen:
            self._to.observe(BY_NAME[name], value, *labels)
        self._levels |= told.levels.keys()


def words(line: Connection, over: threading.Event) -> Iterator[Up | Counted]:
    """What comes on the line, until it is to end, or is not up in time; `EOFError` when the other end is closed,
    `Silent` when one that was up says nothing any more. Looks count, and no clock: while the machine or its container
    was stopped, nobody could say or hear anything."""
    waited_s, up = 0.0, False
    while not over.is_set():
        if line.poll(LOOK_S):
            word: Up | Counted = line.recv()
            waited_s, up = 0.0, up or isinstance(word, Up)
            yield word
            continue
        waited_s += LOOK_S
        if waited_s >= (SILENT_S if up else UP_S):
            if up:
                raise Silent(f"silent for {SILENT_S:g} s")
            return


def reaped(child: subprocess.Popen[bytes], patience_s: float) -> int:
    """The exit code of a process that was told to end, and is ended after `patience_s`. All that is left of its session
    is ended too: while the process is not reaped, nothing else can have its number."""
    until_s = time.monotonic() + patience_s
    how = os.WEXITED | os.WNOWAIT | os.WNOHANG
    while os.waitid(os.P_PID, child.pid, how) is None and time.monotonic() < until_s:
        time.sleep(0.05)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    return child.wait()


# ------------------------------------------------------------ there


class Relay:
    """Instruments that keep what they are told until it is taken."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._new()

    def _new(self) -> None:
        self._added: dict[Key, float] = {}
        self._levels: dict[Key, float] = {}
        self._seen: list[tuple[Key, float]] = []

    def add(self, figure: Figure, amount: float, *labels: str) -> None:
        with self._lock:
            key = (figure.name, labels)
            self._added[key] = self._added.get(key, 0.0) + amount

    def set(self, figure: Figure, value: float, *labels: str) -> None:
        with self._lock:
            self._levels[figure.name, labels] = value

    def observe(self, figure: Figure, value: float, *labels: str) -> None:
        with self._lock:
            self._seen.append(((figure.name, labels), value))

    def take(self) -> Counted:
        with self._lock:
            told = Counted(self._added, self._levels, self._seen)
            self._new()
            return told


@contextmanager
def at_work(task: Task, counts: Relay) -> Iterator[tuple[Coordinator, Pooled]]:
    """The pool and the coordinator of `task`, as long as the context lasts."""
    places = ServicePlaces(place(task.root))
    with ExitStack() as stack:
        db = stack.enter_context(open_database(task.database, connections=task.connections))
        pool = make_pool(task.run, task.settings)
        cast(Pooled, pool).stay_ended()  # the next Ray is the next process's
        stack.callback(pool.close)
        pool.start()
        coordinator = Coordinator(
            db,
            pool,
            places,
            task.settings,
            task.run,
            most_jobs=task.most_jobs,
            metrics=Metrics(counts),
            retention=task.retention,
        )
        coordinator.start()
        stack.callback(coordinator.close)
        yield coordinator, cast(Pooled, pool)


def follow(line: Connection, over: threading.Event) -> None:
    """Until the process that began this one closes the line, or is gone."""
    with suppress(OSError, EOFError):
        line.recv()
    over.set()
    end_in(END_S)


def end_in(seconds: float) -> None:
    """End this process then, whatever it waits for: a Ray without its head is waited for in vain."""
    timer = threading.Timer(seconds, os._exit, (WorkerLost.exit_code,))
    timer.daemon = True
    timer.start()


def work(line: Connection) -> int:
    """Do the task that comes first on the line; the exit code. It ends with the line, or when its pool has ended: the
    next process has a new Ray, where this one would wait for the old."""
    task: Task = line.recv()
    if task.json:
        begin_json()
    counts, over = Relay(), threading.Event()
    threading.Thread(target=follow, args=(line, over), name="line", daemon=True).start()
    try:
        with at_work(task, counts) as (coordinator, pool), suppress(OSError):
            line.send(Up(session=str(pool.session or "")))
            while not over.wait(TELL_S):
                line.send(counts.take())
                if pool.ended is not None:
                    log.warning("%s", pool.ended)
                    end_in(LOST_S + LOST_S)
                    coordinator.wait_for_ends(LOST_S)
                    line.send(counts.take())
                    return WorkerLost.exit_code
    except FarmError as error:
        with suppress(OSError):
            line.send(Up(error))
        return error.exit_code
    return 0


def main() -> None:
    """What `BEGIN` does: the line to the process that began this one is the descriptor that its argument names."""
    # Whoever ends the service ends all its processes at once, by a cgroup: this one waits for the other's word. No
    # SIG_IGN, which Ray's processes would inherit.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    line = Connection(int(sys.argv[1]))
    os.set_inheritable(line.fileno(), False)
    code = WorkerLost.exit_code
    try:
        code = work(line)
    except (EOFError, OSError) as error:
        log.error("%s", error)
    except Exception:
        log.exception("the coordinator's process failed")
    finally:
        logging.shutdown()
        os._exit(code)  # what is left waits for a Ray that may be gone
