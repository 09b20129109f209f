"""What happens to a job, in logs for machines: see farm.watching.jsonlog."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from actors.dispatch import (
    Finish,
    GiveUp,
    Kill,
    NodeGone,
    NodeLeaves,
    Quarantine,
    Release,
    Restart,
    Shun,
    SlotDied,
    SlotReady,
)
from actors.drive import Happening, Order, Watch
from farm.watching.jsonlog import log
from farm.watching.tally import Attempt, Began, Ended, Fact, Tally, map_of

EVERY_S = 10.0
# How an attempt ended -> level. What was lost is done again: nothing is wrong with the job.
ENDS = {"done": logging.INFO, "failed": logging.ERROR, "lost": logging.WARNING, "given up": logging.INFO}


class JsonProgress:
    """A `Progress` that logs what happens to a job named `job`, and how far it is every `EVERY_S`."""

    def __init__(self, job: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._job = job
        self._clock = clock
        self._tally = Tally()
        self._map = ""
        self._told_s = clock()
        self.told: set[str] = set()  # notes, as given

    def stage(self, name: str) -> None:
        self._log(logging.INFO, f"stage {name}", "stage", stage=name)

    def watch(self, orders: Sequence[Order], open_orders: Sequence[Order]) -> Watch:
        self._tally.begin(orders, open_orders)
        self._map = map_of(orders[0]) if orders else ""
        self._told_s = self._clock()
        reused = len(orders) - len(open_orders)
        told = f"{self._map}: {len(orders)} segments, {reused} of them done before"
        self._log(logging.INFO, told, "map", map=self._map, segments=len(orders), reused=reused)
        return self._hear

    def note(self, text: str) -> None:
        self.told.add(text)
        self._log(logging.INFO, text, "note")

    def close(self) -> None:
        """Nothing is held."""

    def _log(self, level: int, message: str, event: str, **fields: Any) -> None:
        log(level, message, job=self._job, event=event, **fields)

    def _hear(self, happening: Happening, at_s: float) -> None:
        node = self._node(happening)  # as it was before: afterwards it may be gone
        self._fleet(happening, node)
        for fact in self._tally.hear(happening, at_s):
            self._fact(fact, at_s)
        if self._clock() - self._told_s >= EVERY_S:
            self._told_s = self._clock()
            frames, total = self._tally.through()[0], self._tally.frames
            done = self._tally.count("done") + self._tally.count("reused")
            self._log(
                logging.INFO,
                f"{self._map}: {frames}/{total} frames",
                "progress",
                map=self._map,
                frames=frames,
                of_frames=total,
                segments_done=done,
                segments=len(self._tally.orders),
            )

    def _node(self, happening: Happening) -> str | None:
        slot = getattr(happening, "slot", "")
        known = self._tally.renderers.get(slot)
        return getattr(happening, "node", "") or (known.node if known is not None else "") or None

    def _fleet(self, happening: Happening, node: str | None) -> None:
        match happening:
            case SlotReady():
                self._slot(logging.INFO, f"{happening.slot} is up", happening, node, kind=happening.kind)
            case SlotDied():
                told = f"{happening.slot} died: {happening.reason}"
                self._slot(logging.WARNING, told, happening, node, reason=happening.reason)
            case Kill() | Restart() | Quarantine() | Release():
                level = logging.INFO if isinstance(happening, Release | Restart) else logging.WARNING
                told = f"{type(happening).__name__.lower()} {happening.slot}: {happening.reason}"
                self._slot(level, told, happening, node, reason=happening.reason)
            case NodeLeaves():
                self._log(logging.WARNING, f"node {happening.node} gave notice", "NodeLeaves", node=node)
            case NodeGone():
                told = f"node {happening.node} is gone: {happening.reason}"
                self._log(logging.WARNING, told, "NodeGone", node=node, reason=happening.reason)
            case Shun() | GiveUp():
                told = "gets nothing new" if isinstance(happening, Shun) else "is given up"
                told = f"node {happening.node} {told}: {happening.reason}"
                self._log(logging.WARNING, told, type(happening).__name__, node=node, reason=happening.reason)
            case Finish() if happening.error is not None:
                self._log(logging.ERROR, str(happening.error), "Finish")
            case _:
                pass

    def _slot(
        self,
        level: int,
        message: str,
        happening: SlotReady | SlotDied | Kill | Restart | Quarantine | Release,
        node: str | None,
        **fields: Any,
    ) -> None:
        self._log(level, message, type(happening).__name__, slot=happening.slot, node=node, **fields)

    def _fact(self, fact: Fact, at_s: float) -> None:
        match fact:
            case Began():
                one = fact.attempt
                self._attempt(logging.INFO, f"segment {one.order.segment.index} begins", "begin", one)
            case Ended():
                one = fact.attempt
                told = f"segment {one.order.segment.index} {fact.how}{': ' if fact.why else ''}{fact.why}"
                seconds = round(at_s - one.since_s, 3)
                self._attempt(ENDS[fact.how], told, fact.how, one, seconds=seconds, cause=fact.cause or None)
            case _:
                pass  # the node's own happening is told

    def _attempt(self, level: int, message: str, event: str, one: Attempt, **fields: Any) -> None:
        self._log(
            level,
            message,
            event,
            map=self._map,
            segment=one.order.segment.index,
            order=one.order.id,
            attempt=one.number,
            slot=one.renderer.name,
            node=one.renderer.node or None,
            kind=one.renderer.kind or None,
            frames=one.order.segment.frames if event == "done" else one.frames,
            **fields,
        )
