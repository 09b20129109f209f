"""What seconds and money are put into: purses, kinds of nodes with theirs, and attempts that are over."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from core.records.cost import KindCost, Spent
from farm.cost.prices import Price

HOUR_S = 3600.0

PriceOf = Callable[[str], Price | None]
Home = Callable[[str], Price]


def machine_of(cores: int) -> Home:
    """What a kind of node without a price is taken to be: this machine's `cores`, and a GPU a slot unless it is "cpu"
    or has no name."""
    return lambda kind: Price(kind, gpus=0.0 if kind in {"", "cpu"} else math.inf, cores=cores)


@dataclass(slots=True)
class Purse:
    """A `Spent` that grows."""

    slot_s: float = 0.0
    gpu_s: float = 0.0
    core_s: float = 0.0
    money: float = 0.0

    def add(self, other: Purse | Spent, sign: float = 1.0) -> None:
        self.slot_s += sign * other.slot_s
        self.gpu_s += sign * other.gpu_s
        self.core_s += sign * other.core_s
        self.money += sign * other.money

    def spent(self) -> Spent:
        return Spent(self.slot_s, self.gpu_s, self.core_s, self.money)


@dataclass(slots=True)
class Kind:
    """Nodes of one kind: their price, and where the seconds of their slots went."""

    name: str
    price: Price
    priced: bool
    done: Purse = field(default_factory=Purse)
    lost: Purse = field(default_factory=Purse)
    idle: Purse = field(default_factory=Purse)
    starting: Purse = field(default_factory=Purse)

    def cost(self, running: Purse) -> KindCost:
        """With what attempts that are not over cost so far."""
        market, per_hour = (self.price.market, self.price.per_hour) if self.priced else ("", None)
        spent = [purse.spent() for purse in (self.done, self.lost, running, self.idle, self.starting)]
        return KindCost(self.name, market, per_hour, *spent)


@dataclass(frozen=True, slots=True)
class Attempt:
    """What an attempt cost: the task's id, its number, where it was, and how it ended."""

    task: str
    number: int
    kind: str
    node: str
    slot: str
    spent: Spent
    outcome: str


class Attempts:
    """Attempts that are over: columns, so that a film of 100 000 segments takes some MB."""

    def __init__(self) -> None:
        self._tasks: list[str] = []
        self._places: list[tuple[str, str, str]] = []  # kind, node, slot: one object a slot
        self._known: dict[tuple[str, str, str], tuple[str, str, str]] = {}
        self._numbers = array("I")
        self._sums = array("d")
        self._outcomes: list[str] = []

    def __len__(self) -> int:
        return len(self._tasks)

    def add(self, task: str, number: int, place: tuple[str, str, str], purse: Purse, outcome: str) -> int:
        self._tasks.append(task)
        self._numbers.append(number)
        self._places.append(self._known.setdefault(place, place))
        self._sums.extend((purse.slot_s, purse.gpu_s, purse.core_s, purse.money))
        self._outcomes.append(outcome)
        return len(self._tasks) - 1

    def change(self, row: int, outcome: str) -> None:
        self._outcomes[row] = outcome

    def __getitem__(self, row: int) -> Attempt:
        kind, node, slot = self._places[row]
        spent = Spent(*self._sums[4 * row : 4 * row + 4])
        return Attempt(self._tasks[row], self._numbers[row], kind, node, slot, spent, self._outcomes[row])

    def __iter__(self) -> Iterator[Attempt]:
        return (self[row] for row in range(len(self)))
