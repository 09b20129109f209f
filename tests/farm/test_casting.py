"""From the faces of an analysis to the roles of every segment, in a store."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from core import codec
from core.faces.metric import metric_of
from core.faces.shots import ShotScorer, write_scores
from core.faces.table import read_table, write_table
from core.records import (
    NOBODY,
    Analysis,
    AnalysisReceipt,
    CastPlan,
    FaceTable,
    PersonPlan,
    Role,
    Span,
)
from farm import stages
from farm.artifacts import DiskStore
from farm.casting import Followed, follow_stage, roles_stage
from farm.castings import SegmentCast
from tests.actors.films import Job, make_film, make_job
from tests.faces_assets import made_up_faces

LEFT, RIGHT = 90.0, 40.0


def people() -> FaceTable:
    """Two people in 100 frames, the larger one from frame 20 to 69, lost for a moment where segments meet."""
    random = np.random.default_rng(1)
    tables = []
    for frames, x, radius in ((np.arange(100), LEFT, 15.0), (np.arange(20, 70), RIGHT, 25.0)):
        shown = frames[~np.isin(frames, [48, 49, 50, 51])]
        centres = np.stack([x + random.normal(0, 0.5, len(shown)), np.full(len(shown), 48.0)], axis=1)
        tables.append(made_up_faces(shown, centres, radius, noise=random.normal(0, 0.3, (len(shown), 468, 2))))
    return FaceTable.concat(tables)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return make_job(DiskStore(str(tmp_path / "store")), make_film(tmp_path / "film.mp4", seconds=4))


@pytest.fixture
def analysis(job: Job) -> Analysis:
    """The people, found by segments of a second; one shot."""
    table, receipts = people(), []
    for segment in job.plan.segments:
        rows = table.take((table.frame >= segment.first) & (table.frame < segment.end))
        scorer = ShotScorer(segment.first)
        for _ in range(segment.frames):
            scorer.add(np.zeros((96, 128, 3), np.uint8))
        found, shots = job.store.scratch(".parquet"), job.store.scratch(".parquet")
        write_table(rows, found)
        write_scores(scorer.scores(), shots)
        hashes = [hashlib.sha256(file.read_bytes()).hexdigest() for file in (found, shots)]
        names = [f"analysis/{segment.index}/{kind}.parquet" for kind in ("faces", "shots")]
        for file, name in zip((found, shots), names, strict=True):
            job.store.adopt(file, name)
        receipt = AnalysisReceipt("", segment.index, names[0], hashes[0], 1, segment.frames, len(rows), {}, "", "", 1)
        receipts.append(replace(receipt, shots=names[1], shots_sha256=hashes[1]))
    return Analysis(job.film.index.sha256, job.film.index.frames, "none", "none", 1, job.plan.segments, tuple(receipts))


def follow(job: Job, analysis: Analysis, segment_s: Fraction = Fraction(1)) -> Followed:
    return follow_stage(job.store, job.film.index, analysis, job.store.path, metric_of("dlib"), segment_s, code="code")


def test_the_same_faces_however_the_film_is_cut(job: Job, analysis: Analysis) -> None:
    """Tracks, and the rows of all pieces together, are the same for one piece and for many."""
    whole, many = follow(job, analysis, Fraction(100)), follow(job, analysis, Fraction(0))
    assert (len(whole.pieces), len(many.pieces)) == (1, int(job.film.index.key.sum()))
    assert codec.encode(whole.tracks) == codec.encode(many.tracks)
    assert len(whole.tracks) == 2
    one = read_table(job.store.path(whole.pieces[0].file))
    parts = [read_table(job.store.path(piece.file)) for piece in many.pieces]
    for name in FaceTable.__dataclass_fields__:
        np.testing.assert_array_equal(np.concatenate([getattr(part, name) for part in parts]), getattr(one, name))
    assert [piece.faces for piece in many.pieces] == [len(part) for part in parts]
    assert not list(job.store.path("tmp").iterdir())


def test_a_changed_plan_changes_only_the_segments_that_it_touches(job: Job, analysis: Analysis) -> None:
    """The second person is seen from frame 20 to 69 of segments of 25 frames: three of them."""
    followed = follow(job, analysis)
    left, right = (int(np.argmin(np.abs(followed.tracks.best_box[:, ::2].mean(axis=1) - x))) for x in (LEFT, RIGHT))

    def cast(role: int, spans: tuple[Span, ...] = (), first: int = 0) -> tuple[SegmentCast, ...]:
        plan = CastPlan((PersonPlan("p1", (left,), first), PersonPlan("p2", (right,), role, spans)), share=True)
        return roles_stage(job.store, job.film.index, followed, plan, code="code")

    alone, both, other = cast(NOBODY), cast(1), cast(2)
    assert [entry.roles for entry in alone] == [(0,)] * 4
    assert [entry.roles for entry in both] == [(0, 1), (1, 0), (1, 0), (0,)], "as they come, larger faces first"
    assert [entry.faces for entry in both] == [30, 50, 45, 25]
    assert [entry.sha256 for entry in other] == [entry.sha256 for entry in both], "the numbers of roles do not matter"
    assert [entry.roles for entry in other] == [(0, 2), (2, 0), (2, 0), (0,)]
    turned = cast(0, (), 1)
    assert [entry.sha256 for entry in turned] == [entry.sha256 for entry in both]
    assert [entry.roles for entry in turned] == [(1, 0), (0, 1), (0, 1), (1,)]
    shorter = cast(1, (Span(60, 100, NOBODY),))
    assert [a == b for a, b in zip(shorter, both, strict=True)] == [True, True, False, True]
    roles = [Role(f"identity/{name}.json", name, "mesh") for name in "abc"]
    orders = [stages.work_orders(job.film, job.plan, entries, roles, code="code") for entries in (alone, both, other)]
    same = [[a.id == b.id for a, b in zip(one, orders[1], strict=True)] for one in orders]
    assert same == [[False, False, False, True], [True] * 4, [False, False, False, True]]


def test_what_is_kept_is_found_again_and_what_was_altered_is_made_again(job: Job, analysis: Analysis) -> None:
    plan = CastPlan((PersonPlan("p1", (0, 1), 0),), share=True)

    def cast() -> tuple[Followed, tuple[SegmentCast, ...]]:
        followed = follow(job, analysis)
        return followed, roles_stage(job.store, job.film.index, followed, plan, code="code")

    first, entries = cast()
    listings = {path: path.read_bytes() for path in job.store.path("cast").glob("*.json")}
    files = [job.store.path(first.pieces[1].file), job.store.path(str(entries[1].file))]
    spoils: list[Callable[[Path], object]] = [lambda path: path.write_bytes(path.read_bytes()[:-1]), Path.unlink]
    for file in files:
        whole = file.read_bytes()
        for spoil in spoils:
            spoil(file)
            again, entries_again = cast()
            assert (codec.encode(again), entries_again) == (codec.encode(first), entries)
            assert file.read_bytes() == whole
    for listing, data in listings.items():
        listing.write_bytes(b"[")
        assert cast()[1] == entries
        assert listing.read_bytes() == data


def test_another_analysis_is_followed_anew(job: Job, analysis: Analysis) -> None:
    first = follow(job, analysis)
    other = replace(analysis, recogniser="another")
    assert follow(job, other).digest != first.digest
