"""What a renderer remembers of attempts that are not wanted: all that matter, and not many more."""

from __future__ import annotations

import pickle
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.ray.renderer import EARLY_HELD, Cancels, Renderer
from actors.worker import WorkerSettings
from core.errors import Interrupted
from farm.artifacts import DiskStore
from tests.actors.stand_ins import Clerk, clerk_orders

STEP_S, WAIT_S = 0.01, 20.0


@given(steps=st.lists(st.tuples(st.sampled_from(["begin", "end", "cancel"]), st.integers(0, 5)), max_size=60))
def test_a_cancelled_attempt_stays_so_until_it_ends_whenever_the_word_came(steps: list[tuple[str, int]]) -> None:
    cancels, running, cancelled = Cancels(), set[int](), set[int]()
    for what, number in steps:
        attempt = ("task", number)
        if what == "cancel":
            cancels.cancel(attempt)
            cancelled.add(number)
        elif what == "begin" and number not in running:
            cancels.begin(attempt)
            running.add(number)
        elif what == "end" and number in running:
            cancels.end(attempt)
            running.discard(number)
            cancelled.discard(number)
        assert {number for number in range(6) if ("task", number) in cancels} == running & cancelled
        assert len(cancels) == len(running | cancelled)


def test_words_that_come_too_late_are_forgotten_but_for_the_last() -> None:
    cancels = Cancels()
    cancels.begin(("runs", 1))
    for number in range(3 * EARLY_HELD):
        cancels.begin(("over", number))
        cancels.end(("over", number))
        cancels.cancel(("over", number))
        assert len(cancels) <= EARLY_HELD + 1
    cancels.cancel(("runs", 1))
    cancels.cancel(("comes", 1))
    cancels.begin(("comes", 1))
    assert ("runs", 1) in cancels
    assert ("comes", 1) in cancels


def test_a_renderer_stops_what_is_cancelled_before_it_begins_and_while_it_runs(tmp_path: Path) -> None:
    renderer: Any = Renderer(WorkerSettings(str(tmp_path), 1, 1), Clerk)
    store = DiskStore(str(tmp_path / "store"))
    first, second = clerk_orders(2)
    renderer.cancel("0", 1)
    with pytest.raises(Interrupted):
        renderer.work("0", 1, first, pickle.dumps(store))
    store.write(f"held/{second.id}", b"")
    ended: list[str] = []

    def work() -> None:
        try:
            renderer.work("1", 1, second, pickle.dumps(store))
        except Interrupted as error:
            ended.append(error.what)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    for _ in range(round(WAIT_S / STEP_S)):
        if ("1", 1) in renderer.progress()[0]:
            break
        thread.join(STEP_S)
    renderer.cancel("1", 1)
    thread.join(WAIT_S)
    assert ended == ["this attempt is not wanted any more"]
    assert renderer.progress() == ({}, "")
    assert renderer.work("0", 2, first, pickle.dumps(store)).attempt == 2
