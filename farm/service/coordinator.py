"""Takes jobs from the table, runs them on the shared pool, and writes down how they go. One coordinator works at a time
(the office `coordinator`), others stand by; any of them may die at any moment.

A few times a second: renew the leases and hear what owners wish, write down what is new, and begin jobs where there is
room; where there is none, a tenant with several jobs gives a place to one that has none. What was erased is cleared up
by a thread of its own, however long it takes. A database that does not answer is waited for while the jobs go on.
"""

from __future__ import annotations

import logging
import platform
import secrets
import threading
import time
from contextlib import suppress
from dataclasses import dataclass

from core.errors import FarmError, Interrupted
from farm.cost.prices import Prices, load_prices
from farm.ports import Pool
from farm.service import clearing, held, keys, leasing, quotas
from farm.service.clearing import NEVER, Retention
from farm.service.database import Database
from farm.service.errors import LeaseLost, OverQuota, Unreachable
from farm.service.leasing import LEASE_MS, OFFICE
from farm.service.places import ServicePlaces
from farm.service.records import Held
from farm.service.runner import House, Runner
from farm.service.states import Wish
from farm.settings import SEGMENTS_IN_FLIGHT, RunOptions, Settings
from farm.watching.metrics import Metrics

log = logging.getLogger("farm.service")
CLEARED_S = 5.0


@dataclass(frozen=True)
class Rhythm:
    """How often, in seconds: look at the table, write down progress, compare quotas, clear up, see who has no place
    and what share each has. `turn_s`: for how long a job keeps its place where there are more tenants than places."""

    tick_s: float = 0.5
    tell_s: float = 1.0
    quota_s: float = 10.0
    clear_s: float = 10.0
    displace_s: float = 2.0
    turn_s: float = 900.0
    lease_ms: int = LEASE_MS


class Coordinator:
    """`start` begins on a thread of its own; `close` gives the jobs back, which another coordinator goes on with."""

    def __init__(
        self,
        db: Database,
        pool: Pool,
        places: ServicePlaces,
        settings: Settings,
        run: RunOptions,
        *,
        most_jobs: int = 8,
        prices: Prices | None = None,
        rhythm: Rhythm | None = None,
        name: str = "",
        metrics: Metrics | None = None,
        retention: Retention = NEVER,
    ) -> None:
        """`most_jobs` run at the same time. `name` names this coordinator, which must be its alone. Jobs are counted
        in `metrics`. `retention` says what is erased unasked."""
        self.name = name or f"{platform.node()}/{secrets.token_hex(6)}"
        self._house = House(db, pool, places, settings, run, prices or load_prices(), metrics)
        self._most_jobs = most_jobs
        self._retention = retention
        self._rhythm = rhythm or Rhythm()
        self._runners: dict[str, Runner] = {}
        self._ending: list[Runner] = []
        self._over = threading.Event()
        self._no_more = threading.Event()
        self._finish = False
        self._due_s: dict[str, float] = {}
        self._turns: dict[str, int] = {}  # tenant -> when a job of it was begun last, counted in jobs
        self._leads = threading.Event()
        self._clearing = threading.Thread(target=self._clear, name="clearing", daemon=True)
        self._thread = threading.Thread(target=self._main, name="coordinator", daemon=True)

    def start(self) -> None:
        self._house.places.make()
        self._thread.start()
        self._clearing.start()

    @property
    def running(self) -> tuple[str, ...]:
        """The jobs that run."""
        return tuple(self._runners)

    def close(self, *, finish: bool = False, patience_s: float = 30.0) -> None:
        """Take nothing more, stop what runs (with `finish`, after the segments that run), and give the jobs back.

        The pool stays open: who made it closes it.
        """
        self._finish = finish
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join(patience_s)

    def wait_for_ends(self, patience_s: float) -> None:
        """Take nothing more, and wait until what runs has ended by itself, as it does when its pool has."""
        self._no_more.set()
        until_s = time.monotonic() + patience_s
        while any(runner.alive for runner in [*self._runners.values()]) and time.monotonic() < until_s:
            time.sleep(0.05)

    # ------------------------------------------------------------ the thread

    def _main(self) -> None:
        while not self._over.wait(self._rhythm.tick_s):
            try:
                self._tick()
            except Unreachable as error:
                log.warning("%s", error)
            except FarmError as error:
                log.error("%s", error)
            except Exception:  # whatever it is, the jobs go on and the next round may be better
                log.exception("the coordinator's round failed")
        self._wind_up()

    def _tick(self) -> None:
        rhythm, db = self._rhythm, self._house.db
        leads = leasing.lead(db, OFFICE, self.name, lease_ms=rhythm.lease_ms) is not None
        if leads:
            self._leads.set()
        else:
            self._leads.clear()
            for runner in self._runners.values():  # another coordinator works: it will take over what is here
                runner.halt("obey")
        self._obey(leasing.renew(db, self.name, lease_ms=rhythm.lease_ms))
        self._reap()
        if self._due("tell", rhythm.tell_s):
            self._tell()
        if self._runners and self._due("weigh", rhythm.displace_s):
            self._weigh()
        if self._due("quota", rhythm.quota_s):
            self._compare_quotas()
        if leads and not self._no_more.is_set():
            self._begin()
            if len(self._runners) >= self._most_jobs and self._due("displace", rhythm.displace_s):
                self._displace()

    def _due(self, what: str, every_s: float) -> bool:
        now_s = time.monotonic()
        if now_s < self._due_s.get(what, 0.0):
            return False
        self._due_s[what] = now_s + every_s
        return True

    def _obey(self, mine: dict[str, tuple[Held, Wish]]) -> None:
        for name, runner in self._runners.items():
            known = mine.get(name)
            if known is None or known[0].epoch != runner.held.epoch:
                if runner.alive:
                    runner.halt("lost")
            elif known[1] is not Wish.run:
                runner.halt("obey")
        for name in set(mine) - set(self._runners):  # taken, but the answer was lost on its way
            with suppress(LeaseLost):
                held.give_back(self._house.db, mine[name][0])

    def _reap(self) -> None:
        for name, runner in list(self._runners.items()):
            if not runner.alive:
                del self._runners[name]
        self._ending = [runner for runner in self._ending if runner.alive]

    def _tell(self) -> None:
        for runner in self._runners.values():
            if runner.alive:
                try:
                    runner.tell()
                except LeaseLost:
                    runner.halt("lost")

    def _begin(self) -> None:
        """Take as many jobs as there is room for."""
        places = self._most_jobs - len(self._runners)
        if places <= 0:
            return
        lease_ms = self._rhythm.lease_ms
        turns = self._turns
        for taken in leasing.take(self._house.db, self.name, places, slots=self._slots, lease_ms=lease_ms, turns=turns):
            turns[taken.held.tenant] = 1 + max(turns.values(), default=0)
            old = self._runners.get(taken.held.job)
            if old is not None:
                self._ending.append(old)
            tenant = taken.held.tenant
            most = keys.tenant(self._house.db, tenant).quota.segments
            weight = leasing.guaranteed(self._house.db, {tenant}, self._slots)[tenant]
            self._house.pool.weigh(tenant, weight)
            runner = Runner(self._house, taken, weight, most_segments=most, after=old)
            self._runners[taken.held.job] = runner
            runner.start()

    @property
    def _slots(self) -> int:
        return self._house.pool.workers * SEGMENTS_IN_FLIGHT

    def _displace(self) -> None:
        """Give back one job, where a tenant has no place and waits. The segments that run are finished, all that are
        finished are kept; it is queued, and goes on when it is its turn."""
        if any(runner.halted for runner in self._runners.values()):
            return  # a place becomes free already
        turn_ms = round(1000 * self._rhythm.turn_s)
        held_ms = {name: runner.held_ms for name, runner in self._runners.items()}
        name = leasing.to_displace(self._house.db, held_ms, slots=self._slots, turns=self._turns, turn_ms=turn_ms)
        if name is not None:
            told = Interrupted("the job's place was given to another tenant that had none")
            self._runners[name].halt("displaced", told, finish=True)

    def _clear(self) -> None:
        """Clear up, as long as this coordinator has the office."""
        while not self._over.wait(self._rhythm.clear_s):
            try:
                if self._may_clear():
                    clearing.clear(self._house.db, self._house.places, self._retention, go_on=self._may_clear)
            except FarmError as error:
                log.warning("clearing up: %s", error)
            except Exception:  # the next round may be better
                log.exception("clearing up failed")

    def _may_clear(self) -> bool:
        return self._leads.is_set() and not self._over.is_set()

    def _weigh(self) -> None:
        """Each tenant's jobs together share the renderers by what the tenant is guaranteed, which changes with every
        tenant that comes or goes."""
        tenants = {runner.held.tenant for runner in self._runners.values()}
        for tenant, weight in leasing.guaranteed(self._house.db, tenants, self._slots).items():
            self._house.pool.weigh(tenant, weight)

    def _compare_quotas(self) -> None:
        """Stop the jobs of tenants whose GPU time of the month is used up."""
        for tenant in {runner.held.tenant for runner in self._runners.values()}:
            quota = keys.tenant(self._house.db, tenant).quota
            try:
                quotas.check_gpu(keys.use_of(self._house.db, tenant).gpu_ms, quota)
            except OverQuota as error:
                for runner in self._runners.values():
                    if runner.held.tenant == tenant:
                        runner.halt("over quota", error, finish=True)

    def _wind_up(self) -> None:
        runners = [*self._runners.values(), *self._ending]
        for runner in runners:
            runner.halt("obey", Interrupted("the service was stopped"), finish=self._finish)
        for runner in runners:
            runner.join()
        if self._clearing.ident is not None:
            self._clearing.join(CLEARED_S)  # what takes longer ends with the process: it is done again
        try:
            leasing.resign(self._house.db, OFFICE, self.name)
        except FarmError as error:
            log.warning("%s", error)
