"""Face tables on disk: the same bytes for the same rows, in parts that never split a frame."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import StorageError
from core.faces import table as tables
from core.faces.table import GROUP_ROWS, TableWriter, read_table, read_tables, write_table
from core.records import FaceTable
from tests.faces_assets import made_up_faces

ROWS = 2 * GROUP_ROWS + 300


def same(one: FaceTable, other: FaceTable) -> None:
    for name in FaceTable.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


@pytest.fixture(scope="module")
def faces() -> FaceTable:
    """One to three faces a frame, some with vectors."""
    random = np.random.default_rng(0)
    frame = np.sort(random.integers(0, ROWS // 2, ROWS))
    vector = random.normal(size=(ROWS, 8)).astype(np.float32)
    vector[::3] = np.nan
    made = made_up_faces(frame, random.uniform(50, 900, (ROWS, 2)), 20.0)
    return replace(made, vector=vector, sharpness=random.random(ROWS).astype(np.float32))


@settings(max_examples=12)
@given(st.lists(st.integers(0, ROWS), max_size=12))
def test_the_bytes_do_not_depend_on_how_the_rows_come(faces: FaceTable, cuts: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        whole, parts = Path(folder, "whole"), Path(folder, "parts")
        write_table(faces, whole)
        with TableWriter(parts) as writer:
            for first, end in pairwise([0, *sorted(cuts), ROWS]):
                writer.add(faces.take(np.arange(first, end)))
        assert writer.rows == ROWS
        assert parts.read_bytes() == whole.read_bytes()
        same(read_table(parts), faces)


def test_parts_hold_whole_frames_in_order(faces: FaceTable, tmp_path: Path) -> None:
    write_table(faces, tmp_path / "faces")
    parts = list(read_tables(tmp_path / "faces"))
    assert len(parts) == 4  # what is left of the last frame comes alone
    assert all(one.frame[-1] < other.frame[0] for one, other in pairwise(parts))
    same(FaceTable.concat(parts), faces)


def test_a_frame_of_more_faces_than_a_group_has_rows_is_one_part(tmp_path: Path) -> None:
    crowd = made_up_faces(np.zeros(GROUP_ROWS + 5, np.int64), np.full((GROUP_ROWS + 5, 2), 60.0))
    write_table(crowd, tmp_path / "crowd")
    (part,) = read_tables(tmp_path / "crowd")
    same(part, crowd)


def test_a_table_without_rows_is_a_table(tmp_path: Path) -> None:
    write_table(FaceTable.empty(), tmp_path / "none")
    same(read_table(tmp_path / "none"), FaceTable.empty())
    assert list(read_tables(tmp_path / "none")) == []


def test_a_long_film_is_written_and_read_in_little_memory(tmp_path: Path) -> None:
    """40 groups, 160 MB of meshes; what Arrow holds at any time is a few of them."""
    group = made_up_faces(range(GROUP_ROWS), np.full((GROUP_ROWS, 2), 60.0))
    held = [pa.total_allocated_bytes()]
    with TableWriter(tmp_path / "long") as writer:
        for number in range(40):
            writer.add(replace(group, frame=group.frame + number * GROUP_ROWS))
            held.append(pa.total_allocated_bytes())
    rows = 0
    for part in read_tables(tmp_path / "long"):
        rows += len(part)
        held.append(pa.total_allocated_bytes())
    assert rows == 40 * GROUP_ROWS
    assert max(held) - held[0] < 40e6


def test_what_is_no_table_is_said_to_be_none(faces: FaceTable, tmp_path: Path) -> None:
    write_table(faces, tmp_path / "faces")
    data = (tmp_path / "faces").read_bytes()
    (tmp_path / "cut").write_bytes(data[:-9])
    (tmp_path / "words").write_bytes(b"frame,box,score")
    tables.write_parquet(pa.table({"frame": [1, 2]}), tmp_path / "other")
    for name in ("cut", "words", "other", "absent"):
        for read in (read_table, lambda path: list(read_tables(path))):
            with pytest.raises(StorageError, match="not a face table") as caught:
                read(tmp_path / name)
            assert "\n" not in str(caught.value)


def test_an_attempt_that_fails_raises_its_own_error(faces: FaceTable, tmp_path: Path) -> None:
    def fail() -> None:
        with TableWriter(tmp_path / "half") as writer:
            writer.add(faces)
            raise InterruptedError("stopped")

    with pytest.raises(InterruptedError, match="stopped"):
        fail()
