"""What is kept is bounded, and made again only when it has gone."""

from __future__ import annotations

from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

from hypothesis import given
from hypothesis import strategies as st

from core.kept import Kept


@given(most=st.integers(1, 5), asked=st.lists(st.integers(0, 7), max_size=60))
def test_the_least_recently_used_goes_first(most: int, asked: list[int]) -> None:
    kept: Kept[int, str] = Kept(most)
    expected: OrderedDict[int, str] = OrderedDict()
    for number, key in enumerate(asked):
        made: list[str] = []

        def make(number: int = number, made: list[str] = made) -> str:
            made.append(f"made {number}")
            return made[0]

        value = kept.get(key, make)
        assert bool(made) == (key not in expected)
        assert value == expected.setdefault(key, f"made {number}")
        expected.move_to_end(key)
        if len(expected) > most:
            expected.popitem(last=False)
        assert len(kept) == len(expected)


def test_what_could_not_be_made_leaves_nothing_behind() -> None:
    kept: Kept[str, float] = Kept(2)
    for _ in range(2):
        try:
            kept.get("a", lambda: 1 / 0)
        except ZeroDivisionError:
            assert len(kept) == 0
    assert kept.get("a", lambda: 1.0) == 1.0


def test_threads_share_what_one_of_them_made() -> None:
    kept: Kept[int, object] = Kept(4)
    with ThreadPoolExecutor(8) as pool:
        values = list(pool.map(lambda number: kept.get(number % 3, object), range(60)))
    assert len({id(value) for value in values}) == 3
