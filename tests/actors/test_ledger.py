"""The books of one job against a plain list, under random takes, returns, results and stops; and their size."""

from __future__ import annotations

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from actors.dispatch import Task
from actors.dispatch.ledger import DONE, DROPPED, QUEUED, RUNNING, Ledger, Totals


@given(
    costs=st.lists(st.integers(1, 20), min_size=1, max_size=30),
    steps=st.lists(st.tuples(st.sampled_from("ttttrslcd"), st.integers(0, 99)), max_size=60),
)
def test_the_next_task_is_what_a_plain_list_says(costs: list[int], steps: list[tuple[str, int]]) -> None:
    totals = Totals()
    tasks = [Task(str(number), number, cost) for number, cost in enumerate(costs)]
    ledger = Ledger("", 1, tasks, totals, priority=0, weight=1.0)
    order = sorted(range(len(costs)), key=lambda position: (-costs[position], position))
    untried = list(range(len(costs)))  # ranks
    front: list[int] = []
    suspects: list[int] = []
    running: list[int] = []
    limit = len(costs)
    for step, number in steps:
        if step == "t" and untried + front:
            share = (number % 5) / 4 or 1.0
            if front:
                expected = front.pop(0)
            else:
                bound = share * costs[order[untried[0]]]
                short = [rank for rank in untried if costs[order[rank]] <= bound]
                expected = short[0] if short else untried[-1]
                untried.remove(expected)
            assert ledger.take(share) == expected
            ledger.attempts[expected] += 1
            running.append(expected)
        elif step == "t" and suspects:
            assert ledger.take_suspect(lambda _, __: True) == suspects.pop(0)
            running.append(ledger_last(ledger, running))
        elif running and step in "rs":
            rank = running.pop(number % len(running))
            ledger.losses[rank] += step == "s"
            ledger.put_back(rank)
            if order[rank] < limit:
                (suspects if ledger.losses[rank] else front).insert(0, rank)
        elif running and step == "c":
            rank = running.pop(number % len(running))
            assert ledger.complete(rank)
            assert not ledger.complete(rank)
        elif step == "d" and front + suspects:
            rank = (front + suspects)[number % len(front + suspects)]
            (front if rank in front else suspects).remove(rank)
            assert ledger.complete(rank)
        elif step == "l" and number > 80:
            limit = min(limit, number % len(costs))
            ledger.stop_at(limit)
            for row in (untried, front, suspects):
                row[:] = [rank for rank in row if order[rank] < limit]
        assert list(ledger.ranks(RUNNING)) == sorted(running)
        assert list(ledger.ranks(QUEUED)) == sorted(untried + front + suspects)
        assert list(ledger.line()) == suspects + front + untried
        assert (ledger.queued, ledger.running, ledger.suspects) == (
            len(untried + front + suspects),
            len(running),
            len(suspects),
        )
        assert (totals.queued, totals.running, totals.suspects) == (ledger.queued, ledger.running, ledger.suspects)
        assert len(list(ledger.ranks(DONE))) + len(list(ledger.ranks(DROPPED))) == len(costs) - ledger.queued - len(
            running
        )


def ledger_last(ledger: Ledger, running: list[int]) -> int:
    """The rank that was just taken."""
    (rank,) = set(ledger.ranks(RUNNING)) - set(running)
    return rank


def test_a_task_costs_little_beside_its_name_and_working_it_off_adds_nothing() -> None:
    """Under 100 bytes a task; after every task was taken, returned and done, no more than at the beginning."""
    count = 20_000
    tasks = [Task(f"{number:064}", number, float(number % 977)) for number in range(count)]
    tracemalloc.start()
    try:
        ledger = Ledger("", 1, tasks, Totals(), priority=0, weight=1.0)
        fresh = tracemalloc.get_traced_memory()[0]
        for turn in range(2):
            ranks = [ledger.take(1.0) for _ in range(count if not turn else ledger.queued)]
            for rank in ranks:
                ledger.attempts[rank] += 1
                if turn:
                    ledger.complete(rank)
                else:
                    ledger.put_back(rank)
            del ranks
        worked = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert fresh / count < 100
    assert worked / fresh < 1.1
    assert ledger.over
