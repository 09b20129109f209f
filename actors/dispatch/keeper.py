"""How many slots there should be: a fixed number, or as many as the backlog is worth. Pure, asked about once a second.

The keeper asks for slots and takes back those that have not come up; whoever brings slots does what it says. A slot
that comes up is the dispatcher's from then on, which releases it when nothing was queued for a while. One that was
taken out of service is replaced after a while, which is the longer the more nodes were bad within the last hour,
whatever others do meanwhile: one that is healthy says nothing of the next that comes.
"""

from __future__ import annotations

from collections.abc import Collection

from actors.dispatch.dispatcher import Dispatcher
from actors.dispatch.events import (
    Assign,
    Beat,
    Busy,
    Cancel,
    Decision,
    Done,
    Event,
    Finish,
    NodeGone,
    Quarantine,
    Release,
    Restart,
    SlotDied,
    SlotHere,
    SlotJoined,
    SlotLeft,
    SlotReady,
    SlotUnfit,
    Tick,
    Trust,
)
from actors.dispatch.events import SlotsMayCome as MayCome
from actors.dispatch.losses import NOT_QUEUED
from core.errors import FarmError

# A slot whose node went is asked for again only after this: what places it may not know yet that the node is gone. Each
# has a time of its own: where nodes go all the time, there would else be no time at which any of them is asked for.
REJOIN_S = 5.0
HOUR_S = 3600.0
# A slot that was taken out of service is replaced after the first of these; after twice that where another node had
# one within the hour, and so on.
REPLACE_S, REPLACE_AT_MOST_S = 10.0, 600.0
REPLACED_AN_HOUR = 60  # no more than so many: each may be a node that is paid for and does nothing
# With nothing up and nothing done between, so many nodes with a slot that was taken out are the end, once nothing is
# coming that was asked for within the last COMING_S, or twice the time that a slot takes.
BAD_IN_A_ROW = 4
COMING_S = 600.0
SAY_S = 10.0
BOOT_MEMORY = 0.9  # of the longest, at each that was shorter
OF_WORK = frozenset({Assign, Beat, Busy, Cancel, Tick})  # what says nothing of who is there
NONE_LEFT = "all were taken out of service"


class Keeper:
    """Between `least` slots, which are always kept, and `most`, for a backlog."""

    def __init__(self, least: int, most: int, needs: str = "") -> None:
        """`needs` are words for what a slot takes."""
        self._needs = needs
        self._dark_s: float | None = None
        self._said_s = 0.0
        self._said = ""  # the last that the cluster reported, of what was said
        self.report = ""  # what the cluster says of the slots that are waited for
        self.least = least
        self._most = most
        # By node, or by the slot itself where no node is known, of slots that were taken out of service:
        self._due: list[tuple[float, str]] = []  # when each of them may be replaced
        self._bad_s: dict[str, float] = {}  # the last of each within the hour
        self._in_a_row: set[str] = set()  # since the last that anything was done
        self._replaced_s: list[float] = []  # when one was replaced, within the hour
        self._held = False  # whether some are not replaced because of that
        self._held_said = False
        self._why = NONE_LEFT
        self._may_come, self._reported = True, ""
        self._names = 0
        self._asked_s: dict[str, float] = {}
        self._began_s: dict[str, float] = {}  # when what came for a slot was on its way, of those that are asked for
        self._again: dict[str, float] = {}  # slots that start again, since when
        self._resting = False  # the last job is over, and there is none
        self._lost: list[tuple[float, int]] = []  # when nodes went, and with how many slots
        self._gone_s: float | None = None  # when a node went since the last look
        self.boot_s = 0.0  # how long a slot takes from when it is on its way to being up; 0 while that is not known
        self.peak = 0  # the most slots that were up at one time
        self.unfit: FarmError | None = None  # the last such slot's reason, while none was fit
        self._up: set[str] = set()
        self._changed = True  # slots may have come or gone since the last look
        self._members = 0  # how many there were then

    def reopen(self) -> None:
        """A job comes where there was none: it may find what took slots out of service repaired."""
        self._forget()
        self._resting = False
        self.unfit = None

    def hear(self, happening: Event | Decision, at_s: float) -> None:
        kind = type(happening)
        if kind is Done:
            self._in_a_row.clear()
        elif kind not in OF_WORK:  # millions of those come by
            self._hear(happening, at_s)

    def _hear(self, happening: Event | Decision, at_s: float) -> None:
        self._changed = True
        match happening:
            case SlotHere():
                self._here(happening, at_s)
            case SlotReady():
                self._ready(happening, at_s)
            case SlotDied():
                self._up.discard(happening.slot)
            case Restart():
                self._again[happening.slot] = at_s
            case SlotUnfit():
                self.unfit = None if self._up else happening.error
            case SlotLeft():
                self._drop(happening.slot)
            case Quarantine():
                self._drop(happening.slot)
                self._taken_out(happening.node or happening.slot, at_s)
                self._why = happening.reason
            case Trust():
                self._trust(happening.node)
            case Release():
                self._drop(happening.slot)
                if happening.reason != NOT_QUEUED:
                    self._lost.append((at_s, 1))
            case NodeGone():
                self._gone_s = at_s
            case Finish():
                self._resting = True

    def _drop(self, slot: str) -> None:
        self._up.discard(slot)
        self._again.pop(slot, None)
        self._asked_s.pop(slot, None)
        self._began_s.pop(slot, None)

    def _here(self, here: SlotHere, at_s: float) -> None:
        """Time in which no node could be had is no boot: it counts from when the first began of what came after the
        slot was asked for, its machine, its node, or the renderer itself."""
        asked_s = self._asked_s.get(here.slot)
        if asked_s is not None and here.ages is not None:
            self._began_s[here.slot] = min([at_s, *(at_s - age for age in here.ages if at_s - age >= asked_s)])

    def _ready(self, ready: SlotReady, at_s: float) -> None:
        self.unfit = None
        self._up.add(ready.slot)
        self._again.pop(ready.slot, None)
        self.peak = max(self.peak, len(self._up))
        asked_s = self._asked_s.pop(ready.slot, None)
        began_s = self._began_s.pop(ready.slot, asked_s)
        if began_s is not None and asked_s is not None:
            self.boot_s = max(BOOT_MEMORY * self.boot_s, at_s - began_s)

    def _taken_out(self, node: str, at_s: float) -> None:
        self._in_a_row.add(node)
        self._bad_s = {other: bad_s for other, bad_s in self._bad_s.items() if at_s - bad_s < HOUR_S}
        self._bad_s[node] = at_s
        wait_s = REPLACE_S
        for _ in range(len(self._bad_s) - 1):
            wait_s = min(2 * wait_s, REPLACE_AT_MOST_S)
        self._due.append((at_s + wait_s, node))

    def _trust(self, node: str) -> None:
        self._in_a_row.discard(node)
        self._bad_s.pop(node, None)
        self._due = [each for each in self._due if each[1] != node]

    def _forget(self) -> None:
        self._in_a_row.clear()
        self._bad_s.clear()
        self._due.clear()
        self._replaced_s.clear()

    def _replace(self, at_s: float) -> None:
        """Those that were taken out of service and whose time is over may be replaced, some an hour."""
        self._replaced_s = [replaced_s for replaced_s in self._replaced_s if at_s - replaced_s < HOUR_S]
        due = sorted(each for each in self._due if each[0] <= at_s)
        now = due[: REPLACED_AN_HOUR - len(self._replaced_s)]
        for each in now:
            self._due.remove(each)
        self._replaced_s += [at_s] * len(now)
        self._held = len(now) < len(due)

    def _comes(self, at_s: float) -> bool:
        """Whether something is coming that may still come up."""
        long_s = max(COMING_S, 2 * self.boot_s)
        return any(at_s - since_s < long_s for since_s in (*self._asked_s.values(), *self._again.values()))

    def look(self, dispatcher: Dispatcher, at_s: float) -> list[Event]:
        """The slots that join and leave now."""
        members = dispatcher.members
        if self._changed or len(members) != self._members:
            self._changed, self._members = False, len(members)
            self._meet(members)
        self._replace(at_s)
        coming = list({**self._asked_s, **self._again})
        events: list[Event] = []
        enough = not self._up and len(self._in_a_row) >= BAD_IN_A_ROW
        may_come = not enough or self._comes(at_s)
        if (may_come, self.report) != (self._may_come, self._reported):
            self._may_come, self._reported = may_come, self.report
            events.append(MayCome(may_come, self.report if may_come else self._why))
        if not may_come or (self._resting and not dispatcher.open):
            return events + [SlotLeft(slot, "it is not needed any more") for slot in coming]
        room = max(0, self._most - len(self._due))
        number, up, queued = len(members), len(members) - len(coming), dispatcher.backlog.queued
        wanted = min(room, max(self.least, up + queued))
        if wanted < number:
            return events + [SlotLeft(slot, "it is not needed any more") for slot in coming[wanted - number :]]
        self._lost = [each for each in self._lost if at_s - each[0] < REJOIN_S]
        there = number + sum(count for _, count in self._lost)
        if wanted > there and not enough:
            fewer = min(room, max(self.least, up + min(queued, len(coming))))
            if up and fewer < wanted and self._too_late(dispatcher):
                wanted = fewer
            events += [self._ask(at_s) for _ in range(wanted - there)]
        return events

    def _meet(self, members: Collection[str]) -> None:
        """Forget the slots that are gone. Those that nobody said anything of went with their nodes."""
        before = len(self._up) + len(self._again) + len(self._asked_s)
        self._up.intersection_update(members)
        self._again = {slot: since_s for slot, since_s in self._again.items() if slot in members}
        self._asked_s = {slot: asked_s for slot, asked_s in self._asked_s.items() if slot in members}
        self._began_s = {slot: began_s for slot, began_s in self._began_s.items() if slot in members}
        gone = before - len(self._up) - len(self._again) - len(self._asked_s)
        if self._gone_s is not None and gone:
            self._lost.append((self._gone_s, gone))
        self._gone_s = None

    def words(self, at_s: float, *, waits: bool) -> str:
        """What is waited for, now and then, while a job `waits` and no slot is up; else "". At once where the cluster
        reports something new. And once, that those that are bad are not replaced for now."""
        if not (self._held and waits):
            self._held_said = False
        elif not self._held_said:
            self._held_said = True
            return (
                f"{REPLACED_AN_HOUR} renderers that were taken out of service were replaced within an hour: no more "
                f"are for now; the last: {self._why}"
            )
        if self._up or not waits:
            self._dark_s, self._said = None, ""
            return ""
        if self._dark_s is None:
            self._dark_s = self._said_s = at_s
        if at_s - self._said_s < SAY_S and self.report == self._said:
            return ""
        self._said_s, self._said = at_s, self.report
        needs = f", which needs {self._needs}" if self._needs else ""
        says = f"; {self.report}" if self.report else ""
        return f"no renderer is up{needs}: waiting for a node for {at_s - self._dark_s:.0f} s so far{says}"

    def _ask(self, at_s: float) -> SlotJoined:
        slot = f"renderer-{self._names}"
        self._names += 1
        self._asked_s[slot] = at_s
        # Room for the first ones of a fixed number is there; for any other a node may have to come up.
        return SlotJoined(slot, far=self._names > self.least)

    def _too_late(self, dispatcher: Dispatcher) -> bool:
        """Whether all that is queued is done before another slot could be up."""
        cost = dispatcher.backlog.cost
        if cost > dispatcher.most_speed * self.boot_s:
            return False
        speed = dispatcher.speed
        return speed > 0 and cost <= speed * self.boot_s
