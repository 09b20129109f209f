"""Drivers that start at the same time on one store in a bucket, and what a driver that was killed at that leaves."""

from __future__ import annotations

from typing import Any

import pytest

from core.errors import InputError
from farm.driver import clear
from farm.store.bucket import Bucket
from farm.store.opening import open_store
from farm.store.s3path import place_of
from farm.store.ways import find_ways

STEPS = 5  # the requests of one look at what a server knows


class Interrupted(Bucket):
    """Before its request number `step` another run goes through the same store, from its start to its end."""

    def __init__(self, name: str, step: int, *, keep: bool) -> None:
        super().__init__(name)
        self.left = step
        self.keep = keep

    def once(self, doing: str, key: str, **wanted: Any) -> Any:
        self.left -= 1
        if self.left == 0:
            with open_store(place_of(f"s3://{self.name}/job.farm")) as other:
                clear(other, keep=self.keep)
        return super().once(doing, key, **wanted)


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("step", range(1, STEPS + 1))
def test_a_run_that_comes_and_goes_meanwhile_changes_nothing_of_what_is_found(
    films: Any, step: int, keep: bool
) -> None:
    ways = find_ways(Interrupted("films", step, keep=keep), "job.farm/tmp/")
    assert (ways.fresh, ways.matching) == (True, True)
    assert [found.key for found in films.objects.all() if found.key.startswith("job.farm/tmp/")] == []
    assert keep or list(films.objects.all()) == []


def test_the_second_of_two_drivers_is_told_that_another_one_works(films: Any) -> None:
    with open_store(place_of("s3://films/job.farm")) as first:
        assert first.notes == ()
        second = open_store(place_of("s3://films/job.farm"))
        with pytest.raises(InputError, match="another run works on this job"):
            second.__enter__()


@pytest.mark.parametrize("keep", [False, True])
def test_what_a_driver_left_that_was_killed_as_it_started_goes_with_the_job(films: Any, keep: bool) -> None:
    films.put_object(Key="job.farm/tmp/0123456789abcdef.probe", Body=b"1")
    with open_store(place_of("s3://films/job.farm")) as store:
        clear(store, keep=keep)
    left = sorted(found.key for found in films.objects.all())
    assert left == (["job.farm/jobs/output/FINISHED", "job.farm/lock"] if keep else [])
