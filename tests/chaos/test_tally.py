"""A hunt that killed nobody proves nothing, and says so."""

from __future__ import annotations

import io
import json
from collections import Counter

import pytest

from tests.chaos.__main__ import TRIES, Tally, follow
from tests.chaos.scenes import Story

MET, UNMET = Story(("after link a",)), Story((), met=False)


def test_what_was_shown_is_no_fault() -> None:
    log = io.StringIO()
    tally = follow(iter([("a", lambda: MET), ("b", lambda: Story(("x", "y"), deaths={"driver": 2}))]), log)
    assert (tally.hunts, tally.died) == (2, Counter(run=1, driver=2))
    assert tally.faults(["run", "driver"]) == []
    assert [json.loads(line)["hunt"] for line in log.getvalue().splitlines()] == ["a", "b"]


def test_a_point_that_is_not_met_is_tried_again_and_then_a_fault(capsys: pytest.CaptureFixture[str]) -> None:
    stories = iter([UNMET, UNMET, MET, *[UNMET] * TRIES])
    tally = follow(iter([("a", lambda: next(stories)), ("b", lambda: next(stories))]), io.StringIO())
    assert (tally.hunts, tally.unmet, tally.failed) == (2, 1, 0)
    assert any("met nobody" in fault for fault in tally.faults([]))
    assert capsys.readouterr().err == f"b: not met in {TRIES} tries\n"


def test_an_error_is_a_fault_and_the_others_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    def bad() -> Story:
        raise AssertionError("another film")

    tally = follow(iter([("a", bad), ("b", lambda: MET)]), io.StringIO())
    assert (tally.hunts, tally.failed) == (2, 1)
    assert "1 failed" in tally.faults([])
    assert "another film" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("tally", "fault"),
    [
        (Tally(), "nothing was hunted"),
        (Tally(hunts=3, died=Counter(run=2)), "only 2 died"),
        (Tally(hunts=3, died=Counter(renderer=9)), "none died of: head"),
    ],
)
def test_too_little(tally: Tally, fault: str) -> None:
    assert fault in tally.faults(["renderer", "head"])
