"""Between the two maps: who is in the film, and who becomes whom. Tables only; no picture is looked at.

What `follow_stage` makes depends on the film and its analysis alone, so another source or cast does not repeat it.
What `roles_stage` makes names a segment's faces by their content, so a changed cast changes the orders of those
segments alone in which somebody becomes somebody else than before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from core import codec
from core.faces.follow import follow_film
from core.faces.metric import Metric
from core.faces.roles import assign
from core.faces.shots import find_cuts, read_scores
from core.faces.table import read_table, read_tables, write_table
from core.media.plan import plan_balanced
from core.records import Analysis, CastPlan, FaceTable, Int32Array, MediaIndex, Segment, TrackTable
from farm.artifacts import Store
from farm.castings import SegmentCast

SEGMENT_S = Fraction(10)  # the rendering's default: who follows before it makes its pieces


@dataclass(frozen=True)
class Piece:
    """All faces of one segment, followed and smoothed: `file` is their FaceTable in the store."""

    segment: Segment
    faces: int
    file: str
    sha256: str


@dataclass(frozen=True)
class Followed:
    """The tracks of a film and its faces in pieces; `digest` names the analysis that they come from."""

    digest: str
    tracks: TrackTable
    pieces: tuple[Piece, ...]

    @property
    def segments(self) -> tuple[Segment, ...]:
        return tuple(piece.segment for piece in self.pieces)


def analysis_digest(analysis: Analysis) -> str:
    """What a cast is made of: the film, how it was looked at, and what was found."""
    found = [(receipt.sha256, receipt.shots_sha256) for receipt in analysis.receipts]
    return codec.digest([analysis.film_sha256, analysis.detector, analysis.recogniser, analysis.detect_every, found])


def follow_stage(
    store: Store,
    index: MediaIndex,
    analysis: Analysis,
    found: Callable[[str], Path],
    metric: Metric,
    segment_s: Fraction,
    *,
    code: str,
) -> Followed:
    """Follow every face over the whole film, and settle by the number of faces how the film is cut for rendering.

    `found` says where the analysis' files are; `metric` is of the recogniser that made its vectors.
    """
    digest = analysis_digest(analysis)
    name = f"cast/{codec.digest([digest, segment_s, code])}.json"
    store.claim([name])
    kept = store.load(name, Followed)
    if kept is not None:
        store.claim(piece.file for piece in kept.pieces)
        if not store.altered({piece.file: piece.sha256 for piece in kept.pieces}):
            return kept
        store.discard(name)

    def parts() -> Iterator[FaceTable]:
        return (part for receipt in analysis.receipts for part in read_tables(found(receipt.file)))

    segments = plan_balanced(index, segment_s, faces_seen(index, parts()))
    cuts = find_cuts(index, (read_scores(found(receipt.shots)) for receipt in analysis.receipts))
    followed = follow_film(
        index, parts, cuts, segments, store.scratch, detect_every=analysis.detect_every, metric=metric
    )
    pieces = []
    try:
        for segment, file in zip(segments, followed.files, strict=True):
            faces = len(read_table(file))
            name_of_piece, sha256 = _keep(store, file)
            pieces.append(Piece(segment, faces, name_of_piece, sha256))
    finally:
        for file in followed.files:
            file.unlink(missing_ok=True)
    store.claim(piece.file for piece in pieces)
    made = Followed(digest, followed.tracks, tuple(pieces))
    store.write(name, codec.encode(made))
    return made


def faces_seen(index: MediaIndex, parts: Iterable[FaceTable]) -> Int32Array:
    """How many faces were found in each frame, int32 [N]."""
    seen = np.zeros(index.frames, np.int32)
    for part in parts:
        np.add.at(seen, part.frame, 1)
    return seen


def roles_stage(
    store: Store, index: MediaIndex, followed: Followed, plan: CastPlan, *, code: str
) -> tuple[SegmentCast, ...]:
    """The rows of each segment that are replaced, with their roles; stored by their hash."""
    name = f"cast/{codec.digest([[piece.sha256 for piece in followed.pieces], followed.digest, plan, code])}.json"
    store.claim([name])
    kept = store.load(name, tuple[SegmentCast, ...])
    if kept is not None:
        files = {entry.file: entry.sha256 for entry in kept if entry.file is not None and entry.sha256 is not None}
        store.claim(files)
        if not store.altered(files):
            return kept
        store.discard(name)
    entries = []
    tables = store.paths([piece.file for piece in followed.pieces])
    for piece, faces in zip(followed.pieces, tables, strict=True):
        table = assign(read_table(faces), followed.tracks, plan, index)
        rows, roles = in_use(table)
        if not len(rows):
            entries.append(SegmentCast(piece.segment.index))
            continue
        scratch = store.scratch(".parquet")
        try:
            write_table(rows, scratch)
            file, sha256 = _keep(store, scratch)
        finally:
            scratch.unlink(missing_ok=True)
        entries.append(SegmentCast(piece.segment.index, len(rows), file, sha256, roles))
    store.claim(entry.file for entry in entries if entry.file is not None)
    store.write(name, codec.encode(tuple(entries)))
    return tuple(entries)


def in_use(table: FaceTable) -> tuple[FaceTable, tuple[int, ...]]:
    """The rows that have a role, with what only casting needs left out, and the roles that their numbers mean now.

    They are numbered as they come in these rows: the job's numbers may change with people who are not here.
    """
    rows = table.take(table.role >= 0)
    used, first, numbers = np.unique(rows.role, return_index=True, return_inverse=True)
    by_row = np.argsort(first)
    bare = np.zeros((len(rows), 0), np.float32)
    unmeasured = np.full(len(rows), np.nan, np.float32)
    rows = replace(rows, role=np.argsort(by_row)[numbers].astype(np.int32), vector=bare, sharpness=unmeasured)
    return rows, tuple(int(role) for role in used[by_row])


def _keep(store: Store, scratch: Path) -> tuple[str, str]:
    """Put a table into the store under its hash."""
    sha256 = hashlib.sha256(scratch.read_bytes()).hexdigest()
    file = f"cast/{sha256}.parquet"
    if not store.intact(file, sha256):
        store.discard(file)
    store.adopt(scratch, file)
    return file, sha256
