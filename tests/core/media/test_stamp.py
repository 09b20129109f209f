"""A film that is not the file any more that the job began with is noticed, by whoever reads it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import InputError, PlanError
from core.media.stamp import check_stamp, stamp_of, unchanged

CHANGED = "the film changed while it was rendered; wait until it is complete"
SECOND_NS = 1_000_000_000


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film.ts"
    path.write_bytes(b"film")
    os.utime(path, ns=(10 * SECOND_NS, 10 * SECOND_NS))
    return path


def grow(film: Path) -> None:
    times = film.stat()
    with film.open("ab") as file:
        file.write(b"more")
    os.utime(film, ns=(times.st_atime_ns, times.st_mtime_ns))


def touch(film: Path) -> None:
    os.utime(film, ns=(10 * SECOND_NS, 10 * SECOND_NS + 1))


def put_another_in_place(film: Path) -> None:
    """Of the same size and time, as a copy that keeps times makes it."""
    other = film.with_name("other")
    other.write_bytes(b"cinema"[:4])
    os.utime(other, ns=(10 * SECOND_NS, 10 * SECOND_NS))
    other.replace(film)


@pytest.mark.parametrize("change", [grow, touch, put_another_in_place], ids=lambda change: change.__name__)
def test_a_change_is_seen_here(film: Path, change: Callable[[Path], None]) -> None:
    begun = stamp_of(film)
    assert check_stamp(film, begun) == begun
    change(film)
    with pytest.raises(InputError, match=CHANGED):
        check_stamp(film, begun)
    with pytest.raises(InputError, match=CHANGED), unchanged(film, begun):
        raise AssertionError


def test_on_another_machine_size_and_second_decide(film: Path) -> None:
    begun = replace(stamp_of(film), node="elsewhere", inode=1)
    assert check_stamp(film, begun) == stamp_of(film)
    assert check_stamp(film, replace(begun, mtime_ns=begun.mtime_ns + SECOND_NS // 2)) == stamp_of(film)
    for other in (replace(begun, size_bytes=5), replace(begun, mtime_ns=begun.mtime_ns - SECOND_NS)):
        with pytest.raises(InputError, match=CHANGED):
            check_stamp(film, other)


def test_a_change_is_told_before_what_came_of_it(film: Path) -> None:
    def work(*, change: bool, fail: bool) -> None:
        with unchanged(film):
            if change:
                grow(film)
            if fail:
                raise PlanError("a frame is missing")

    for fail in (False, True):
        with pytest.raises(InputError, match=CHANGED):
            work(change=True, fail=fail)
    with pytest.raises(PlanError, match="a frame is missing"):
        work(change=False, fail=True)
    work(change=False, fail=False)


def test_a_film_that_went_away(film: Path) -> None:
    with pytest.raises(InputError, match="no such file"), unchanged(film):
        film.unlink()
