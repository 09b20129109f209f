"""How many slots there should be: a fixed number, or as many as the backlog is worth. Pure, asked about once a second.

The keeper asks for slots and takes back those that have not come up; whoever brings slots does what it says. A slot
that comes up is the dispatcher's from then on, which releases it when nothing was queued for a while.
"""

from __future__ import annotations

from actors.dispatch.dispatcher import Dispatcher
from actors.dispatch.events import (
    Decision,
    Event,
    NodeGone,
    Quarantine,
    Release,
    SlotJoined,
    SlotLeft,
    SlotReady,
    SlotUnfit,
)
from actors.dispatch.events import SlotsMayCome as MayCome
from actors.dispatch.losses import NOT_QUEUED
from core.errors import FarmError

# A slot whose node went is asked for again only after this: what places it may not know yet that the node is gone.
REJOIN_S = 5.0
SAY_S = 10.0
BOOT_MEMORY = 0.9  # of the longest, at each that was shorter
NONE_LEFT = "all were taken out of service"


class Keeper:
    """Between `least` slots, which are always kept, and `most`, for a backlog."""

    def __init__(self, least: int, most: int, needs: str = "") -> None:
        """`needs` are words for what a slot takes."""
        self._needs = needs
        self._dark_s: float | None = None
        self._said_s = 0.0
        self.least = least
        self._most = most
        self._closed = 0  # slots that were taken out of service since there was a job
        self._why = NONE_LEFT
        self._may_come = True
        self._names = 0
        self._asked_s: dict[str, float] = {}
        self._not_before_s = 0.0
        self.boot_s = 0.0  # how long a slot takes from being asked for to being up; 0 while that is not known
        self.peak = 0  # the most slots that were up at one time
        self.unfit: FarmError | None = None  # the last such slot's reason, while none was fit
        self._up: set[str] = set()

    def reopen(self) -> None:
        """A job comes where there was none: it may find what took slots out of service repaired."""
        self._closed = 0
        self.unfit = None

    def hear(self, happening: Event | Decision, at_s: float) -> None:
        match happening:
            case SlotReady():
                self.unfit = None
                self._up.add(happening.slot)
                self.peak = max(self.peak, len(self._up))
                asked_s = self._asked_s.pop(happening.slot, None)
                if asked_s is not None:
                    self.boot_s = max(BOOT_MEMORY * self.boot_s, at_s - asked_s)
            case SlotUnfit():
                self.unfit = None if self._up else happening.error
            case Quarantine():
                self._closed += 1
                self._why = happening.reason
            case Release(reason=reason) if reason != NOT_QUEUED:
                self._not_before_s = at_s + REJOIN_S
            case NodeGone():
                self._not_before_s = at_s + REJOIN_S

    def look(self, dispatcher: Dispatcher, at_s: float) -> list[Event]:
        """The slots that join and leave now."""
        members = dispatcher.slots
        self._up &= members
        self._asked_s = {slot: asked_s for slot, asked_s in self._asked_s.items() if slot in members}
        room = self._most - self._closed
        events: list[Event] = []
        if (room > 0) != self._may_come:
            self._may_come = room > 0
            events.append(MayCome(self._may_come, self._why))
        missing = self._wanted(dispatcher, min(room, self._most)) - len(members)
        if missing > 0 and at_s >= self._not_before_s:
            events += [self._ask(at_s) for _ in range(missing)]
        elif missing < 0:
            events += [SlotLeft(slot, "it is not needed any more") for slot in list(self._asked_s)[missing:]]
        return events

    def words(self, at_s: float, *, waits: bool) -> str:
        """What is waited for, now and then, while a job `waits` and no slot is up; else ""."""
        if self._up or not waits:
            self._dark_s = None
            return ""
        if self._dark_s is None:
            self._dark_s = self._said_s = at_s
        if at_s - self._said_s < SAY_S:
            return ""
        self._said_s = at_s
        needs = f", which needs {self._needs}" if self._needs else ""
        return f"no renderer is up{needs}: waiting for a node for {at_s - self._dark_s:.0f} s so far"

    def _ask(self, at_s: float) -> SlotJoined:
        slot = f"renderer-{self._names}"
        self._names += 1
        self._asked_s[slot] = at_s
        # Room for the first ones of a fixed number is there; for any other a node may have to come up.
        return SlotJoined(slot, far=self._names > self.least)

    def _wanted(self, dispatcher: Dispatcher, room: int) -> int:
        """How many there should be now, those that start and those that stand idle included."""
        backlog = dispatcher.backlog
        coming = len(self._asked_s)
        up = len(dispatcher.slots) - coming
        for_queue = backlog.queued
        if up and dispatcher.speed and backlog.cost <= dispatcher.speed * self.boot_s:
            for_queue = min(for_queue, coming)  # done before another one could be up
        return min(room, max(self.least, up + for_queue))
