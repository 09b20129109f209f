"""What the driver needs of the outside: a pool of renderers, and someone to tell how far it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from actors.drive import Batch, Order, Watch


class Pool(Protocol):
    """Renderers: actors on Ray (actors.pool) or threads of this process (actors.local)."""

    workers: int

    def start(self) -> None:
        """Bring up what orders need; costs seconds on Ray, so it is called when there is work."""

    def run(self, orders: Sequence[Order], watch: Watch, *, stop_on_damage: bool) -> Batch:
        """Work off `orders`. What is finished is in the store, whatever the batch says."""

    def close(self) -> None:
        """End everything that `start` and `run` began."""


class Progress(Protocol):
    """A listener to a job."""

    def stage(self, name: str) -> None:
        """A stage begins."""

    def watch(self, orders: Sequence[Order], open_orders: Sequence[Order]) -> Watch:
        """A map over `orders` begins, of which `open_orders` are still to do; the result hears its events."""

    def note(self, text: str) -> None:
        """Something a person should know now."""

    def close(self) -> None:
        """Nothing more will come."""
