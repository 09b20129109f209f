"""What former runs of a job cost, kept in the job's store: `jobs/<owner>/COST`, told again and again while it runs.

A run that is killed loses the seconds since it was told last, `EVERY_S` at most and whatever one write takes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from core import codec
from core.errors import FarmError, InputError
from core.records.cost import Spent
from farm.artifacts import Store

COST = "COST"
EVERY_S = 10.0


@dataclass(frozen=True)
class RunCost:
    """What one run of a job cost, in `currency`."""

    spent: Spent
    currency: str


@dataclass(frozen=True)
class Kept:
    """Former runs of a job, oldest first."""

    runs: tuple[RunCost, ...] = ()

    def in_currency(self, currency: str) -> Spent:
        """The sum of all runs; those counted in another currency without their money."""
        total = Spent()
        for run in self.runs:
            spent = run.spent
            total += spent if run.currency == currency else Spent(spent.slot_s, spent.gpu_s, spent.core_s)
        return total

    def check_currency(self, currency: str) -> None:
        """`InputError` where money was spent in another currency, so that no budget can be held against it."""
        others = sorted({run.currency for run in self.runs if run.spent.money > 0} - {currency})
        if others:
            raise InputError(
                f"earlier runs of this job were counted in {', '.join(others)}, and the budget is in {currency}",
                hint="use the price table of those runs: --prices FILE",
            )


def name_of(store: Store) -> str:
    return f"jobs/{store.owner}/{COST}"


def load_kept(store: Store) -> Kept:
    """Nothing where nothing was kept. `InputError` where what was kept cannot be read."""
    name = name_of(store)
    if not store.exists(name):
        return Kept()
    try:
        return codec.decode(store.read(name), Kept)
    except InputError as error:
        raise InputError(
            f"what earlier runs of this job cost cannot be read: {error.what}",
            where=f"{name} in the job's store",
            hint="remove that file to count from nothing",
        ) from error


def known_or_noted(store: Store, *, needed: bool) -> tuple[Kept, str]:
    """What was kept, and "". Where it cannot be read: nothing and a line that says so, or the `InputError` of
    `load_kept` where it is `needed`, as a budget needs it."""
    try:
        return load_kept(store), ""
    except InputError as error:
        if needed:
            raise
        return Kept(), f"{error.what}: it is not in the sum ({error.where})"


class CostFile:
    """Keeps what a run spends beside what former runs did, on a thread of its own, while it is entered."""

    def __init__(
        self, store: Store, before: Kept, spent: Callable[[], RunCost | None], *, every_s: float = EVERY_S
    ) -> None:
        """`spent` says what this run cost until now, None for nothing."""
        self._store, self._before, self._spent = store, before, spent
        self._every_s = every_s
        self._over = threading.Event()
        self._last: RunCost | None = None
        self._thread = threading.Thread(target=self._tell, name="cost file", daemon=True)

    def __enter__(self) -> CostFile:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del kind, error, trace
        self._over.set()
        self._thread.join()
        self._write()

    def _tell(self) -> None:
        while not self._over.wait(self._every_s):
            self._write()

    def _write(self) -> None:
        now = self._spent()
        if now is None or now == self._last:
            return
        try:
            self._store.replace(name_of(self._store), codec.encode(Kept((*self._before.runs, now))))
        except FarmError:
            return  # the job does not fail for that, and the next time may be better
        self._last = now
