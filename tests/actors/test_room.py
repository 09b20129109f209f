"""A renderer that Ray does not begin is asked for again, where there was room for it all the time, and only there."""

from __future__ import annotations

import time
from concurrent.futures import Future
from contextlib import ExitStack
from typing import Any, cast

import pytest
import ray

from actors.dispatch import Shun, SlotReady, Trust
from actors.ray import transport as transports
from actors.ray.fleet import HEAD, FleetWatch
from actors.ray.room import Room
from actors.ray.transport import LOOKS, RayTransport
from tests.actors.test_border import DEADLINE_S, Answer, Method, Quiet

A, B = "10.0.0.1/a", "10.0.0.2/b"


def test_room_is_what_was_seen_at_every_look_since() -> None:
    room = Room()
    for _ in range(2):
        room.see({"a": 1, "b": 0})
    assert not room.take(0, 3, ())
    assert not room.take(1, 2, ()), "that was asked for after the first look"
    assert not room.take(0, 2, {"a"})
    assert room.take(0, 2, {"b"})
    room.see({"a": 1, "b": 1})
    assert not room.take(0, 2, ()), "of a, it is to be seen anew; b has room only now"
    room.see({"b": 2})
    assert [room.take(0, 2, ()) for _ in range(3)] == [True, True, False]
    room.see({"a": 9})
    room.forget()
    assert not room.take(0, 1, ())


def test_what_ray_says_is_free_is_room(cluster: None) -> None:
    there, beyond = (FleetWatch(lambda _: None, {HEAD: amount}) for amount in (0.25, 2.0))
    for fleet in (there, beyond):
        fleet._look()
        fleet._see_room()
        assert fleet.room.looks == 0, "nobody waits"
        fleet.waiting = True
        fleet._see_room()
    assert [there.room.take(0, 1, ()) for _ in range(5)] == [True, True, True, True, False]
    assert not beyond.room.take(0, 1, ())


class Sleeper:
    """An actor that begins when it is told where, and not before."""

    def __init__(self) -> None:
        self.begun: list[Answer] = []
        self.here = self.setup = self.notice = self.progress = Method(self._call)

    def _call(self) -> Answer:
        answer = Answer(None)
        answer._answer = Future()
        self.begun.append(answer)
        return answer

    def wakes(self, node_id: str, node: str) -> None:
        self.begun[0].future().set_result((node_id, node))


@pytest.fixture(autouse=True)
def sleepers_are_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """`ray.kill` takes them too: tests of this file share their process with a Ray, and sleepers are none of its."""
    kill = ray.kill
    monkeypatch.setattr(ray, "kill", lambda actor: None if isinstance(actor, Sleeper) else kill(actor))


class Slept(RayTransport):
    """With two nodes, and renderers that do not begin; `asked` is what each of them avoids."""

    def __init__(self) -> None:
        super().__init__(self._make, {"CPU": 1.0})
        self.asked: list[frozenset[str]] = []
        self.made: list[Sleeper] = []
        self._fleet._there = {"a": {"CPU": 1.0}, "b": {"CPU": 1.0}}
        self._fleet._names = {"a": A, "b": B}

    def _make(self, avoids: frozenset[str]) -> Any:
        self.asked.append(avoids)
        self.made.append(Sleeper())
        return self.made[-1]

    def looks(self, count: int, **places: int) -> None:
        """So many looks at which there is that much room on the nodes, and what comes of it."""
        for _ in range(count):
            self._fleet.room.see(places)
            self._ask_again()


def test_what_is_not_begun_beside_room_is_asked_for_again() -> None:
    transport = Slept()
    transport.start("x")
    transport._ask_again()
    transport.looks(LOOKS - 1, a=1)
    assert len(transport.asked) == 1
    transport.looks(1, a=1)
    assert len(transport.asked) == 2
    transport.looks(LOOKS - 1, a=1)
    assert len(transport.asked) == 2
    transport.looks(1, a=1)
    assert len(transport.asked) == 3
    transport.restart("x")  # by the dispatcher
    transport._ask_again()
    transport.looks(LOOKS, a=1)
    assert len(transport.asked) == 5


def test_nothing_is_asked_for_again_while_nodes_boot_or_fill_up() -> None:
    transport = Slept()
    transport.start("x")
    transport._ask_again()
    transport.looks(9 * LOOKS, a=0)
    transport.looks(LOOKS - 1, a=0, b=1)
    transport.looks(LOOKS - 1, a=1, b=0)
    assert len(transport.asked) == 1


def test_nothing_is_asked_for_again_that_has_begun_or_is_dead() -> None:
    transport = Slept()
    for slot in ("begun", "dead"):
        transport.start(slot)
    begun, dead = transport.made
    begun.wakes("a", A)
    transport.poll(0.0)
    for answer in dead.begun:
        answer.future().set_exception(RuntimeError("the actor is dead"))
    transport.poll(0.0)
    transport._ask_again()
    transport.looks(9 * LOOKS, a=9)
    transport.regard(Shun(A, "bad"))
    transport.regard(Trust(A))
    assert len(transport.asked) == 2


def test_room_on_a_node_that_is_shunned_is_for_those_alone_that_lived_there() -> None:
    transport = Slept()
    transport.start("new")
    transport.start("old")
    transport.made[1].wakes("a", A)
    transport.poll(0.0)
    transport.regard(Shun(A, "bad"))
    transport.restart("old")
    transport._ask_again()
    transport.looks(LOOKS, a=9)
    assert transport.asked == [frozenset()] * 4
    assert transport._actors["new"] is transport.made[0]
    transport.looks(LOOKS, b=1)
    assert transport.asked[4:] == [{"a"}]
    assert transport._actors["new"] is transport.made[4]


def test_a_renderer_keeps_its_home_however_often_it_begins_again() -> None:
    transport = Slept()
    transport.start("x")
    transport.made[0].wakes("a", A)
    transport.poll(0.0)
    transport.regard(Shun(A, "another slot of it was bad"))
    transport.regard(Shun(B, "all of it was bad"))
    for _ in range(3):  # without its having said meanwhile where it is
        transport.restart("x")
    assert transport.asked == [frozenset(), *[frozenset("b")] * 3]
    transport.made[-1].wakes("a", A)
    transport.poll(0.0)
    transport.restart("x")
    assert transport.asked[4:] == [{"b"}]


def test_only_what_avoids_a_node_that_is_trusted_again_is_asked_for_again() -> None:
    transport = Slept()
    transport.regard(Shun(A, "bad"))
    transport.start("x")
    transport.regard(Shun(B, "bad"))
    transport.start("y")
    assert transport.asked == [{"a"}, {"a", "b"}]
    del transport._fleet._there["a"]
    transport.regard(Trust(A))
    assert len(transport.asked) == 2, "it is gone: nothing begins there"
    transport.regard(Trust(B))
    assert transport.asked[2:] == [frozenset()]
    assert transport._actors["y"] is transport.made[2]
    transport.regard(Trust(B))
    assert len(transport.asked) == 3


@pytest.mark.heavy
def test_on_ray_what_does_not_begin_beside_room_comes_up_at_last(
    cluster: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transports, "LOOKS", 10)
    nowhere = ",".join(str(node["NodeID"]) for node in cast(Any, ray).nodes())
    asked: list[frozenset[str]] = []

    def make(avoids: frozenset[str]) -> Any:
        asked.append(avoids)
        first = {"ray.io/node-id": f"!in({nowhere})"} if len(asked) == 1 else None  # which Ray never begins
        return cast(Any, ray).remote(Quiet).options(num_cpus=1, label_selector=first).remote()

    transport = RayTransport(make, {"CPU": 1.0})
    with ExitStack() as ends:
        ends.callback(transport.end)
        transport._fleet._look()
        transport.start("x")
        transport._fleet.waiting = True
        events: list[SlotReady] = []
        until_s = time.monotonic() + DEADLINE_S
        while not events and time.monotonic() < until_s:
            transport._fleet._room_s = 0.0
            transport._fleet._see_room()
            events += [event for event, _ in transport.poll(1.0) if isinstance(event, SlotReady)]
        assert len(events) == 1
        assert asked[:2] == [frozenset()] * 2
