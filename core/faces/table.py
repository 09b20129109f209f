"""Face tables as Parquet files. The same table and library give the same bytes.

A face is 5 kB, a film may have millions: tables are written and read in parts, so that none has to be in memory whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from core.errors import StorageError
from core.records import MESH_POINTS, FaceTable

# Column: shape of one row, None for a size that differs from table to table. dtypes are FaceTable's.
ROW_SHAPES: dict[str, tuple[int | None, ...]] = {
    "frame": (),
    "box": (4,),
    "score": (),
    "points": (5, 2),
    "mesh": (MESH_POINTS, 2),
    "presence": (),
    "track": (),
    "role": (),
    "reach_px": (),
    "vector": (None,),
    "sharpness": (),
}


# Of a row group, which is what is written and read at a time: some 4 MB.
GROUP_ROWS = 1024


class TableWriter:
    """Writes a face table as it grows: row groups of GROUP_ROWS, so the bytes depend on the rows alone, not on the
    tables they came in. OSError passes, the caller knows what the file is for."""

    def __init__(self, path: Path) -> None:
        self.rows = 0
        self._path = path
        self._file: IO[bytes] | None = None
        self._writer: pq.ParquetWriter | None = None
        self._waiting: list[FaceTable] = []
        self._held = 0

    def add(self, table: FaceTable) -> None:
        """Append the rows of `table`."""
        if len(table):
            self._waiting.append(table)
            self._held += len(table)
            self.rows += len(table)
        while self._held >= GROUP_ROWS:
            self._write(GROUP_ROWS)

    def __enter__(self) -> TableWriter:
        self._file = self._path.open("wb")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        try:
            if kind is None and (self._held or self._writer is None):
                self._write(self._held)
            if self._writer is not None:
                self._writer.close()
        except OSError:
            if kind is None:
                raise
        finally:
            if self._file is not None:
                self._file.close()

    def _write(self, rows: int) -> None:
        held = FaceTable.concat(self._waiting)
        group, rest = held.take(np.arange(rows)), held.take(np.arange(rows, len(held)))
        self._waiting, self._held = ([rest] if len(rest) else []), len(rest)
        table = _columns(group)
        if self._writer is None:
            # Coordinates are multiples of 1/64 px with many zero bits, which byte streams expose to the compressor.
            split = [
                f"{name}.list.element" for name in ("box", "points", "mesh", "vector") if name in table.column_names
            ]
            self._writer = _writer(self._file, table.schema, split)
        self._writer.write_table(table, row_group_size=GROUP_ROWS)


def write_table(table: FaceTable, path: Path) -> None:
    """Write `table` to `path`; OSError passes, the caller knows what the file is for."""
    with TableWriter(path) as writer:
        writer.add(table)


def write_parquet(table: pa.Table, path: Path) -> None:
    """Write any table; the same bytes for the same table. OSError passes."""
    with path.open("wb") as file, _writer(file, table.schema, ()) as writer:
        writer.write_table(table)


def _writer(file: IO[bytes] | None, schema: pa.Schema, split: Sequence[str]) -> pq.ParquetWriter:
    """A writer of columns, of which those in `split` go as byte streams, into a file of Python's: that says in words
    what failed, the library's own in a sentence of its own."""
    return pq.ParquetWriter(
        file,
        schema,
        compression="zstd",
        use_dictionary=False,
        write_statistics=False,
        use_byte_stream_split=list(split) or False,
    )


def _columns(table: FaceTable) -> pa.Table:
    columns = {}
    for name, shape in ROW_SHAPES.items():
        rows = getattr(table, name)
        flat = pa.array(rows.reshape(-1))
        width = int(np.prod(rows.shape[1:]))
        if width:  # a table without vectors has no column for them
            columns[name] = pa.FixedSizeListArray.from_arrays(flat, width) if shape else flat
    return pa.table(columns)


def read_table(path: Path) -> FaceTable:
    """The table in `path`; `StorageError` when it is no face table or cannot be read."""
    with _told(path):
        return _table(pq.read_table(path))


def read_tables(path: Path) -> Iterator[FaceTable]:
    """The table in `path` in parts of about GROUP_ROWS rows, none of them empty; a frame's rows are in one part."""
    with _told(path), pq.ParquetFile(path) as stored:
        rest = FaceTable.empty()
        for number in range(stored.num_row_groups):
            part = FaceTable.concat([rest, _table(stored.read_row_group(number))])
            ready = part.frame < part.frame[-1:]
            if ready.any():
                yield part.take(ready)
            rest = part.take(~ready)
        if len(rest):
            yield rest


def _table(stored: pa.Table) -> FaceTable:
    columns: dict[str, NDArray[Any]] = {}
    for name, shape in ROW_SHAPES.items():
        if None in shape and name not in stored.column_names:
            columns[name] = np.zeros((len(stored), 0), np.float32)
            continue
        column = stored[name].combine_chunks()
        width = column.type.list_size if shape else 1
        values = (column.flatten() if shape else column).to_numpy(zero_copy_only=False)
        columns[name] = values.reshape(len(stored), *((width,) if None in shape else shape))
    return FaceTable(**columns)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """What reading `path` raises, as `StorageError`."""
    try:
        yield
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise StorageError(f"not a face table: {reason}", where=str(path), hint="delete it and run again") from error
