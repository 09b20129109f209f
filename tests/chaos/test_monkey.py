"""Law 4 on a real Ray: processes of a job die, one after the other; the same command goes on until the film is there.

Which ones, and how long after the one before, a seed says (tests.chaos.monkey); `make chaos` takes many seeds. Here
one renderer, one node and one driver die, in this order; the head's death is for the heavy run, because Ray needs half
a minute to take notice.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from tests.chaos.armed import rendered_again
from tests.chaos.begins import begun_again
from tests.chaos.monkey import FALLS, Forest, Kill, forest, plan_of
from tests.chaos.points import Passed, Point

NEAR = [Kill("renderer", 0.5, 0), Kill("node", 0.5, 1), Kill("driver", 0.5, 0)]
FAR = [Kill("server", 0.5, 0), Kill("renderer", 0.3, 1), Kill("driver", 0.5, 0)]


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forest]:
    before = dict(os.environ)
    with forest(tmp_path_factory.mktemp("monkey") / "forest", 8) as made:
        yield made
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.heavy
def test_renderer_node_and_driver_die(trees: Forest) -> None:
    told = trees.hunt("near", NEAR, far=False).ended
    assert [kill for kill in NEAR if any(str(kill) in line for line in told)] == NEAR


@pytest.mark.heavy
def test_the_way_to_the_store_dies_too(trees: Forest) -> None:
    trees.hunt("far", FAR, far=True)


@pytest.mark.heavy
def test_the_head_dies(trees: Forest) -> None:
    """The run ends within half a minute, or the film is finished by then."""
    told = trees.hunt("head", [Kill("head", 0.5, 0)], far=False).ended
    assert "head" in told[0]


@pytest.mark.heavy
@pytest.mark.parametrize("fall", [FALLS[1], FALLS[5]], ids=["a part is up", "nobody was told"])
def test_a_renderer_ends_at_a_step_of_its_own(trees: Forest, fall: tuple[bool, str]) -> None:
    far, pattern = fall
    assert trees.fall(f"fall-{FALLS.index(fall)}", pattern, far=far).met


def line(event: str, order: str, second: int) -> str:
    return json.dumps({"time": f"2026-01-31T12:00:{second:02d}.000Z", "event": event, "order": order})


NOON_S = datetime(2026, 1, 31, 12, tzinfo=UTC).timestamp()


def test_what_was_seen_is_not_given_away_again() -> None:
    begun = "\n".join(["farm: a line of words", line("begin", "a", 5), line("done", "b", 6), '{"event": "beg'])
    assert begun_again(begun, {}) == []
    assert begun_again(begun, {"a": NOON_S + 6, "b": NOON_S}) == []
    assert begun_again(begun, {"a": NOON_S + 4}) == ["a"]


def test_what_is_done_is_not_given_away_again_but_what_was_lost_is() -> None:
    lost = [line("begin", "a", 1), line("lost", "a", 3), line("begin", "a", 4), line("done", "a", 5)]
    assert begun_again("\n".join(lost), {"a": NOON_S + 2}) == []
    assert begun_again("\n".join([*lost, line("begin", "a", 6)]), {}) == ["a"]


def test_a_renderer_hands_back_what_was_published_when_it_was_given_it() -> None:
    published = Passed(50, False, Point("after", "put_object S3/segments/ab12cd34/DONE.json"))

    def render(order: str, given_ns: int) -> Passed:
        return Passed(given_ns + 1, False, Point("before", f"render /segments/{order} of {given_ns}"))

    at_once = [render("ab12cd34", 10), render("ab12cd34", 40), published, render("ffff0000", 60)]
    assert rendered_again(at_once) == []
    assert rendered_again([*at_once, render("ab12cd34", 51)]) == ["/segments/ab12cd34"]
    assert rendered_again([*at_once, render("ab12cd34", 51)], until_ns=51) == []


def test_a_seed_says_the_same_for_ever() -> None:
    assert plan_of(7, 4, far=True) == plan_of(7, 4, far=True)
    assert plan_of(7, 4, far=True) != plan_of(8, 4, far=True)
    assert plan_of(7, 2, far=False)[0] == Kill("renderer", 0.93, 7)
