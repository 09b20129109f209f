"""Whose fault a loss is: told by a node table that was read after the loss, however the questions to Ray interleave."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from ray.core.generated.common_pb2 import ActorDiedErrorContext
from ray.exceptions import ActorDiedError

from actors.dispatch import Event, NodeGone, NoPlace, Shun, SlotDied, Trust
from actors.ray.fleet import FleetWatch
from actors.ray.transport import RayTransport


class Tables(FleetWatch):
    """A watch that is told what Ray's tables say: `at_look` and `at_draining` happen while they are read."""

    def __init__(self, tell: Callable[[Event], None]) -> None:
        super().__init__(tell, {"CPU": 1.0})
        self.dead: frozenset[str] = frozenset()
        self.at_look: list[Callable[[], None]] = []
        self.at_draining: list[Callable[[], None]] = []

    def _look(self) -> frozenset[str]:
        self._names = {"a": "10.0.0.1/a", "b": "10.0.0.2/b"}
        dead = self.dead
        while self.at_look:
            self.at_look.pop()()
        return dead

    def _draining(self) -> dict[str, int]:
        while self.at_draining:
            self.at_draining.pop()()
        return {}


@pytest.mark.parametrize("when", ["at_look", "at_draining"])
@pytest.mark.parametrize("doubt", [False, True])
def test_a_node_that_goes_after_the_table_was_read_takes_the_blame_for_its_renderers(when: str, doubt: bool) -> None:
    told: list[Event] = []
    tables = Tables(told.append)

    def goes() -> None:
        tables.dead = frozenset({"a"})
        tables.lost("s0", "a", "renderer died", doubt=doubt)

    tables.lost("s1", "b", "renderer died", doubt=False)
    getattr(tables, when).append(goes)
    tables._look_and_tell()
    assert told == [SlotDied("s1", "renderer died", blame=True)]
    tables._look_and_tell()
    assert told[1:] == [NodeGone("10.0.0.1/a", "its node is gone")] * 2  # for the table, and for the loss
    tables._look_and_tell()
    assert len(told) == 3


@pytest.mark.parametrize("doubt", [False, True])
def test_a_loss_on_a_node_that_is_there_is_the_renderers(doubt: bool) -> None:
    told: list[Event] = []
    tables = Tables(told.append)
    tables.lost("s0", "a", "renderer died", doubt=doubt)
    tables._look_and_tell()
    assert told == [SlotDied("s0", "renderer died", blame=not doubt)]


def test_a_table_that_could_not_be_read_loses_no_loss() -> None:
    told: list[Event] = []
    tables = Tables(told.append)

    def fails() -> None:
        raise ConnectionError("the head does not answer")

    tables.at_draining.append(fails)
    tables.lost("s0", "a", "renderer died", doubt=False)
    with pytest.raises(ConnectionError):
        tables._look_and_tell()
    tables._look_and_tell()
    assert told == [SlotDied("s0", "renderer died", blame=True)]


def no_actor(_: frozenset[str]) -> None:
    raise AssertionError("nothing is started")


def died_of(words: str) -> ActorDiedError:
    """Ray's error for an actor that is dead, with its words for why."""
    context = ActorDiedErrorContext(actor_id=bytes(16), class_name="Renderer", error_message=words)
    return ActorDiedError(context)


def test_before_its_node_is_known_ray_says_whose_fault_it_was() -> None:
    """One that was placed on a node which nobody knew yet to be gone is no renderer that dies at its set-up."""
    transport = RayTransport(no_actor, {"CPU": 1.0})
    node = died_of("The actor died because its node has died. Node Id: 00ff.")
    assert transport._lost("s0", "renderer died", node) == [(SlotDied("s0", "renderer died", blame=False), None)]
    own = died_of("Worker unexpectedly exits with a connection error code 2.")
    assert transport._lost("s0", "renderer died", own) == [(SlotDied("s0", "renderer died", blame=True), None)]


def test_a_death_that_is_told_late_is_not_that_of_the_renderer_that_came_after() -> None:
    transport = RayTransport(no_actor, {"CPU": 1.0})
    died = SlotDied("s0", "renderer died")
    transport._homes["s0"] = "a"
    assert transport._lost("s0", "renderer died", died_of("worker exited")) == []
    transport._tell(died)
    assert transport.poll(0.0) == [(died, None)]
    transport.retire("s0")
    transport._tell(died)
    transport._tell(NodeGone("10.0.0.1/a", "its node is gone"))
    assert transport.poll(0.0) == [(NodeGone("10.0.0.1/a", "its node is gone"), None)]


def test_that_there_is_no_place_is_not_heard_once_nodes_are_trusted_again() -> None:
    """A job that comes finds its nodes trusted; what was found out before is about no job of now."""
    transport = RayTransport(no_actor, {"CPU": 1.0})
    transport._fleet._there, transport._fleet._names = {"a": {"CPU": 1.0}}, {"a": "10.0.0.1/a"}
    transport.regard(Shun("10.0.0.1/a", "bad"))
    transport._tell(NoPlace("no other node"))
    assert transport.poll(0.0) == [(NoPlace("no other node"), None)]
    transport._tell(NoPlace("no other node"))
    transport.regard(Trust("10.0.0.1/a"))
    assert transport.poll(0.0) == []


def test_of_the_nodes_at_an_address_one_that_is_gone_is_not_meant() -> None:
    """What could not begin at an address is to be put down to the node that is there now, so that it is shunned."""
    fleet = RayTransport(no_actor, {"CPU": 1.0})._fleet
    fleet._names = {"a": "10.0.0.1/a", "b": "10.0.0.1/b", "c": "10.0.0.2/c"}
    fleet._there = {"b": {"CPU": 1.0}}
    assert [fleet.at(address) for address in ("10.0.0.1", "10.0.0.2", "10.0.0.3")] == [
        "10.0.0.1/b",
        "10.0.0.2/c",
        "10.0.0.3",
    ]
    fleet._there = {"a": {"CPU": 1.0}, "b": {"CPU": 1.0}}
    assert fleet.at("10.0.0.1") == "10.0.0.1", "it may be either"
