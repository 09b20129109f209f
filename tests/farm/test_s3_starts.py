"""Drivers that start at the same time on one store in a bucket, and what a driver that was killed at that leaves."""

from __future__ import annotations

from typing import Any

import pytest

from core.errors import InputError
from farm.store.bucket import Bucket
from farm.store.opening import open_store
from farm.store.s3path import place_of
from farm.store.ways import find_ways

STEPS = 5  # the requests of one look at what a server knows


class Interrupted(Bucket):
    """Before its request number `step` another run goes through the same store, from its start to its end."""

    def __init__(self, name: str, step: int) -> None:
        super().__init__(name)
        self.left = step

    def once(self, doing: str, key: str, **wanted: Any) -> Any:
        self.left -= 1
        if self.left == 0:
            with open_store(place_of(f"s3://{self.name}/job.farm")) as other:
                other.remove()
        return super().once(doing, key, **wanted)


@pytest.mark.parametrize("step", range(1, STEPS + 1))
def test_a_run_that_comes_and_goes_meanwhile_changes_nothing_of_what_is_found(films: Any, step: int) -> None:
    ways = find_ways(Interrupted("films", step), "job.farm/tmp/")
    assert (ways.fresh, ways.matching) == (True, True)
    assert list(films.objects.all()) == []


def test_the_second_of_two_drivers_is_told_that_another_one_works(films: Any) -> None:
    with open_store(place_of("s3://films/job.farm")) as first:
        assert first.notes == ()
        second = open_store(place_of("s3://films/job.farm"))
        with pytest.raises(InputError, match="another run works on this job"):
            second.__enter__()


def test_what_a_driver_left_that_was_killed_as_it_started_goes_with_the_store(films: Any) -> None:
    films.put_object(Key="job.farm/tmp/0123456789abcdef.probe", Body=b"1")
    with open_store(place_of("s3://films/job.farm")) as store:
        store.remove()
    assert list(films.objects.all()) == []
