"""Who did not move for too long: a heap with one entry a slot, looked at again only when its time has come."""

from __future__ import annotations

import math
from collections.abc import Iterator
from heapq import heappop, heappush

from actors.dispatch.slots import Slot

# A renderer that was told to end and is not reported dead by then counts as dead: its node cannot be reached.
KILL_S = 60.0


class Watch:
    def __init__(self, hang_s: float) -> None:
        self._hang_s = hang_s
        self._heap: list[tuple[float, int, Slot]] = []
        self._entries = 0

    def add(self, slot: Slot) -> None:
        """The slot works, or is set up, from now on."""
        if not slot.watched and math.isfinite(self._hang_s):
            slot.watched = True
            self._push(slot.moved_s + self._hang_s, slot)

    def due(self, at_s: float) -> Iterator[Slot]:
        """Slots that hang: with `killed_s` unset those to kill, else those that were killed and never reported.

        Whoever gets a slot acts on it before the next one is asked for.
        """
        while self._heap and self._heap[0][0] <= at_s:
            _, _, slot = heappop(self._heap)
            slot.watched = False
            if not slot.moves:
                continue
            # by the sum that is in the heap: the difference may round to the other side, for ever
            if slot.killed_s is None and slot.moved_s + self._hang_s > at_s:
                self.add(slot)
                continue
            if slot.killed_s is not None and slot.killed_s + KILL_S > at_s:
                slot.watched = True
                self._push(slot.killed_s + KILL_S, slot)
                continue
            yield slot
            if slot.moves and slot.killed_s is not None:
                slot.watched = True
                self._push(slot.killed_s + KILL_S, slot)

    def _push(self, at_s: float, slot: Slot) -> None:
        self._entries += 1
        heappush(self._heap, (at_s, self._entries, slot))
