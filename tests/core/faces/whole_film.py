"""The cast computed the plain way, with all faces of the film in memory at once; what the real one must equal."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from core.faces.follow import SHORT_FRAMES, WEAK_SCORE
from core.faces.onway import STEP_PX
from core.faces.smooth import MOVEMENT_SIGMA, REACH_SIGMAS, SHAPE_SIGMA
from core.faces.track import Linker
from core.geometry import Float64Array, apply, box_area, display_from_coded, invert, level_extent, similarity
from core.records import EYE_OUTER, FaceTable, Float32Array, Int32Array, Int64Array, MediaIndex


def cast_at_once(index: MediaIndex, table: FaceTable, select: Literal["largest", "all"]) -> FaceTable:
    table = table.take(_order(table.frame, table.box))
    track = _without_chance(Linker().follow(table), table)
    pts, video = np.asarray(index.pts), index.video
    shown = display_from_coded(video.width, video.height, video.sample_aspect_ratio, video.rotation)[0]
    parts = [table.take(track < 0)]
    parts += [_finish(table.take(rows), number, pts, shown) for number, rows in enumerate(_groups(track))]
    whole = FaceTable.concat(parts)
    whole = whole.take(_order(whole.frame, whole.box))
    return replace(whole, role=_choose(whole, select))


def _order(frame: Int64Array, box: Float32Array) -> Int64Array:
    return np.lexsort((-box_area(box), frame)).astype(np.int64)


def _groups(track: Int32Array) -> list[Int64Array]:
    """The rows of track 0, 1, ... in their order; track numbers have no holes."""
    rows = np.flatnonzero(track >= 0).astype(np.int64)
    rows = rows[np.argsort(track[rows], kind="stable")]
    return np.split(rows, np.flatnonzero(np.diff(track[rows])) + 1) if len(rows) else []


def _without_chance(track: Int32Array, table: FaceTable) -> Int32Array:
    """Track numbers without chance finds, renumbered without holes."""
    kept = np.full_like(track, -1)
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

    start, end = pts[rows.frame[before]], pts[rows.frame[after]]
    share = np.where(end > start, (pts[frame] - start) / np.maximum(end - start, 1), 0.0)
    blend = share.astype(np.float32)[:, None, None]
    mesh = rows.mesh[before] * (1 - blend) + rows.mesh[after] * blend
    corners = rows.box.reshape(-1, 2, 2)
    extra = np.concatenate([rows.points, corners], axis=1)  # [n,7,2]
    extra = extra[before] * (1 - blend) + extra[after] * blend
    # The face's reach is that of the meshes before smoothing.
    reach_px = level_extent(apply(display_from_coded, mesh), *EYE_OUTER).max()
    mesh, extra = smooth_track(pts[frame] - pts[frame[0]], mesh, extra)
    found = before == after
    return FaceTable(
        frame=frame,
        box=_rounded(extra[:, 5:].reshape(-1, 4)),
        score=np.where(found, rows.score[before], np.float32(0)),
        points=_rounded(extra[:, :5]),
        mesh=_rounded(mesh),
        presence=np.minimum(rows.presence[before], rows.presence[after]),
        track=np.full(len(frame), number, np.int32),
        role=np.full(len(frame), -1, np.int32),
        reach_px=np.full(len(frame), reach_px, np.float32),
    )


def _choose(table: FaceTable, select: Literal["largest", "all"]) -> Int32Array:
    """The source of each row: 0 for rows to replace, -1 for others."""
    if select == "all" or not len(table):
        return np.where(table.track >= 0, 0, -1).astype(np.int32)
    source = np.full(len(table), -1, np.int32)
    area = box_area(table.box)
    size = np.array([np.median(area[rows]) for rows in _groups(table.track)])
    rows = np.flatnonzero(table.track >= 0)
    # Per frame the row of the track with the greatest size; equal sizes go to the older track.
    best = rows[np.lexsort((table.track[rows], -size[table.track[rows]], table.frame[rows]))]
    source[best[np.diff(table.frame[best], prepend=-1) > 0]] = 0
    return source


def _rounded(coordinates: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Float32Array:
    return np.asarray(np.round(coordinates / STEP_PX) * STEP_PX, np.float32)


def smooth_series(time: NDArray[Any], values: NDArray[Any], sigma: float) -> Float64Array:
    """`values` [n, ...] at increasing `time` [n], smoothed over about `sigma` of the typical time step."""
    count = len(time)
    if count < 3:  # a parabola goes through three points as they are; fewer leave nothing to average
        return np.asarray(values, np.float64).copy()
    reach = max(2, int(np.ceil(REACH_SIGMAS * sigma)))
    step = float(np.median(np.diff(time)))
    offsets = np.arange(-reach, reach + 1)
    index = np.arange(count)[:, None] + offsets  # [n,w]
    inside = (index >= 0) & (index < count)
    index = np.clip(index, 0, count - 1)
    away = (np.asarray(time, np.float64)[index] - np.asarray(time, np.float64)[:, None]) / step
    weight = np.where(inside, np.exp(-(away**2) / (2 * sigma**2)), 0.0)
    powers = np.stack([np.ones_like(away), away, away**2], axis=-1)  # [n,w,3]
    normal = np.einsum("nw,nwi,nwj->nij", weight, powers, powers)
    # A neighbour far away in time leaves too little weight for a parabola; the ridge turns it into a lesser fit.
    normal += np.eye(3) * 1e-9
    first = np.linalg.solve(normal, np.broadcast_to(np.array([[1.0], [0.0], [0.0]]), (count, 3, 1)))
    kernel = np.einsum("nwi,ni,nw->nw", powers, first[..., 0], weight)
    kernel /= kernel.sum(axis=1, keepdims=True)
    out = np.zeros(np.shape(values), np.float64)
    shape = (count, *([1] * (np.ndim(values) - 1)))
    for column in range(len(offsets)):
        out += kernel[:, column].reshape(shape) * values[index[:, column]]
    return out


def smooth_track(time: NDArray[Any], mesh: NDArray[Any], others: NDArray[Any]) -> tuple[Float64Array, Float64Array]:
    """Mesh points [n,468,2] and further points [n,k,2] of one track, smoothed.

    The movement is the similarity that takes the track's mean shape to each frame's mesh; it is smoothed as the
    place of the shape's centre and the two numbers of its turn and scale.
    """
    meshes = np.asarray(mesh, np.float64)
    mean = _mean_shape(meshes)
    centre = mean.mean(axis=0)
    poses = [similarity(mean, one) for one in meshes]
    move = np.array([[*pose[:, 0], *apply(pose, centre)] for pose in poses])  # cos, sin, x, y
    every = np.concatenate([meshes, np.asarray(others, np.float64)], axis=1)
    shape = np.stack([apply(invert(pose), points) for pose, points in zip(poses, every, strict=True)])
    move = smooth_series(time, move, MOVEMENT_SIGMA)
    shape = smooth_series(time, shape, SHAPE_SIGMA)
    cosine, sine, x, y = (column[:, None] for column in move.T)
    u, v = shape[..., 0] - centre[0], shape[..., 1] - centre[1]
    out = np.stack([cosine * u - sine * v + x, sine * u + cosine * v + y], axis=-1)
    return out[:, : meshes.shape[1]], out[:, meshes.shape[1] :]


def _mean_shape(meshes: Float64Array) -> Float64Array:
    """The mean of the meshes, each brought onto the first by a similarity, summed one by one to save memory."""
    total = np.zeros(meshes.shape[1:])
    for one in meshes:
        total += apply(similarity(one, meshes[0]), one)
    return np.asarray(total / len(meshes), np.float64)
