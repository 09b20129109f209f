"""The jobs of a dispatcher: their books, whose turn it is, and which of them are over."""

from __future__ import annotations

from collections.abc import Iterator

from actors.dispatch.events import Finish, JobAdded
from actors.dispatch.ledger import DROPPED, Group, Ledger, Scale, Totals
from actors.dispatch.shares import Fits, Shares
from actors.dispatch.wanted import Backlog
from core.errors import FarmError, PlanError

RANK_BITS = 40
MOST_WEIGHTS = 10_000  # of groups, kept beside those that have jobs


class Jobs:
    def __init__(self) -> None:
        self.totals = Totals()
        self.open = 0
        self._ledgers: dict[str, Ledger] = {}
        self._numbered: dict[int, Ledger] = {}
        self._number = 0
        self._where: dict[str, int] = {}  # task -> its job's number and its rank, packed: one object a task
        self._shares = Shares()
        self.touched: dict[str, Ledger] = {}  # jobs that may be over
        self._scales: dict[str, Scale] = {}
        self._groups: dict[str, Group] = {}
        self._weights: dict[str, float] = {}  # by group, what `weigh` told last

    def add(self, event: JobAdded) -> None:
        """Begin a job. `PlanError` for a job or a task that is there already, or a weight that shares nothing."""
        known = self._ledgers.get(event.job)
        if (known is not None and not known.finished) or not event.weight > 0:
            raise PlanError(f"job {event.job!r} is there already, or its weight is not above 0")
        if known is not None:
            self.forget(event.job)
        self._number += 1
        group = self._groups.get(event.group) or Group(name=event.group)
        group.most, group.weight = event.most, self._weights.get(event.group, event.weight)
        ledger = Ledger(
            event.job,
            self._number,
            event.tasks,
            self.totals,
            priority=event.priority,
            weight=event.weight,
            group=group,
            scale=self._scale(event.sort),
        )
        base = self._number << RANK_BITS
        for rank, task in enumerate(ledger.ids):
            if self._where.setdefault(task, base + rank) != base + rank:
                raise PlanError(f"task {task} is there twice")
        self._ledgers[event.job] = self._numbered[self._number] = ledger
        group.jobs += 1
        if group.name:
            self._groups[group.name] = group
        self.open += 1
        self._shares.offer(ledger)
        self.touch(ledger)

    def _scale(self, sort: str) -> Scale:
        """The sort that comes first is the unit of the others."""
        if sort not in self._scales:
            self._scales[sort] = Scale() if self._scales else Scale(1.0, fixed=True)
        return self._scales[sort]

    def weigh(self, group: str, weight: float) -> None:
        """From now on the group's jobs together have this weight, whatever those say that begin later: a job's next
        stage says what was so when the job began."""
        if not group or not weight > 0:
            return
        self._weights.pop(group, None)
        self._weights[group] = weight
        if len(self._weights) > MOST_WEIGHTS:
            del self._weights[next(iter(self._weights))]
        known = self._groups.get(group)
        if known is not None:
            known.weight = weight

    def forget(self, job: str) -> None:
        ledger = self._ledgers.get(job)
        if ledger is not None and ledger.finished:
            for task in ledger.ids:
                del self._where[task]
            del self._ledgers[job], self._numbered[ledger.number]
            ledger.group.jobs -= 1
            if not ledger.group.jobs:
                self._groups.pop(ledger.group.name, None)

    def find(self, task: str) -> tuple[Ledger, int] | None:
        packed = self._where.get(task)
        if packed is None:
            return None
        ledger = self._numbered[packed >> RANK_BITS]
        return None if ledger.finished else (ledger, packed & ((1 << RANK_BITS) - 1))

    # ------------------------------------------------------------ turns

    def take(self, share: float, fits: Fits | None) -> tuple[Ledger, int] | None:
        """The next task of the job whose turn it is: for a slot without work, which may have the suspects that `fits`
        says, or with None for a slot that has work, which may have no suspect."""
        ledger = self._shares.turn(fits)
        if ledger is None:
            return None
        share_then = ledger.share  # with what is about to be taken
        rank = ledger.take_suspect(fits) if ledger.suspects and fits is not None else None
        if rank is None:
            rank = ledger.take(share)
        self._shares.charge(ledger, rank, share_then)
        return ledger, rank

    @property
    def passed_over(self) -> bool:
        """Whether the last `take` left a job out that has none but suspects which did not fit."""
        return self._shares.passed_over

    def suspects(self) -> Iterator[tuple[Ledger, int]]:
        """The suspects that are queued; looks at every job."""
        return ((ledger, rank) for ledger in self._ledgers.values() if ledger.suspects for rank in ledger.waiting())

    def put_back(self, ledger: Ledger, rank: int) -> None:
        """A task whose attempt is gone: to the front of its job's queue, or dropped where nothing more is wanted."""
        charged = ledger.charges.get(rank, 0.0)
        ledger.put_back(rank)
        self.touch(ledger)
        self._shares.refund(ledger, charged)
        if ledger.queued:
            self._shares.offer(ledger)

    # ------------------------------------------------------------ ends

    def touch(self, ledger: Ledger) -> None:
        self.touched[ledger.job] = ledger

    def halt(self, job: str, error: FarmError) -> Ledger | None:
        """Nothing more of the job is started; None where it is not open."""
        ledger = self._ledgers.get(job)
        if ledger is None or ledger.finished:
            return None
        ledger.halt(error)
        self.touch(ledger)
        return ledger

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._ledgers)

    def halt_all(self, error: FarmError) -> None:
        for job in self._ledgers:
            self.halt(job, error)

    def ended(self) -> Iterator[Finish]:
        """The jobs that are over since the last time."""
        touched, self.touched = self.touched, {}
        for ledger in touched.values():
            if ledger.over and not ledger.finished:
                ledger.finished = True
                self.open -= 1
                yield Finish(ledger.error, ledger.job)

    # ------------------------------------------------------------ views

    @property
    def groups(self) -> frozenset[str]:
        """The names of those that are known."""
        return frozenset(self._groups)

    @property
    def finished(self) -> bool:
        return not self.open and bool(self._number)

    def ids(self, state: int) -> frozenset[str]:
        return frozenset(ledger.ids[rank] for ledger in self._ledgers.values() for rank in ledger.ranks(state))

    def dropped(self) -> frozenset[str]:
        return self.ids(DROPPED)

    def line(self) -> tuple[str, ...]:
        return tuple(ledger.ids[rank] for ledger in self._ledgers.values() for rank in ledger.line())

    def backlog(self) -> Backlog:
        """What is open. Of a group's queue no more counts than may be worked on beside what is: renderers for the rest
        would stand idle."""
        queued: dict[int, int] = {}
        groups: dict[int, Group] = {}
        cost = 0.0
        for ledger in self._ledgers.values():
            if not ledger.finished:
                groups[id(ledger.group)] = ledger.group
                queued[id(ledger.group)] = queued.get(id(ledger.group), 0) + ledger.queued
                cost += ledger.queued_cost / (ledger.scale.value or 1.0)
        now = sum(min(count, groups[key].room) for key, count in queued.items())
        return Backlog(int(now), self.totals.running, max(0.0, cost))
