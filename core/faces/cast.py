"""Who becomes whom, over the whole film at once: tracks, gaps filled, points smoothed, faces chosen.

Runs once a film on the faces of all segments, so its result cannot depend on how the film was cut.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from core.errors import PlanError
from core.faces.smooth import smooth_track
from core.faces.track import GAP_FRAMES, link
from core.geometry import Float64Array, apply, box_area, display_from_coded, level_extent
from core.records import EYE_OUTER, FaceTable, Float32Array, Int32Array, Int64Array, MediaIndex

STEP_PX = 1 / 64  # as in analyse
NOBODY = -1
# A find is taken for chance when it is both short and weak; a face seen well in one frame only is still a face.
SHORT_FRAMES = 3
WEAK_SCORE = 0.5


def cast_faces(index: MediaIndex, table: FaceTable, select: Literal["largest", "all"]) -> FaceTable:
    """The table of what to render: rows with track numbers, smoothed points, and source 0 where a face is replaced.

    Rows are sorted by frame, then by descending area. Rows without a mesh and chance finds keep track -1 and source
    -1. Rows filled into gaps have score 0. Each row of a track knows how large the track's face gets (reach_px).
    With "largest", of the tracks in a frame the one that is largest over its life (median area) is replaced, so that
    the choice does not flicker. `PlanError` when a row lies outside the film.
    """
    if len(table) and not 0 <= int(table.frame.min()) <= int(table.frame.max()) < index.frames:
        raise PlanError(f"faces in frames up to {int(table.frame.max())} of a film of {index.frames}")
    table = table.take(_order(table.frame, table.box))
    track = _without_chance(link(table), table)
    pts, video = np.asarray(index.pts), index.video
    shown = display_from_coded(video.width, video.height, video.sample_aspect_ratio, video.rotation)[0]
    parts = [table.take(track < 0)]
    parts += [_finish(table.take(rows), number, pts, shown) for number, rows in enumerate(_groups(track))]
    whole = FaceTable.concat(parts)
    whole = whole.take(_order(whole.frame, whole.box))
    return replace(whole, source=_choose(whole, select))


def _order(frame: Int64Array, box: Float32Array) -> Int64Array:
    return np.lexsort((-box_area(box), frame)).astype(np.int64)


def _groups(track: Int32Array) -> list[Int64Array]:
    """The rows of track 0, 1, ... in their order; track numbers have no holes."""
    rows = np.flatnonzero(track >= 0).astype(np.int64)
    rows = rows[np.argsort(track[rows], kind="stable")]
    return np.split(rows, np.flatnonzero(np.diff(track[rows])) + 1) if len(rows) else []


def _without_chance(track: Int32Array, table: FaceTable) -> Int32Array:
    """Track numbers without chance finds, renumbered without holes."""
    kept = np.full_like(track, NOBODY)
    count = 0
    for rows in _groups(track):
        if len(rows) >= SHORT_FRAMES or np.median(table.score[rows]) >= WEAK_SCORE:
            kept[rows] = count
            count += 1
    return kept


def _finish(rows: FaceTable, number: int, pts: Int64Array, display_from_coded: Float64Array) -> FaceTable:
    """One track with its gaps filled in a straight line in time, and smoothed; its reach is of the smoothed mesh."""
    frame = np.arange(rows.frame[0], rows.frame[-1] + 1)
    after = np.searchsorted(rows.frame, frame)
    before = np.where(rows.frame[after] == frame, after, after - 1)
    assert int((rows.frame[after] - rows.frame[before]).max()) <= GAP_FRAMES + 1
    start, end = pts[rows.frame[before]], pts[rows.frame[after]]
    share = np.where(end > start, (pts[frame] - start) / np.maximum(end - start, 1), 0.0)
    blend = share.astype(np.float32)[:, None, None]
    mesh = rows.mesh[before] * (1 - blend) + rows.mesh[after] * blend
    corners = rows.box.reshape(-1, 2, 2)
    extra = np.concatenate([rows.points, corners], axis=1)  # [n,7,2]
    extra = extra[before] * (1 - blend) + extra[after] * blend
    mesh, extra = smooth_track(pts[frame] - pts[frame[0]], mesh, extra)
    found = before == after
    reach_px = level_extent(apply(display_from_coded, mesh), *EYE_OUTER).max()
    return FaceTable(
        frame=frame,
        box=_rounded(extra[:, 5:].reshape(-1, 4)),
        score=np.where(found, rows.score[before], np.float32(0)),
        points=_rounded(extra[:, :5]),
        mesh=_rounded(mesh),
        presence=np.minimum(rows.presence[before], rows.presence[after]),
        track=np.full(len(frame), number, np.int32),
        source=np.full(len(frame), NOBODY, np.int32),
        reach_px=np.full(len(frame), reach_px, np.float32),
    )


def _choose(table: FaceTable, select: Literal["largest", "all"]) -> Int32Array:
    """The source of each row: 0 for rows to replace, -1 for others."""
    if select == "all" or not len(table):
        return np.where(table.track >= 0, 0, NOBODY).astype(np.int32)
    source = np.full(len(table), NOBODY, np.int32)
    area = box_area(table.box)
    size = np.array([np.median(area[rows]) for rows in _groups(table.track)])
    rows = np.flatnonzero(table.track >= 0)
    # Per frame the row of the track with the greatest size; equal sizes go to the older track.
    best = rows[np.lexsort((table.track[rows], -size[table.track[rows]], table.frame[rows]))]
    source[best[np.diff(table.frame[best], prepend=-1) > 0]] = 0
    return source


def _rounded(coordinates: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Float32Array:
    return np.asarray(np.round(coordinates / STEP_PX) * STEP_PX, np.float32)
