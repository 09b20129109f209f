"""Whose turn it is: priorities first, then fair shares, by start-time fair queueing (Goyal, Vin, Cheng 1996).

A job is charged the cost of what it is given, divided by its weight; the job with the least charge is next. Jobs of one
group and priority have its weight together: each its part among those that have something queued at that moment, so
that what only runs, or hangs, takes nothing from the others. A job that comes in, or comes back, starts at the charge
of the one that was served last: it neither catches up on time when it had no work, nor waits for the others to catch
up. So between two jobs of one priority that both have a queue, the
difference of what they got (by weight) is at most the longest task of the one plus the longest of the other.
What is lost is given back as it was charged: the loss is the farm's.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush, heapreplace

from actors.dispatch.ledger import Ledger

Fits = Callable[[Ledger, int], bool]  # whether a slot may have a suspect


class Shares:
    """The jobs that have something queued, by turn. Stale entries of the heap are known by their number."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, float, int, Ledger]] = []
        self._entry: dict[int, int] = {}  # job number -> number of its entry that counts
        self._entries = 0
        self.passed_over = False  # whether the last turn left out a job with suspects that did not fit
        self._clock: dict[int, float] = {}  # by priority: the charge of the job that was served last

    def offer(self, ledger: Ledger) -> None:
        """The job has something queued (again)."""
        if ledger.number not in self._entry:
            ledger.served = max(ledger.served, self._clock.get(ledger.priority, 0.0))
            self._push(ledger)

    def charge(self, ledger: Ledger, rank: int, share: float) -> None:
        """The job, which had this `share`, is given a task."""
        clock = self._clock.get(ledger.priority, 0.0)
        self._clock[ledger.priority] = max(clock, ledger.served)
        ledger.charges[rank] = charged = ledger.costs[rank] / share
        ledger.served += charged
        if ledger.queued:
            self._push(ledger)
        else:
            self._entry.pop(ledger.number, None)

    def refund(self, ledger: Ledger, charged: float) -> None:
        """A task of the job, for which it was charged so much, was lost with its slot."""
        ledger.served -= charged
        if ledger.number in self._entry:
            self._push(ledger)

    def turn(self, fits: Fits | None) -> Ledger | None:
        """Whose turn it is for a slot that may have the suspects that `fits` says, and none where that is None. Nothing
        is taken.

        Jobs whose group has all that it may have are passed over.
        """
        self.passed_over = False
        skipped = []
        found = None
        while self._heap and found is None:
            entry = self._heap[0]
            ledger = entry[3]
            if self._entry.get(ledger.number) != entry[2]:
                heappop(self._heap)
            elif not ledger.queued:
                heappop(self._heap)
                del self._entry[ledger.number]
            elif ledger.group.room <= 0:
                skipped.append(heappop(self._heap))
            elif ledger.queued == ledger.suspects and (fits is None or not ledger.offers(fits)):
                self.passed_over = True
                skipped.append(heappop(self._heap))
            else:
                found = ledger
        for entry in skipped:
            heappush(self._heap, entry)
        return found

    def _push(self, ledger: Ledger) -> None:
        self._entries += 1
        self._entry[ledger.number] = self._entries
        entry = (-ledger.priority, ledger.served, self._entries, ledger)
        if self._heap and self._heap[0][3] is ledger:  # its last entry, which counts no more
            heapreplace(self._heap, entry)
            return
        heappush(self._heap, entry)
        if len(self._heap) > 4 * len(self._entry) + 64:
            self._heap = [entry for entry in self._heap if self._entry.get(entry[3].number) == entry[2]]
            heapify(self._heap)
