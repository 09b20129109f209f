"""A job that is over and does not stop costs no other job anything: the loop over slots that obey by hand."""

from __future__ import annotations

from dataclasses import dataclass

from actors.dispatch import Assign, Done, Event, NodeDecision, SlotDied, SlotReady
from actors.drive import Batch, Happening, JobStore, Order, Patience, Receipt, Terms
from actors.loop import Job, Loop
from core.errors import Interrupted
from core.records import WorkOrder
from farm.artifacts import DiskStore
from farm.bench.sleeping import receipt_of
from tests.actors.stand_ins import clerk_orders

STOPPED = Interrupted("stopped")


class Hands:
    """Slots that work on what they are given until the test says otherwise; `told` is what they were told, in order."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.given: list[tuple[Assign, Order]] = []
        self._events: list[tuple[Event, Receipt | None]] = []

    def start(self, slot: str) -> None:
        self.told.append(("start", slot))

    def submit(self, assign: Assign, order: Order, store: JobStore) -> None:
        assert store
        self.told.append(("submit", assign.slot))
        self.given.append((assign, order))

    def cancel(self, slot: str, task: str, attempt: int) -> None:
        """What these slots do they do to its end."""

    def restart(self, slot: str) -> None:
        self.told.append(("restart", slot))

    def kill(self, slot: str) -> None:
        self.told.append(("kill", slot))

    def retire(self, slot: str) -> None:
        self.told.append(("retire", slot))

    def regard(self, decision: NodeDecision) -> None:
        raise AssertionError(f"no node is bad: {decision}")

    @property
    def report(self) -> str:
        return ""

    def wake(self) -> None:
        raise AssertionError("there is one thread")

    def poll(self, timeout_s: float) -> list[tuple[Event, Receipt | None]]:
        assert timeout_s == 0
        events, self._events = self._events, []
        return events

    def say(self, *events: Event) -> None:
        self._events += [(event, None) for event in events]

    def finish(self, number: int) -> None:
        """The attempt that was given as that one, from 0, is done."""
        assign, order = self.given[number]
        assert isinstance(order, WorkOrder)
        done = Done(assign.slot, assign.task, assign.attempt)
        self._events.append((done, receipt_of(order, assign.attempt)))


@dataclass
class Heard:
    """What became of one job."""

    job: Job
    told: list[Happening]
    batches: list[Batch]
    quiet: list[bool]


def begun(loop: Loop, name: str, count: int) -> Heard:
    told: list[Happening] = []
    batches: list[Batch] = []
    quiet: list[bool] = []
    job = Job(
        clerk_orders(count),
        DiskStore("unused"),
        Terms(name=name),
        hear=lambda happening, _: told.append(happening),
        ended=batches.append,
        quiet=lambda: quiet.append(True),
    )
    loop.add(job)
    return Heard(job, told, batches, quiet)


def make_loop(hands: Hands, *slots: str) -> Loop:
    loop = Loop(hands, slots, Patience(), lambda: 0.0)
    hands.say(*(SlotReady(slot, 2, f"node of {slot}") for slot in slots))
    loop.step(0)
    hands.told.clear()
    return loop


def deaths(heard: Heard) -> list[tuple[str, bool]]:
    return [(event.slot, event.blame) for event in heard.told if isinstance(event, SlotDied)]


def finish_all(hands: Hands, loop: Loop, first: int = 1) -> None:
    """Do all attempts from the `first` on, those too that are given meanwhile, one a step."""
    done = first
    while done < len(hands.given):
        hands.finish(done)
        loop.step(0)
        done += 1


def test_a_slot_that_works_for_nobody_else_comes_up_again_before_it_gets_anything() -> None:
    hands = Hands()
    loop = make_loop(hands, "s0")
    stuck = begun(loop, "stuck", 1)
    hands.say(SlotReady("s0", 1, "node of s0"))  # no room for a second one, so that the next job waits
    loop.step(0)
    loop.stop(stuck.job, STOPPED, finish=False)
    assert (len(stuck.batches), stuck.quiet, loop.quiet) == (1, [], False)
    hands.told.clear()
    loop.abandon(stuck.job)
    assert (hands.told, stuck.quiet, loop.quiet) == ([("retire", "s0")], [True], True)
    other = begun(loop, "other", 1)
    assert hands.told[1:] == [("restart", "s0")]
    hands.say(SlotReady("s0", 2, "node of s0"))
    loop.step(0)
    assert hands.told[2:] == [("submit", "s0")]
    hands.finish(-1)
    loop.step(0)
    assert [batch.error for batch in other.batches] == [None]


def test_beside_another_job_the_others_slots_go_on_and_nothing_is_placed_on_the_dead_one() -> None:
    hands = Hands()
    loop = make_loop(hands, "s0", "s1")
    stuck = begun(loop, "stuck", 1)
    other = begun(loop, "other", 1)
    assert hands.told == [("submit", "s0"), ("submit", "s1")]
    loop.stop(stuck.job, STOPPED, finish=False)
    loop.abandon(stuck.job)
    assert hands.told[2:] == [("retire", "s0"), ("restart", "s0")]
    assert (deaths(other), stuck.quiet) == ([("s0", False)], [True])
    third = begun(loop, "third", 3)
    assert ("submit", "s0") not in hands.told[4:]
    hands.say(SlotReady("s0", 2, "node of s0"))
    loop.step(0)
    finish_all(hands, loop)
    assert [batch.error for batch in (*other.batches, *third.batches)] == [None, None]


def test_a_slot_that_works_for_another_job_too_is_left_to_it_and_ends_afterwards() -> None:
    hands = Hands()
    loop = make_loop(hands, "s0")
    stuck = begun(loop, "stuck", 1)
    other = begun(loop, "other", 3)
    loop.stop(stuck.job, STOPPED, finish=False)
    loop.abandon(stuck.job)
    loop.step(0)
    assert {said for said, _ in hands.told} == {"submit"}
    finish_all(hands, loop)
    assert (other.batches[0].error, deaths(other), other.batches[0].deaths) == (None, [], 0)
    assert hands.told[-1] == ("retire", "s0")
    assert (stuck.quiet, loop.quiet) == ([True], True)


def test_a_death_beside_what_does_not_stop_is_not_blamed_on_the_neighbour() -> None:
    hands = Hands()
    loop = make_loop(hands, "s0", "s1")
    other = begun(loop, "other", 2)
    for _ in range(4):
        stuck = begun(loop, "stuck", 2)
        loop.stop(stuck.job, STOPPED, finish=False)
        loop.abandon(stuck.job)
        hands.say(SlotDied("s0", "killed"))
        loop.step(0)
        hands.say(SlotReady("s0", 2, "node of s0"))
        loop.step(0)
    assert deaths(other) == [("s0", False)] * 4
    assert other.batches == []
    finish_all(hands, loop, first=0)
    assert [batch.error for batch in other.batches] == [None]
