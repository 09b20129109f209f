"""Several listeners to one job as one: the line on stderr, the status file, the cost meter, metrics, the service."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ParamSpec

from actors.drive import Order, Watch
from farm.ports import Progress

P = ParamSpec("P")


def all_of(calls: Sequence[Callable[P, None]]) -> Callable[P, None]:
    """A function that calls all of `calls`, in order, and raises what the first of them to fail raised.

    What one raises (an error that ends the job) is no reason for the others not to hear of what happened; a signal is.
    """

    def call_all(*args: P.args, **kwargs: P.kwargs) -> None:
        first: Exception | None = None
        for call in calls:
            try:
                call(*args, **kwargs)
            except Exception as error:  # raised again below
                first = first or error
        if first is not None:
            raise first

    return call_all


class Together:
    """A `Progress` that tells all of `listeners`, in order. Closing it closes each."""

    def __init__(self, *listeners: Progress) -> None:
        self._listeners = listeners

    def stage(self, name: str) -> None:
        all_of([listener.stage for listener in self._listeners])(name)

    def watch(self, orders: Sequence[Order], open_orders: Sequence[Order]) -> Watch:
        return all_of([listener.watch(orders, open_orders) for listener in self._listeners])

    def note(self, text: str) -> None:
        all_of([listener.note for listener in self._listeners])(text)

    def close(self) -> None:
        all_of([listener.close for listener in self._listeners])()
