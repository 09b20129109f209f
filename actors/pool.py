"""The pool on Ray: renderer actors that obey actors.dispatch. Descriptors and receipts travel, pixels never.

Ray retries nothing for us (`max_task_retries=0`): its own retry stays with the dead actor and keeps order. An actor
is not restarted by Ray either: a slot that lost its actor gets a fresh one, which Ray may place on another node,
and the old one is ended for good, so that one that was only out of reach cannot go on unseen.

Each actor runs two orders at a time on threads of its own (concurrency group "work") and answers "how far are you"
on another (group "control"), so a long render never hides its progress.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from actors.deaths import as_farm_error, lost_reason
from actors.dispatch import Assign, Beat, Busy, Done, Event, Failed, SlotDied, SlotReady
from actors.drive import Batch, Order, Patience, Receipt, Watch, Works, drive, unexpected
from actors.worker import Worker, WorkerSettings
from core.errors import FarmError, Interrupted, WorkerLost
from core.quiet import in_silence

# Read by Ray when it is imported: no report to its makers (the farm uses no network), and no warning about GPUs.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import ray

SLOTS_AN_ACTOR = 2
BEAT_S = 1.0
START_S = 20.0
REACH_S = 5.0
# Ray sends its token to a cluster that is named by address only when it is told to.
TOKEN_HINT = "check the address; where the cluster asks for a token, set RAY_AUTH_MODE=token"
OBJECT_STORE_BYTES = 100 * 2**20  # Ray's least is 75 MiB; nothing but descriptors goes through it


class Renderer:
    """The actor. Every method is safe to call while orders run."""

    def __init__(self, settings: WorkerSettings, make: Callable[[WorkerSettings], Works] = Worker) -> None:
        self._worker = make(settings)
        self._frames: dict[str, int] = {}
        self._cancelled: set[tuple[str, int]] = set()

    def setup(self) -> object:
        return self._worker.setup()

    @ray.method(concurrency_group="work")
    def work(self, order: Order, attempt: int) -> Receipt:
        """Do one order. Errors that are not ours are put into one of ours here, where their class is known."""

        def heartbeat(frames: int) -> None:
            if (order.id, attempt) in self._cancelled:
                raise Interrupted("another attempt was first")
            self._frames[order.id] = frames

        try:
            return self._worker.work(order, attempt, heartbeat)
        except FarmError:
            raise
        except Exception as error:
            raise unexpected(error) from error
        finally:
            self._frames.pop(order.id, None)
            self._cancelled.discard((order.id, attempt))

    @ray.method(concurrency_group="control")
    def cancel(self, order_id: str, attempt: int) -> None:
        """Stop an attempt at its next sign of life, or before its first."""
        self._cancelled.add((order_id, attempt))

    @ray.method(concurrency_group="control")
    def progress(self) -> tuple[dict[str, int], str]:
        """Frames done by order id, of what runs now, and what else takes long."""
        return dict(self._frames), self._worker.words


@dataclass(frozen=True)
class ClusterSpec:
    """Which Ray to use: `address` None starts one on this machine for this run alone.

    `workers` None takes one renderer a GPU of the cluster, or `cpu_workers` where it has none.
    """

    address: str | None
    workers: int | None
    cpu_workers: int
    cores: int
    patience: Patience


class RayPool:
    """Renderers on Ray; `start` brings Ray up, `close` ends everything that `start` began."""

    def __init__(
        self, settings: WorkerSettings, cluster: ClusterSpec, *, make: Callable[[WorkerSettings], Works] = Worker
    ) -> None:
        self._settings = settings
        self._make = make
        self._cluster = cluster
        self._actors: dict[str, Any] = {}
        self._session: Path | None = None
        self._ours = False
        self._gpus_an_actor = 0.0
        self.workers = cluster.workers or cluster.cpu_workers

    def start(self) -> None:
        """Connect to Ray, or start it, and bring the renderers up. `WorkerLost` when Ray does not start."""
        if self._actors:
            return
        with signals_unwrapped():
            self._bring_up()

    def _bring_up(self) -> None:
        self._connect()
        cluster = self._cluster
        gpus = int(cast(Any, ray).cluster_resources().get("GPU", 0))
        if gpus:
            self.workers = cluster.workers or gpus
            self._gpus_an_actor = min(1.0, gpus / self.workers)  # Ray then shows each renderer its own
        self._actors = {f"renderer-{number}": self._new_actor() for number in range(self.workers)}
        # Usually they are up within seconds; where a cluster must first grow, `run` begins with those that are.
        ray.wait([actor.setup.remote() for actor in self._actors.values()], num_returns=self.workers, timeout=START_S)

    def _connect(self) -> None:
        if ray.is_initialized():
            return
        try:
            if self._cluster.address is not None:
                knock(self._cluster.address)
                with in_silence():  # what goes wrong is said once, below
                    ray.init(
                        address=self._cluster.address,
                        namespace=f"farm-{uuid.uuid4().hex}",
                        log_to_driver=False,
                        logging_level=logging.ERROR,
                    )
            else:
                self._session = start_own_ray(max(self._cluster.cores, self.workers))
        except SystemError:  # a signal, see signals_unwrapped
            raise
        except Exception as error:  # that a node is too slow to come up, Ray says with a bare Exception
            reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
            raise WorkerLost(
                f"Ray did not start: {reason}",
                where=self._cluster.address or "",
                hint=TOKEN_HINT if self._cluster.address else "see `farm doctor`, or try --local",
            ) from error
        self._ours = True

    def _new_actor(self) -> Any:
        renderer = cast(Any, ray).remote(
            num_cpus=1,
            num_gpus=self._gpus_an_actor,
            max_restarts=0,
            max_task_retries=0,
            concurrency_groups={"work": SLOTS_AN_ACTOR, "control": 1},
        )(Renderer)
        return renderer.remote(self._settings, self._make)

    def run(self, orders: Sequence[Order], watch: Watch, *, stop_on_damage: bool) -> Batch:
        """Work off `orders`; with `stop_on_damage` by the damage rule of actors.dispatch. Needs `start`."""
        transport = _RayTransport(self._actors, self._new_actor, stop_on_damage)
        with signals_unwrapped():
            return drive(transport, sorted(self._actors), orders, self._cluster.patience, watch)

    def close(self) -> None:
        """End the actors, and Ray itself when this pool started or joined it."""
        for actor in self._actors.values():
            with suppress(Exception):  # at the end a cluster that is already gone is no failure
                ray.kill(actor)
        self._actors.clear()
        if self._ours:
            ray.shutdown()
            self._ours = False
        if self._session is not None:
            shutil.rmtree(self._session, ignore_errors=True)


def knock(address: str) -> None:
    """See that somebody listens at `host:port` or `ray://host:port`; `OSError` within `REACH_S` when nobody does.

    Ray itself tries for a minute, and says why in lines of its own. Other forms ("auto") are left to Ray.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=REACH_S):
            return
    except (OSError, OverflowError) as error:
        raise ConnectionError(f"nobody answers at {host}:{port} ({error})") from error


def start_own_ray(cores: int) -> Path:
    """Start a Ray on this machine that ends with this process; the folder of its logs and sockets.

    When this process is killed, renderers and raylet end with it; two idle agents of Ray follow after a minute, in
    which they try to tell the head of the raylet's death (a fixed time-out of Ray 2.60).
    """
    # Ray puts its own handler for SIGTERM, which prints a stack and exits past every `finally`; ours comes back.
    on_main = threading.current_thread() is threading.main_thread()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)} if on_main else {}
    try:
        context: Any = ray.init(
            address="local",
            namespace=f"farm-{uuid.uuid4().hex}",
            num_cpus=cores,
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return Path(context.address_info["session_dir"])


@contextmanager
def signals_unwrapped() -> Iterator[None]:
    """Ray may wrap what a signal handler raises inside its calls into a SystemError; give the original on."""
    try:
        yield
    except SystemError as error:
        if isinstance(error.__cause__, KeyboardInterrupt):
            raise error.__cause__ from None
        raise


@dataclass(frozen=True)
class _Call:
    """A call under way: which incarnation of which slot it went to, and for which attempt if it is work."""

    slot: str
    epoch: int
    kind: str  # setup | work | progress
    assign: Assign | None = None


class _RayTransport:
    """Ray calls for the decisions, events for the answers."""

    def __init__(self, actors: dict[str, Any], new_actor: Callable[[], Any], stop_on_damage: bool) -> None:
        """`actors` by slot is the pool's own, so that renderers outlive a batch; `new_actor` makes another."""
        self._actors = actors
        self._new_actor = new_actor
        self._stop_on_damage = stop_on_damage
        self._calls: dict[Any, _Call] = {}
        self._epoch: dict[str, int] = {}
        self._asked_s = 0.0

    # ------------------------------------------------------------ decisions

    def start(self, slot: str) -> None:
        self._epoch[slot] = self._epoch.get(slot, 0) + 1
        if slot not in self._actors:
            self._actors[slot] = self._new_actor()
        self._calls[self._actors[slot].setup.remote()] = _Call(slot, self._epoch[slot], "setup")

    def submit(self, assign: Assign, order: Order) -> None:
        reference = self._actors[assign.slot].work.remote(order, assign.attempt)
        self._calls[reference] = _Call(assign.slot, self._epoch[assign.slot], "work", assign)

    def cancel(self, slot: str, task: str, attempt: int) -> None:
        """Nobody waits for the answer: when the renderer is gone, so is the attempt."""
        self._actors[slot].cancel.remote(task, attempt)

    def restart(self, slot: str) -> None:
        self._end(slot)
        self.start(slot)

    def retire(self, slot: str) -> None:
        self._end(slot)

    def kill(self, slot: str) -> None:
        """End a slot that hangs; its calls then fail, which is how its death is noticed."""
        ray.kill(self._actors[slot])

    def _end(self, slot: str) -> None:
        actor = self._actors.pop(slot, None)
        if actor is not None:
            ray.kill(actor)

    # ------------------------------------------------------------ events

    def poll(self, timeout_s: float) -> list[tuple[Event, Receipt | None]]:
        self._ask()
        if not self._calls:
            return []
        ready, _ = ray.wait(list(self._calls), num_returns=1, timeout=timeout_s)
        if ready:
            ready, _ = ray.wait(list(self._calls), num_returns=len(self._calls), timeout=0)
        events: list[tuple[Event, Receipt | None]] = []
        for reference in ready:
            events += self._answer(reference, self._calls.pop(reference))
        return events

    def _ask(self) -> None:
        """Ask every slot that works how far it is, one question at a time."""
        now_s = time.monotonic()
        if now_s - self._asked_s < BEAT_S:
            return
        self._asked_s = now_s
        waiting = {call.slot for call in self._calls.values() if call.kind == "progress"}
        working = {call.slot for call in self._calls.values() if call.kind == "work" and self._current(call)}
        for slot in working - waiting:
            self._calls[self._actors[slot].progress.remote()] = _Call(slot, self._epoch[slot], "progress")

    def _current(self, call: _Call) -> bool:
        return self._epoch.get(call.slot) == call.epoch

    def _answer(self, reference: Any, call: _Call) -> list[tuple[Event, Receipt | None]]:
        try:
            with signals_unwrapped():
                value = ray.get(reference)
        except Exception as error:  # everything Ray can raise is sorted by the table of actors.deaths
            return self._refusal(error, call)
        if call.assign is not None:
            damaged = self._stop_on_damage and bool(value.damage)
            return [(Done(call.slot, call.assign.task, call.assign.attempt, damaged), value)]
        if not self._current(call):
            return []
        if call.kind == "setup":
            return [(SlotReady(call.slot, SLOTS_AN_ACTOR), None)]
        attempts = {
            other.assign.task: other.assign.attempt
            for other in self._calls.values()
            if other.assign is not None and other.slot == call.slot and self._current(other)
        }
        frames, words = value
        beats: list[Event] = [
            Beat(call.slot, task, attempts[task], count) for task, count in frames.items() if task in attempts
        ]
        return [(event, None) for event in (*beats, *([Busy(call.slot, words)] if words else []))]

    def _refusal(self, error: Exception, call: _Call) -> list[tuple[Event, Receipt | None]]:
        reason = lost_reason(error)
        if reason is not None:
            if not self._current(call):
                return []
            # The first call to fail tells of the death; the others of the same incarnation add nothing.
            self._epoch[call.slot] += 1
            return [(SlotDied(call.slot, reason), None)]
        told = as_farm_error(error)
        if call.assign is None:
            raise told from error
        return [(Failed(call.slot, call.assign.task, call.assign.attempt, told), None)]


class _Probe:
    """The least actor there can be."""

    def answer(self) -> int:
        return 42


def try_ray() -> str | None:
    """Start a Ray of one core on this machine and ask an actor; None when it answers, else the reason."""
    session: Path | None = None
    try:
        with signals_unwrapped():
            session = start_own_ray(1)
            actor = cast(Any, ray).remote(_Probe).remote()
            return None if ray.get(actor.answer.remote(), timeout=60) == 42 else "the actor gave a wrong answer"
    except Exception as error:  # whatever it is, the doctor's answer is its first line
        return (str(error).splitlines() or [type(error).__name__])[0]
    finally:
        ray.shutdown()
        if session is not None:
            shutil.rmtree(session, ignore_errors=True)
