"""One listener made of several."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from actors.drive import Order, Watch
from core import codec
from core.errors import Interrupted
from core.records import LETTERS, JobStatus, SegmentStatus
from farm.listeners import Together, all_of


class Diary:
    """Writes down what it hears; raises `error` at each call named `fails`."""

    def __init__(self, pages: list[str], name: str, fails: str = "") -> None:
        self.pages, self.name, self.fails = pages, name, fails

    def _hear(self, what: str) -> None:
        self.pages.append(f"{self.name} {what}")
        if what == self.fails:
            raise Interrupted(f"{self.name} says no")

    def stage(self, name: str) -> None:
        self._hear(name)

    def watch(self, orders: Sequence[Order], open_orders: Sequence[Order]) -> Watch:
        self._hear(f"watch {len(orders)} {len(open_orders)}")
        return lambda *_: self._hear("event")

    def note(self, text: str) -> None:
        self._hear(text)

    def close(self) -> None:
        self._hear("close")


def test_all_hear_everything_in_order() -> None:
    pages: list[str] = []
    together = Together(Diary(pages, "a"), Diary(pages, "b"))
    together.stage("index")
    together.note("look")
    together.close()
    assert pages == ["a index", "b index", "a look", "b look", "a close", "b close"]


@pytest.mark.parametrize("fails", ["index", "look", "close"])
def test_what_one_raises_is_raised_after_all_have_heard(fails: str) -> None:
    pages: list[str] = []
    together = Together(Diary(pages, "a", fails), Diary(pages, "b", fails), Diary(pages, "c"))
    calls = {"index": lambda: together.stage("index"), "look": lambda: together.note("look"), "close": together.close}
    with pytest.raises(Interrupted, match="a says no"):
        calls[fails]()
    assert pages == [f"{name} {fails}" for name in "abc"]


def test_a_signal_is_not_held_up() -> None:
    heard: list[int] = []

    def stopped() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        all_of([stopped, lambda: heard.append(1)])()
    assert heard == []


def test_nobody_listens() -> None:
    together = Together()
    together.stage("index")
    assert together.watch([], []) is not None
    together.close()


def test_status_travels_and_counts() -> None:
    status = JobStatus(
        run="0123456789abcdef",
        job="",
        target="in.mp4",
        output="out.mp4",
        state="running",
        stage="render",
        sequence=3,
        started="2026-01-01T00:00:00Z",
        updated="2026-01-01T00:00:09Z",
        seconds=9.0,
        every_s=2.0,
        map="render",
        grid="=#>!..X",
        working=(SegmentStatus(2, "running", 10, 240, 1, "renderer-0", "node", "L4", 4.0),),
        retries={"died": 1},
    )
    assert codec.decode(codec.encode(status), JobStatus) == status
    assert list(status.states()) == ["reused", "done", "running", "lost", "waiting", "waiting", "failed"]
    assert sum(status.count(state) for state in LETTERS) == status.segments == 7
