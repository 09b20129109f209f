"""What a Ray exception means for the farm: a table with reasons, most specific class first.

LOST: the renderer or its node is gone, or nobody can tell; the segment is re-queued and the slot set up again.
     The last three are not subclasses of RayActorError, so catching that one alone would miss them.
OURS: Ray itself cannot go on, or the code raised what it should have translated; retrying would repeat it.
An error of ours (core.errors) raised inside an actor travels as the cause of a RayTaskError and is unpacked.
"""

from __future__ import annotations

import re
from enum import Enum

from ray import exceptions as ray_errors

from actors.drive import unexpected
from core.errors import FarmError, WorkerLost

FARM = ("core", "actors", "farm")
NO_MODULE = re.compile(r"ModuleNotFoundError: No module named '([^']+)'")
AT = re.compile(r"[(,] ?ip=([^,)\s]+)")
NOT_MADE = "an error raised in its creation task"  # Ray's words for an actor whose class or arguments did not load
ITS_NODE = "its node has died"  # Ray's words for an actor that went with its node
SAME_FARM = "install the same on every machine, and run `farm doctor` there"


class Meaning(Enum):
    LOST = "the worker is lost: re-queue"
    OURS = "a fault of the farm: stop"


DEATHS: tuple[tuple[type[BaseException], Meaning, str], ...] = (
    (ray_errors.ActorDiedError, Meaning.LOST, "renderer died"),
    (ray_errors.ActorUnavailableError, Meaning.LOST, "renderer cannot be reached"),
    (ray_errors.RayActorError, Meaning.LOST, "renderer died"),
    (ray_errors.NodeDiedError, Meaning.LOST, "node died"),
    (ray_errors.WorkerCrashedError, Meaning.LOST, "renderer crashed"),
    (ray_errors.OutOfMemoryError, Meaning.LOST, "renderer killed: the node was out of memory"),
    # The six of ray.md end here. The rest are cases of the same loss seen from another side, or ends of the cluster.
    (ray_errors.TaskCancelledError, Meaning.LOST, "attempt cancelled"),
    (ray_errors.OwnerDiedError, Meaning.OURS, "the driver that owned the result is gone"),
    (ray_errors.LocalRayletDiedError, Meaning.OURS, "Ray on this machine has stopped"),
    (ray_errors.ActorUnschedulableError, Meaning.OURS, "no node of the cluster can hold a renderer"),
    (ray_errors.RuntimeEnvSetupError, Meaning.OURS, "the renderer's environment could not be set up"),
    (ray_errors.RaySystemError, Meaning.OURS, "Ray failed"),
)


def lost_reason(error: BaseException) -> str | None:
    """Why the renderer counts as lost, or None when `error` does not mean that."""
    for kind, meaning, reason in DEATHS:
        if isinstance(error, kind):
            return reason if meaning is Meaning.LOST else None
    return None


def in_doubt(error: BaseException) -> bool:
    """Whether the renderer may be as it was, and only the way to it is gone."""
    return isinstance(error, ray_errors.ActorUnavailableError)


def node_died(error: BaseException) -> bool:
    """Whether Ray says that the renderer's node took it along."""
    return isinstance(error, ray_errors.ActorDiedError) and ITS_NODE in str(error)


def unfit(error: BaseException) -> FarmError | None:
    """Why a renderer could not be made or set up, where trying again would not help; None where it is lost."""
    if isinstance(error, ray_errors.RayTaskError):
        return as_farm_error(error)
    told = str(error)
    if not isinstance(error, ray_errors.ActorDiedError) or NOT_MADE not in told:
        return None
    missing = NO_MODULE.search(told)
    if missing is None:
        last = [line.strip() for line in told.splitlines() if line.strip()][-1]
        return WorkerLost(f"a renderer cannot be made: {last}", hint=SAME_FARM)
    name = missing.group(1).partition(".")[0]
    what = "the farm" if name in FARM else f"the library {name}"
    return WorkerLost(f"{what} is not installed on a node of the cluster", hint=SAME_FARM)


def address_in(error: BaseException) -> str:
    """The address of the node where a renderer could not be made, as Ray's words name it; "" where they do not."""
    found = AT.search(str(error))
    return found.group(1) if found else ""


def at_node(error: FarmError, node: str) -> FarmError:
    """The error with its node, as the end of a job that a node could not do: resumable, whatever the node lacks."""
    if not node or error.where.startswith(node):
        return error
    kind = type(error) if error.exit_code == WorkerLost.exit_code else WorkerLost
    return kind(error.what, where=f"{node}: {error.where}".rstrip(": "), hint=error.hint)


def as_farm_error(error: BaseException) -> FarmError:
    """Any other exception that came back from Ray, as one of ours."""
    cause = error.cause if isinstance(error, ray_errors.RayTaskError) else error
    if isinstance(cause, FarmError):
        return cause
    for kind, _, reason in DEATHS:
        if isinstance(error, kind):
            detail = str(error).strip().splitlines()[0] if str(error).strip() else ""
            return WorkerLost(f"{reason}: {detail}" if detail else reason, hint="see `farm doctor`")
    return unexpected(cause)
