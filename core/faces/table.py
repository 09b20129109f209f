"""Face tables as Parquet files. The same table and library give the same bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core.errors import StorageError
from core.records import MESH_POINTS, FaceTable

# Column: shape of one row. dtypes are FaceTable's.
ROW_SHAPES: dict[str, tuple[int, ...]] = {
    "frame": (),
    "box": (4,),
    "score": (),
    "points": (5, 2),
    "mesh": (MESH_POINTS, 2),
    "presence": (),
    "track": (),
    "source": (),
    "reach_px": (),
}


def write_table(table: FaceTable, path: Path) -> None:
    """Write `table` to `path`; OSError passes, the caller knows what the file is for."""
    columns = {}
    for name, shape in ROW_SHAPES.items():
        flat = pa.array(getattr(table, name).reshape(-1))
        columns[name] = pa.FixedSizeListArray.from_arrays(flat, int(np.prod(shape))) if shape else flat
    # Coordinates are multiples of 1/64 px with many zero bits, which byte streams expose to the compressor.
    pq.write_table(
        pa.table(columns),
        path,
        compression="zstd",
        use_dictionary=False,
        write_statistics=False,
        use_byte_stream_split=[f"{name}.list.element" for name in ("box", "points", "mesh")],
    )


def read_table(path: Path) -> FaceTable:
    """The table in `path`; `StorageError` when it is no face table or cannot be read."""
    try:
        stored = pq.read_table(path)
        columns = {}
        for name, shape in ROW_SHAPES.items():
            column = stored[name].combine_chunks()
            values = column.flatten() if shape else column
            columns[name] = values.to_numpy(zero_copy_only=False).reshape(-1, *shape)
        return FaceTable(**columns)
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise StorageError(f"not a face table: {reason}", where=str(path), hint="delete it and run again") from error
