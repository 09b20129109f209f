"""The cast of a film whose faces lie in the store, a file a segment."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from core.faces.table import read_table, write_table
from core.records import AnalysisReceipt, FaceTable, JobSpec
from farm import stages
from farm.artifacts import DiskStore
from tests.actors.films import Job, make_film, make_job
from tests.faces_assets import cast_film, made_up_faces


def people() -> FaceTable:
    """Two people in 100 frames, the larger one from frame 20 to 69, lost for a moment where segments meet."""
    random = np.random.default_rng(1)
    tables = []
    for frames, x, radius in ((np.arange(100), 90.0, 15.0), (np.arange(20, 70), 40.0, 25.0)):
        shown = frames[~np.isin(frames, [48, 49, 50, 51])]
        centres = np.stack([x + random.normal(0, 0.5, len(shown)), np.full(len(shown), 48.0)], axis=1)
        tables.append(made_up_faces(shown, centres, radius, noise=random.normal(0, 0.3, (len(shown), 468, 2))))
    return FaceTable.concat(tables)


def analysed(job: Job, table: FaceTable) -> list[AnalysisReceipt]:
    receipts = []
    for segment in job.plan.segments:
        rows = table.take((table.frame >= segment.first) & (table.frame < segment.end))
        scratch = job.store.scratch(".parquet")
        write_table(rows, scratch)
        data = scratch.read_bytes()
        file = f"analysis/{segment.index}/faces.parquet"
        job.store.adopt(scratch, file)
        sha256 = hashlib.sha256(data).hexdigest()
        one = AnalysisReceipt("", segment.index, file, sha256, len(data), segment.frames, len(rows), {}, "", "", 1)
        receipts.append(one)
    return receipts


def test_each_segment_gets_its_rows_of_the_whole_films_cast(tmp_path: Path) -> None:
    job = make_job(DiskStore(str(tmp_path / "store")), make_film(tmp_path / "film.mp4", seconds=4))
    spec = JobSpec("film.mp4", "out.mp4", swapper="mesh", select="largest")
    receipts = analysed(job, people())
    entries = stages.cast_stage(job.store, job.film, job.plan, spec, receipts, code="code")
    whole = cast_film(job.film.index, people(), "largest")
    chosen = whole.take(whole.role == 0)
    assert [entry.faces for entry in entries] == [25, 25, 25, 25]
    tables = [read_table(job.store.path(entry.file or "")) for entry in entries]
    assert set(tables[0].track) == set(tables[2].track) == {0, 1}
    for name in FaceTable.__dataclass_fields__:
        np.testing.assert_array_equal(np.concatenate([getattr(t, name) for t in tables]), getattr(chosen, name))
    assert not list(job.store.path("tmp").iterdir())
    assert stages.cast_stage(job.store, job.film, job.plan, spec, receipts, code="code") == entries
