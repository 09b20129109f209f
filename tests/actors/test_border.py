"""What a renderer says and what the dispatcher makes of it: the transport between the two."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
import ray
from ray.exceptions import RayTaskError

from actors.code import code_here
from actors.dispatch import (
    Assign,
    Decision,
    Dispatcher,
    Failed,
    Finish,
    JobAdded,
    Quarantine,
    Shun,
    SlotJoined,
    SlotReady,
    Task,
    Trust,
)
from actors.ray.nodes import node_name
from actors.ray.renderer import Introduction
from actors.ray.transport import RayTransport
from core.errors import FarmError, InputError, ModelError, StorageError, WorkerLost
from farm.store.disk import DiskStore
from tests.actors.stand_ins import clerk_orders

POLL_S = 5.0
DEADLINE_S = 60.0


class Answer:
    """Of a call of an actor, there at once."""

    def __init__(self, value: object, error: BaseException | None = None) -> None:
        self._answer: Future[object] = Future()
        if error is not None:
            self._answer.set_exception(error)
        else:
            self._answer.set_result(value)

    def future(self) -> Future[object]:
        return self._answer


class Method:
    def __init__(self, answer: Callable[[], Answer]) -> None:
        self._answer = answer

    def remote(self, *_: object) -> Answer:
        return self._answer()


class Refuser:
    """An actor on a node of its own, all of whose work ends with the error, as Ray would bring it."""

    def __init__(self, number: int, error: FarmError) -> None:
        node = Introduction(f"{number:056x}", f"10.0.0.{number}/{number:08x}", "L4", code_here())
        raised = cast(Any, RayTaskError)("work", "a traceback", error).as_instanceof_cause()
        self.here = Method(partial(Answer, (node.node_id, node.node)))
        self.setup = Method(partial(Answer, node))
        self.notice = Method(partial(Answer, None))
        self.work = Method(partial(Answer, None, raised))
        self.progress = Method(partial(Answer, ({}, "")))


class Border:
    """A dispatcher with a job of two tasks, and two renderers on as many nodes."""

    def __init__(self, root: Path, error: FarmError) -> None:
        self.dispatcher = Dispatcher(None, [], at_s=0.0, hang_s=1e6, start_s=1e6, awaits_nodes=True)
        made: list[Refuser] = []

        def make(shunned: frozenset[str]) -> Any:
            assert not shunned
            made.append(Refuser(len(made) + 1, error))
            return made[-1]

        self.transport = RayTransport(make, {"GPU": 1.0})
        self.order = clerk_orders(1)[0]
        self.store = DiskStore(str(root))
        self.assigned: list[Assign] = []
        self.dispatcher.handle(JobAdded("a", [Task(f"a{number}", number, 1.0) for number in range(2)]), 0.0)
        for name in ("x", "y"):
            self.dispatcher.handle(SlotJoined(name), 0.0)
            self.transport.start(name)
        while len(self.assigned) < 2:  # both are up
            self.assigned += [each for each in self.hear(0.0) if isinstance(each, Assign)]

    def hear(self, at_s: float) -> list[Decision]:
        """What the dispatcher decides of all that the transport has to tell."""
        told = self.transport.poll(POLL_S)
        assert told, "nothing came within the time"
        return [decision for event, _ in told for decision in self.dispatcher.handle(event, at_s)]

    def works(self, assign: Assign) -> list[Decision]:
        self.transport.submit(assign, self.order, self.store)
        return self.hear(0.0)


@pytest.mark.parametrize("error", [ModelError("model x is altered"), StorageError("the disk is full", where="/tmp")])
def test_what_a_node_lacks_is_tried_on_another_before_it_ends_the_job(error: FarmError, tmp_path: Path) -> None:
    border = Border(tmp_path, error)
    first, second = border.assigned
    (taken_out, *_) = border.works(first)
    assert isinstance(taken_out, Quarantine)
    assert taken_out.slot == first.slot
    assert taken_out.reason.endswith(str(error))
    assert set(border.dispatcher.running[second.slot]) == {first.task, second.task}
    assert border.dispatcher.open == 1
    again = Assign(second.slot, first.task, 2)
    (end,) = [each for assign in (second, again) for each in border.works(assign) if isinstance(each, Finish)]
    told = end.error
    assert told is not None
    assert (told.what, told.exit_code) == (error.what, WorkerLost.exit_code), "a job that a node could not do resumes"


class Quiet:
    """An actor that comes up and says where."""

    def here(self) -> tuple[str, str]:
        (node,) = [node for node in cast(Any, ray).nodes() if node["Alive"]]
        node_id = str(node["NodeID"])
        return node_id, node_name(str(node["NodeManagerAddress"]), node_id)

    def setup(self) -> Introduction:
        return Introduction(*self.here(), "L4", code_here())

    def notice(self) -> None:
        """There is none."""

    def progress(self) -> tuple[dict[tuple[str, int], int], str]:
        return {}, ""


@pytest.mark.heavy
def test_on_a_node_with_a_bad_slot_a_good_one_starts_again_and_nothing_new_does(cluster: None) -> None:
    asked: list[frozenset[str]] = []

    def make(shunned: frozenset[str]) -> Any:
        asked.append(shunned)
        return cast(Any, ray).remote(Quiet).options(num_cpus=0).remote()

    transport = RayTransport(make, {"CPU": 1.0})
    with ExitStack() as ends:
        ends.callback(transport.end)
        transport.watch()
        transport.start("good")
        events: list[SlotReady] = []
        until_s = time.monotonic() + DEADLINE_S
        while not events and time.monotonic() < until_s:
            events += [event for event, _ in transport.poll(1.0) if isinstance(event, SlotReady)]
        (ready,) = events
        transport.regard(Shun(ready.node, "another slot of it was bad"))
        transport.restart("good")
        transport.start("new")
        (node,) = [node for node in cast(Any, ray).nodes() if node["Alive"]]
        assert asked == [frozenset(), frozenset(), {node["NodeID"]}]
        transport.regard(Trust(ready.node))
        assert asked[3:] == [frozenset()], "what waits for another node begins on this one now"
        transport.regard(Trust(ready.node))
        assert len(asked) == 4


def test_what_is_wrong_with_the_film_is_tried_nowhere_else(tmp_path: Path) -> None:
    border = Border(tmp_path, InputError("torn film"))
    first, _ = border.assigned
    border.transport.submit(first, border.order, border.store)
    ((event, _),) = border.transport.poll(POLL_S)
    assert isinstance(event, Failed)
    assert not event.of_node
    border.dispatcher.handle(event, 0.0)
    assert first.task not in border.dispatcher.queued + border.dispatcher.running["y"]
    assert border.dispatcher.slots == {"x", "y"}
