"""Law 4 on a real Ray: processes of a job die, one after the other; the same command goes on until the film is there.

Which ones, and how long after the one before, a seed says (tests.chaos.monkey); `make chaos` takes many seeds. Here
one renderer, one node and one driver die, in this order; the head's death is for the heavy run, because Ray needs half
a minute to take notice.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.chaos.monkey import Forest, Kill, forest, plan_of

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


def test_a_seed_says_the_same_for_ever() -> None:
    assert plan_of(7, 4, far=True) == plan_of(7, 4, far=True)
    assert plan_of(7, 4, far=True) != plan_of(8, 4, far=True)
    assert plan_of(7, 2, far=False)[0] == Kill("renderer", 0.93, 7)
