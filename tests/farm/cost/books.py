"""Prices for tests, and books of a farm that are kept the slow way: at every happening, slot by slot."""

from __future__ import annotations

from collections import defaultdict

from actors.dispatch import (
    Assign,
    Beat,
    Cancel,
    Done,
    Failed,
    NodeGone,
    Quarantine,
    Release,
    Restart,
    SlotDied,
    SlotJoined,
    SlotLeft,
    SlotReady,
    SlotUnfit,
)
from actors.drive import Happening
from farm.cost.meter import Meter
from farm.cost.prices import Price

HOURLY = {"k0": 3.6, "k1": 7.2}  # a thousandth, and two, of the money a second


def price_of(kind: str) -> Price | None:
    if kind not in HOURLY:
        return None
    return Price(kind, "spot", HOURLY[kind], HOURLY[kind], HOURLY[kind], gpus=2, cores=8)


class SlowBooks:
    """What each second was for, by (kind, what) in slot-seconds and money, and by attempt."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.state: dict[str, str] = {}  # slot -> starting or up
        self.where: dict[str, tuple[str, str]] = {}  # slot -> kind, node
        self.work: dict[str, list[tuple[str, int]]] = defaultdict(list)
        self.seconds: dict[tuple[str, str], float] = defaultdict(float)
        self.money: dict[tuple[str, str], float] = defaultdict(float)
        self.attempts: dict[tuple[str, int], float] = defaultdict(float)
        self.whose: dict[tuple[str, int], str] = {}  # attempt -> kind
        self.how: dict[tuple[str, int], str] = {}  # attempt -> done, lost or running
        self.published: set[str] = set()
        self.moved: set[tuple[str, int]] = set()

    def pass_time(self, at_s: float) -> None:
        seconds, self.now_s = at_s - self.now_s, at_s
        for slot, state in self.state.items():
            kind, node = self.where[slot]
            share = 1 / sum(self.where[other][1] == node for other in self.state)
            what = state
            if self.work[slot]:
                what = "busy"
                served = [attempt for attempt in self.work[slot] if attempt in self.moved] or self.work[slot][:1]
                for attempt in served:
                    self.attempts[attempt] += seconds / len(served)
            elif state == "up":
                what = "idle"
            self.seconds[kind, what] += seconds
            self.money[kind, what] += seconds * share * HOURLY[kind] / 3600

    def hear(self, happening: Happening, at_s: float) -> None:
        self.pass_time(at_s)
        match happening:
            case SlotJoined(slot, node, kind):
                self.where[slot] = (kind, node)
                self.state[slot] = "starting"
            case Restart(slot):
                self.state[slot] = "starting"
            case SlotReady(slot):
                self.state[slot] = "up"
            case Assign(slot, task, attempt):
                self.work[slot].append((task, attempt))
                self.whose[task, attempt] = self.where[slot][0]
                self.how[task, attempt] = "running"
            case Beat(_, task, attempt, frames) if frames > 0:
                self.moved.add((task, attempt))
            case Done(slot, task, attempt):
                if task not in self.published:
                    self.how[task, attempt] = "done"
                self.published.add(task)
                if (task, attempt) in self.work[slot]:
                    self.work[slot].remove((task, attempt))
            case Failed(slot, task, attempt) | Cancel(slot, task, attempt):
                if (task, attempt) in self.work[slot]:
                    self.work[slot].remove((task, attempt))
                    self.how[task, attempt] = "lost"
            case SlotDied(slot) | SlotLeft(slot) | SlotUnfit(slot) | Quarantine(slot) | Release(slot):
                self.goes(slot)
            case NodeGone(node):
                for slot in [slot for slot, (_, home) in self.where.items() if home == node]:
                    self.goes(slot)

    def goes(self, slot: str) -> None:
        self.state.pop(slot, None)
        for attempt in self.work.pop(slot, ()):
            self.how[attempt] = "lost"

    def of(self, kind: str, how: str) -> float:
        """Slot-seconds of attempts that are done, lost or running."""
        return sum(
            self.attempts[attempt] for attempt, now in self.how.items() if (now, self.whose[attempt]) == (how, kind)
        )


def sums(meter: Meter, at_s: float) -> dict[str, dict[str, float]]:
    """Slot-seconds by kind and what they were for."""
    parts = ("done", "lost", "running", "idle", "starting")
    return {cost.kind: {part: getattr(cost, part).slot_s for part in parts} for cost in meter.kinds(at_s)}
