"""Ray itself: joining a cluster, starting one on this machine, and how its ways with signals are undone."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from core.errors import WorkerLost
from core.quiet import in_silence

# Read by Ray when it is imported: no report to its makers (the farm uses no network), and no warning about GPUs.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
# No call of Ray starts or joins a cluster by itself: one that comes after the end, from a thread that watches, would.
os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"

import ray
from ray import cloudpickle

__all__ = ["cloudpickle", "join", "knock", "not_started", "ray", "signals_unwrapped", "start_own_ray", "try_ray"]

REACH_S = 5.0
# Ray sends its token to a cluster that is named by address only when it is told to.
TOKEN_HINT = "check the address; where the cluster asks for a token, set RAY_AUTH_MODE=token"
MISMATCH = "Version mismatch"  # Ray's word; it goes on with both versions
# Ray waits 30 s for its own processes, which is not enough on a machine that is very busy: a second try is.
TOO_SLOW = "timed out during startup"
OBJECT_STORE_BYTES = 100 * 2**20  # Ray's least is 75 MiB; nothing but descriptors goes through it


def join(address: str) -> None:
    """Connect to the cluster at `address`. `WorkerLost` when it cannot be."""
    try:
        knock(address)
        with handlers_kept(), in_silence():  # what goes wrong is said once, below
            ray.init(
                address=address,
                namespace=f"farm-{uuid.uuid4().hex}",
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
    except SystemError:  # a signal, see signals_unwrapped
        raise
    except Exception as error:
        raise not_started(error, address) from error


def not_started(error: Exception, address: str) -> WorkerLost:
    """Whatever Ray said, as one line; that a node is too slow to come up, it says with a bare Exception."""
    words = str(error)
    if MISMATCH in words:
        return WorkerLost(
            " ".join(words.split()).rstrip("."), where=address, hint="install the same Ray and Python here"
        )
    reason = words.splitlines()[0].rstrip(".") if words else type(error).__name__
    hint = TOKEN_HINT if address else "see `farm doctor`, or try --local"
    return WorkerLost(f"Ray did not start: {reason}", where=address, hint=hint)


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
    with handlers_kept():
        try:
            context = init_own(cores)
        except Exception as error:
            if TOO_SLOW not in str(error):
                raise
            ray.shutdown()
            context = init_own(cores)
    return Path(context.address_info["session_dir"])


@contextmanager
def handlers_kept() -> Iterator[None]:
    """Ray puts its own handler for SIGTERM, which exits past what this process wants to do then; ours comes back."""
    on_main = threading.current_thread() is threading.main_thread()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)} if on_main else {}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def init_own(cores: int) -> Any:
    return ray.init(
        address="local",
        namespace=f"farm-{uuid.uuid4().hex}",
        num_cpus=cores,
        include_dashboard=False,
        object_store_memory=OBJECT_STORE_BYTES,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )


@contextmanager
def signals_unwrapped() -> Iterator[None]:
    """Ray may wrap what a signal handler raises inside its calls into a SystemError; give the original on."""
    try:
        yield
    except SystemError as error:
        if isinstance(error.__cause__, KeyboardInterrupt):
            raise error.__cause__ from None
        raise


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
