"""Face tables as Parquet files. The same table and library give the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

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


def write_table(table: FaceTable, path: Path) -> None:
    """Write `table` to `path`; OSError passes, the caller knows what the file is for."""
    columns = {}
    for name, shape in ROW_SHAPES.items():
        rows = getattr(table, name)
        flat = pa.array(rows.reshape(-1))
        width = int(np.prod(rows.shape[1:]))
        if width:  # a table without vectors has no column for them
            columns[name] = pa.FixedSizeListArray.from_arrays(flat, width) if shape else flat
    # Coordinates are multiples of 1/64 px with many zero bits, which byte streams expose to the compressor.
    split = [f"{name}.list.element" for name in ("box", "points", "mesh", "vector") if name in columns]
    write_parquet(pa.table(columns), path, split=split)


def write_parquet(table: pa.Table, path: Path, *, split: Sequence[str] = ()) -> None:
    """Write a table, the columns `split` as byte streams; the same bytes for the same table. OSError passes."""
    with path.open("wb") as file:  # Python's file says in words what failed, the library's in a sentence of its own
        pq.write_table(
            table,
            file,
            compression="zstd",
            use_dictionary=False,
            write_statistics=False,
            use_byte_stream_split=list(split) or False,
        )


def read_table(path: Path) -> FaceTable:
    """The table in `path`; `StorageError` when it is no face table or cannot be read."""
    try:
        stored = pq.read_table(path)
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
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise StorageError(f"not a face table: {reason}", where=str(path), hint="delete it and run again") from error
