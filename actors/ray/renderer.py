"""The actor: one renderer, which does two orders at a time and says on another thread how far it is."""

from __future__ import annotations

import os
import pickle
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

import psutil

from actors.code import Code, code_here
from actors.drive import unexpected
from actors.node import OFF, Notice, NoticeWatch
from actors.ray.joining import ray
from actors.ray.nodes import node_kind, node_name
from actors.work import JobStore, Order, Receipt, Works
from actors.worker import Worker, WorkerSettings
from core.errors import FarmError, Interrupted
from core.kept import Kept
from core.niceness import all_go_last

SLOTS_AN_ACTOR = 2
GROUPS = {"work": SLOTS_AN_ACTOR, "control": 1, "watch": 1}
STORES_HELD = 8  # a store in a bucket has a client and its connections
EARLY_HELD = 256  # most come too late; of those that do not, no more can wait than a renderer has orders

Attempt = tuple[str, int]


@dataclass(frozen=True)
class Introduction:
    """What a renderer says when it is set up: its node's id in Ray, what the node is called, its kind, and what code
    the renderer runs; `unfit` is why it cannot work there."""

    node_id: str
    node: str
    kind: str
    code: Code
    unfit: FarmError | None = None


def node_here() -> tuple[str, str]:
    """This process's node: its id in Ray, and what it is called."""
    node_id = ray.get_runtime_context().get_node_id()
    return node_id, node_name(cast(Any, ray).util.get_node_ip_address(), node_id)


def ages_here() -> tuple[float, ...]:
    """For how many seconds this machine has been up, and the node's process, which starts the workers."""
    began_s = [psutil.boot_time()]
    with suppress(psutil.Error):  # it may be gone, and this process's turn is next
        began_s.append(psutil.Process(os.getppid()).create_time())
    return tuple(time.time() - each_s for each_s in began_s)


class Cancels:
    """Which attempts are not wanted any more: those under way, and the last of the others that were cancelled, which
    may be over, or still to begin."""

    def __init__(self) -> None:
        self._gate = threading.Lock()
        self._running: dict[Attempt, bool] = {}  # and whether it was cancelled
        self._early: OrderedDict[Attempt, None] = OrderedDict()

    def begin(self, attempt: Attempt) -> None:
        with self._gate:
            self._running[attempt] = attempt in self._early
            self._early.pop(attempt, None)

    def end(self, attempt: Attempt) -> None:
        with self._gate:
            del self._running[attempt]

    def cancel(self, attempt: Attempt) -> None:
        with self._gate:
            if attempt in self._running:
                self._running[attempt] = True
                return
            self._early[attempt] = None
            while len(self._early) > EARLY_HELD:
                self._early.popitem(last=False)

    def __contains__(self, attempt: Attempt) -> bool:
        """Whether an attempt that is under way was cancelled."""
        return self._running.get(attempt, False)

    def __len__(self) -> int:
        """How many attempts are remembered."""
        return len(self._running) + len(self._early)


class Renderer:
    """The actor. Every method is safe to call while orders run."""

    def __init__(
        self, settings: WorkerSettings, make: Callable[[WorkerSettings], Works] = Worker, metadata: str = OFF
    ) -> None:
        """`metadata` is where the cloud's metadata service is, see actors.node."""
        self._device = settings.device
        self._notices = NoticeWatch(metadata)
        self._worker = make(settings)
        self._stores: Kept[bytes, JobStore] = Kept(STORES_HELD)
        self._frames: dict[Attempt, int] = {}
        self._cancels = Cancels()

    @ray.method(concurrency_group="control")
    def here(self) -> tuple[str, str, tuple[float, ...]]:
        """The node's id in Ray, what it is called, and `ages_here`; answered while `setup` still works."""
        return *node_here(), ages_here()

    def setup(self) -> Introduction:
        all_go_last()
        unfit: FarmError | None = None
        try:
            self._worker.setup()
        except FarmError as error:  # an answer, so that whoever asked knows of which node
            unfit = error
        node_id, name = node_here()
        kind = node_kind(cast(Any, ray.get_runtime_context()).get_node_labels(), self._device)
        return Introduction(node_id, name, kind, code_here(), unfit)

    @ray.method(concurrency_group="watch")
    def notice(self) -> Notice | None:
        """Returns when this machine is about to go; None, at once, where nothing would say so."""
        return self._notices.wait()

    @ray.method(concurrency_group="work")
    def work(self, task: str, attempt: int, order: Order, store: bytes) -> Receipt:
        """Do one order of the job in `store`, which is pickled. `task` is the pool's name for the order.

        Errors that are not ours are put into one of ours here, where their class is known.
        """
        key = (task, attempt)

        def heartbeat(frames: int) -> None:
            if key in self._cancels:
                raise Interrupted("this attempt is not wanted any more")
            self._frames[key] = frames

        self._cancels.begin(key)
        try:
            opened = self._stores.get(store, lambda: cast(JobStore, pickle.loads(store)))
            return self._worker.work(order, attempt, heartbeat, opened)
        except FarmError:
            raise
        except Exception as error:
            raise unexpected(error) from error
        finally:
            self._frames.pop(key, None)
            self._cancels.end(key)

    @ray.method(concurrency_group="control")
    def cancel(self, task: str, attempt: int) -> None:
        """Stop an attempt at its next sign of life, or before its first."""
        self._cancels.cancel((task, attempt))

    @ray.method(concurrency_group="control")
    def progress(self) -> tuple[dict[Attempt, int], str]:
        """Frames done by task and attempt, of what runs now, and what else takes long."""
        return dict(self._frames), self._worker.words
