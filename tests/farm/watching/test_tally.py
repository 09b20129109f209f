"""What happenings amount to: told by hand, and held as laws against the dispatcher itself."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given

from actors.dispatch import (
    Assign,
    Beat,
    Cancel,
    Decision,
    Dispatcher,
    Done,
    Event,
    Failed,
    Finish,
    Kill,
    NodeGone,
    NodeLeaves,
    SlotDied,
    SlotJoined,
    SlotReady,
    Tick,
)
from actors.drive import task_of
from core.errors import StorageError
from farm.watching.tally import Began, Ended, Fact, NodeLost, Tally
from tests.farm.watching.jobs import look, order


def told(tally: Tally, *happenings: Event | Decision) -> list[Fact]:
    return [fact for number, happening in enumerate(happenings) for fact in tally.hear(happening, float(number))]


def ends(facts: list[Fact]) -> list[tuple[int, str, str]]:
    return [(fact.attempt.place, fact.how, fact.cause) for fact in facts if isinstance(fact, Ended)]


def begun(number: int = 4, reused: int = 0) -> Tally:
    tally = Tally()
    orders = [order(place, 100, place) for place in range(number)]
    tally.begin(orders, orders[reused:])
    return tally


def test_a_segment_from_waiting_to_done() -> None:
    tally = begun(4, reused=1)
    assert tally.states == b"=..."
    facts = told(tally, SlotReady("s", 2, "node", "L4"), Assign("s", "o2", 1), Beat("s", "o2", 1, 40))
    assert [fact.attempt.renderer.kind for fact in facts if isinstance(fact, Began)] == ["L4"]
    assert (tally.states, tally.through()[0], tally.faces_done) == (b"=.>.", 140, 0)
    assert tally.through()[1] == 0.4 * task_of(order(2, 100, 2)).cost
    facts = told(tally, Done("s", "o2", 1))
    assert ends(facts) == [(2, "done", "")]
    assert (tally.states, tally.through()[0], tally.faces_done, tally.running) == (b"=.#.", 200, 2, {})


def test_a_renderer_that_dies_loses_what_it_had() -> None:
    tally = begun()
    told(tally, SlotReady("s", 2), SlotReady("t", 2), Assign("s", "o0", 1), Assign("s", "o1", 1), Assign("t", "o2", 1))
    facts = told(tally, SlotDied("s", "killed"))
    assert ends(facts) == [(0, "lost", "died"), (1, "lost", "died")]
    assert tally.states == b"!!>."
    assert tally.retries == {"died": 2}
    assert not tally.renderers["s"].up
    told(tally, Assign("t", "o0", 2))
    assert tally.states == b">!>."


def test_one_that_hung_was_killed_first() -> None:
    tally = begun()
    facts = told(tally, SlotReady("s", 1), Assign("s", "o0", 1), Kill("s", "no movement"), SlotDied("s", "killed"))
    assert ends(facts) == [(0, "lost", "hung")]
    facts = told(tally, SlotReady("s", 1), Assign("s", "o0", 2), SlotDied("s", "killed"))
    assert ends(facts) == [(0, "lost", "died")]


def test_a_node_goes_with_and_without_notice() -> None:
    tally = begun()
    told(tally, SlotReady("s", 2, "spot", "g5"), SlotReady("t", 2, "bare", "g6"))
    told(tally, Assign("s", "o0", 1), Assign("s", "o1", 1), Assign("t", "o2", 1))
    facts = told(tally, NodeLeaves("spot", 120.0), Cancel("s", "o0", 1, "its node leaves before it can finish"))
    assert facts[0] == NodeLost("spot", "g5", notice=True)
    assert ends(facts) == [(0, "given up", "notice")]
    facts = told(tally, NodeGone("spot", "gone"), NodeGone("bare", "gone"))
    assert ends(facts) == [(1, "lost", "notice"), (2, "lost", "node")]
    assert [fact for fact in facts if isinstance(fact, NodeLost)] == [NodeLost("bare", "g6", notice=False)]
    assert tally.renderers == {}
    assert tally.retries == {"notice": 2, "node": 1}


def test_of_two_attempts_the_first_result_counts() -> None:
    tally = begun()
    told(tally, SlotReady("s", 1), SlotReady("t", 1), Assign("s", "o0", 1), Assign("t", "o0", 2))
    told(tally, Beat("s", "o0", 1, 30), Beat("t", "o0", 2, 50))
    assert tally.through()[0] == 50
    facts = told(tally, SlotDied("s", "killed"))
    assert ends(facts) == [(0, "lost", "died")]
    assert tally.states == b">..."
    told(tally, SlotReady("s", 1), Assign("s", "o0", 3))
    facts = told(tally, Done("t", "o0", 2), Cancel("s", "o0", 3, "another attempt was first"))
    assert ends(facts) == [(0, "done", ""), (0, "given up", "copy")]
    assert told(tally, Done("s", "o0", 3)) == []
    assert (tally.states, tally.frames_done) == (b"#...", 100)


def test_an_error_of_the_work_and_a_stopped_job() -> None:
    tally = begun()
    told(tally, SlotReady("s", 2), Assign("s", "o0", 1), Assign("s", "o1", 1))
    facts = told(tally, Failed("s", "o0", 1, StorageError("full")), Cancel("s", "o1", 1, "moved to another"))
    assert ends(facts) == [(0, "failed", ""), (1, "given up", "moved")]
    assert tally.states == b"X..."


def test_what_is_of_another_job_or_too_late_means_nothing() -> None:
    tally = begun()
    other = [Assign("s", "x", 1), Beat("s", "x", 1, 5), Done("s", "x", 1), Cancel("s", "x", 1, ""), Tick()]
    assert told(tally, *other, Failed("s", "o0", 9, StorageError("full")), Beat("s", "o0", 9, 4)) == []
    assert (tally.states, tally.running) == (b"....", {})


def test_a_second_map_keeps_the_renderers() -> None:
    tally = Tally()
    tally.begin([look(0)], [look(0)])
    told(tally, SlotReady("s", 2, "node", "L4"), Assign("s", "a0", 1), Done("s", "a0", 1))
    tally.begin([order(0, 50, 3)], [order(0, 50, 3)])
    told(tally, Assign("s", "o0", 1))
    (working,) = tally.working(9)
    assert (working.segment, working.slot, working.node, working.kind, working.faces) == (0, "s", "node", "L4", 3)
    assert (tally.frames, tally.frames_done) == (50, 0)


@given(st.data())
def test_the_tally_agrees_with_the_dispatcher(data: st.DataObject) -> None:
    """Whatever happens, what runs where and what is done is what the dispatcher says."""
    orders = [order(place, data.draw(st.integers(1, 50))) for place in range(data.draw(st.integers(1, 8)))]
    slots = [f"s{number}" for number in range(3)]
    dispatcher = Dispatcher(map(task_of, orders), slots, at_s=0.0, hang_s=50.0, start_s=1e9, awaits_nodes=True)
    tally = Tally()
    tally.begin(orders, orders)
    began, over = 0, 0
    at_s = 0.0
    for _ in range(data.draw(st.integers(0, 60))):
        at_s += data.draw(st.floats(0, 30))
        running = sorted((task, number, one.renderer.name) for (task, number), one in tally.running.items())
        choices: list[Event] = [Tick()]
        choices += [SlotReady(slot, 2, f"n{slot[-1]}", "L4") for slot in slots]
        choices += [SlotDied(slot, "died") for slot in slots]
        choices += [NodeLeaves("n0", at_s + 20), NodeGone("n0", "gone"), NodeGone("n1", "gone"), SlotJoined("s0", "n0")]
        for task, number, slot in running:
            choices += [Done(slot, task, number), Beat(slot, task, number, data.draw(st.integers(0, 50)))]
            choices += [Failed(slot, task, number, StorageError("full"))]
        event = data.draw(st.sampled_from(choices))
        happenings: list[Event | Decision] = [event, *dispatcher.handle(event, at_s)]
        for happening in happenings:
            for fact in tally.hear(happening, at_s):
                began += isinstance(fact, Began)
                over += isinstance(fact, Ended)
        if any(isinstance(one, Finish) for one in happenings):
            break
        assert {one.id for place, one in enumerate(orders) if tally.states[place] == ord("#")} == set(dispatcher.done)
        held = {slot: set(tasks) for slot, tasks in dispatcher.running.items() if tasks}
        seen: dict[str, set[str]] = {}
        for (task, _), attempt in tally.running.items():
            seen.setdefault(attempt.renderer.name, set()).add(task)
        assert seen == held
    assert began == over + len(tally.running)
    assert tally.frames_done == sum(
        one.segment.frames for place, one in enumerate(orders) if tally.states[place] == ord("#")
    )
