"""The words of the dispatcher: what it is told (events) and what it wants done (decisions).

A *node* is a machine, a *slot* one renderer on it (an actor, or this process), a *task* one segment's work, a *job*
the tasks of one film. Times are seconds of any one clock that does not go back, given by the caller. Costs are in any
one unit; rates are in that unit a second (faces/s where a task's cost is its faces).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from core.errors import FarmError


@dataclass(frozen=True, slots=True)
class Task:
    """One segment's work: `position` is its place in the film, `cost` its expected length in any unit.

    `id` is unique over all jobs of a dispatcher; a pool that serves several puts the job's name in front.
    """

    id: str
    position: int
    cost: float


# ---------------------------------------------------------------- events


@dataclass(frozen=True, slots=True)
class JobAdded:
    """A film to work off. Jobs of a higher `priority` go first; jobs of one priority share by `weight`.

    Of the tasks of all jobs of one `group` at most `most` are worked on at once, None for any number, and `weight` is
    that of all of them together; the job that was added last says both. A job without a group is one of its own. Jobs
    of one `sort` have costs that take a slot equally long; how those of several sorts compare is measured.
    """

    job: str
    tasks: Iterable[Task] = field(repr=False)
    priority: int = 0
    weight: float = 1.0
    group: str = ""
    most: int | None = None
    sort: str = ""


@dataclass(frozen=True, slots=True)
class JobStopped:
    """Nothing more of this job: its queue is dropped and what runs is cancelled; it ends with `error`.

    With `finish`, what runs is finished first; what waits for its turn behind another task of its slot, and has no
    frame yet, is finished too unless `waiting` says no.
    """

    job: str
    error: FarmError
    finish: bool = False
    waiting: bool = True


@dataclass(frozen=True, slots=True)
class SlotJoined:
    """A slot that was not there before is being set up. `rate` 0 means that nothing is known of its kind.

    `far`: a node may have to come up for it first, so nothing is held back for it.
    """

    slot: str
    node: str = ""
    kind: str = ""
    rate: float = 0.0
    far: bool = False


@dataclass(frozen=True, slots=True)
class SlotHere:
    """The renderer of a slot has begun, on this node, and is being set up. From here on it is to move, as work is.

    `ages` is for how long, in seconds, what it stands on has been there: its machine, its node's process. None where
    that is not known.
    """

    slot: str
    node: str
    ages: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class SlotReady:
    """A slot is set up and takes work; `capacity` tasks at a time. `node` and `kind` where they are known only now."""

    slot: str
    capacity: int
    node: str = ""
    kind: str = ""


@dataclass(frozen=True, slots=True)
class SlotDied:
    """A slot and all it worked on are gone. Without `blame` it is not known whose fault that was, and the slot or its
    node may only be out of reach: the loss counts as that of a node."""

    slot: str
    reason: str
    blame: bool = True


@dataclass(frozen=True, slots=True)
class SlotLeft:
    """A slot was taken away, by whoever brings slots; what ran there is queued again and counts as nobody's fault."""

    slot: str
    reason: str


@dataclass(frozen=True, slots=True)
class SlotUnfit:
    """A slot was set up and cannot do this farm's work, whatever is tried: another version, a missing device. `node`
    where it is known."""

    slot: str
    error: FarmError
    node: str = ""


@dataclass(frozen=True, slots=True)
class SlotsMayCome:
    """Whether slots may still join where none is left; if not, jobs end, and `reason` says why none may."""

    yes: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class NoPlace:
    """No node that is there could hold another slot, beside those that are shunned, and nobody brings nodes."""

    reason: str


@dataclass(frozen=True, slots=True)
class NodeLeaves:
    """Notice: the node goes at `by_s`."""

    node: str
    by_s: float


@dataclass(frozen=True, slots=True)
class NodeGone:
    """A node and all its slots are gone and will not come back."""

    node: str
    reason: str


@dataclass(frozen=True, slots=True)
class Done:
    """A task's result is published; `damaged` says that it names damaged frames and the job refuses those."""

    slot: str
    task: str
    attempt: int
    damaged: bool = False


@dataclass(frozen=True, slots=True)
class Failed:
    """The work raised an error of its own. Where that is of a kind that a node may have for itself (a full disk, a
    missing model), the slot's node is not trusted with it any more, and another one tries; else it ends the job.

    `of_node`: it is of such a kind, whatever its class says: whoever tells it has made it the end of a job already.
    """

    slot: str
    task: str
    attempt: int
    error: FarmError
    of_node: bool = False


@dataclass(frozen=True, slots=True)
class Beat:
    """A sign of life: so many frames of the task are through; 0 while it waits for its turn on the slot."""

    slot: str
    task: str
    attempt: int
    frames: int


@dataclass(frozen=True, slots=True)
class Busy:
    """A sign of life while no frames come: something takes minutes, in words that change as it goes on."""

    slot: str
    words: str


@dataclass(frozen=True, slots=True)
class Slept:
    """Nobody listened for so long: whoever tells all this was stopped itself. What was silent then may have spoken."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed."""


WorkEvent = Done | Failed | Beat | Busy
SlotEvent = SlotJoined | SlotHere | SlotReady | SlotDied | SlotLeft | SlotUnfit | SlotsMayCome
FleetEvent = SlotEvent | NoPlace | NodeLeaves | NodeGone
Event = WorkEvent | FleetEvent | JobAdded | JobStopped | Slept | Tick

# ---------------------------------------------------------------- decisions


@dataclass(frozen=True, slots=True)
class Assign:
    slot: str
    task: str
    attempt: int  # from 1, over all slots


@dataclass(frozen=True, slots=True)
class Cancel:
    """Stop this attempt; whatever it still says is ignored, except that its result is published."""

    slot: str
    task: str
    attempt: int
    reason: str


@dataclass(frozen=True, slots=True)
class Restart:
    """Bring the slot up again, on any node that is not shunned, or on its own; a SlotReady is to follow."""

    slot: str
    reason: str


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Take the slot out of service for good. `node` where it is known."""

    slot: str
    reason: str
    node: str = ""


@dataclass(frozen=True, slots=True)
class Release:
    """The slot is not needed any more, and works on nothing: end it, so that its node can go."""

    slot: str
    reason: str


@dataclass(frozen=True, slots=True)
class Kill:
    """The slot shows no movement: end it; a SlotDied is to follow."""

    slot: str
    reason: str


@dataclass(frozen=True, slots=True)
class Shun:
    """Bring up nothing new on the node. A slot that lives there may start again."""

    node: str
    reason: str


@dataclass(frozen=True, slots=True)
class Trust:
    """What was said against the node was not its fault: it is as good as any."""

    node: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The node was shunned, and nothing of the farm is left there: let another one come in its place."""

    node: str
    reason: str


@dataclass(frozen=True, slots=True)
class Finish:
    """The end of a job, decided once: every task is done, or dropped because of `error` or of reported damage."""

    error: FarmError | None
    job: str = ""


NodeDecision = Shun | Trust | GiveUp
Decision = Assign | Cancel | Restart | Quarantine | Release | Kill | NodeDecision | Finish
