"""What the driver needs of the outside: a pool of renderers, and someone to tell how far it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from actors.drive import Batch, JobStore, Order, Terms, Watch
from core.errors import FarmError


class Pool(Protocol):
    """Renderers: actors on Ray (actors.pool) or threads of this process (actors.local). Any thread may call it."""

    @property
    def workers(self) -> int:
        """How many renderers there are, or were at one time."""

    def start(self) -> None:
        """Bring up what orders need; costs seconds on Ray, so it is called when there is work. Again, it is nothing."""

    def run(
        self,
        orders: Sequence[Order],
        watch: Watch,
        *,
        store: JobStore,
        stop_on_damage: bool,
        terms: Terms = ...,
    ) -> Batch:
        """Work off `orders` of the job in `store`, beside those of other calls with other names in `terms`.

        What is finished is in the store, whatever the batch says. `watch` is called in the calling thread; its `Halt`
        ends the job with the error that it carries.
        """

    def stop(self, name: str, error: FarmError, *, finish: bool = False) -> None:
        """End the job of that name with `error`; with `finish`, what runs is finished first."""

    def weigh(self, group: str, weight: float) -> None:
        """The jobs of that group (of `terms`) which are open share renderers by this weight from now on."""

    def release(self) -> None:
        """No more orders come: renderers are given back, and jobs that still run end as interrupted. A cluster that
        was joined is left by `close` alone: figures of what follows go out through it."""

    def close(self) -> None:
        """End everything that `start` and `run` began; jobs that still run end as interrupted."""


class Progress(Protocol):
    """A listener to a job."""

    def stage(self, name: str) -> None:
        """A stage begins. A FarmError that it raises ends the job."""

    def watch(self, orders: Sequence[Order], open_orders: Sequence[Order]) -> Watch:
        """A map over `orders` begins, of which `open_orders` are still to do; the result hears what happens
        and is decided."""

    def note(self, text: str) -> None:
        """Something a person should know now."""

    def close(self) -> None:
        """Nothing more will come."""
