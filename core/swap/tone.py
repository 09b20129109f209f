"""Colour of a new face made that of the face it replaces, inside the mask. Crops are float32 RGB in 0..1.

RGB is the film's own R'G'B' (core.media.colour): both faces went through the same conversion, so no primaries or
transfer are needed to compare them. Statistics are weighted by the mask.
"""

from __future__ import annotations

import cv2
import numpy as np

from core.geometry import Float64Array
from core.records import ColourKind, Float32Array

LEAST_WEIGHT = 1.0  # the mask's sum, in pixels, under which there is nothing to compare
# Mean and deviation: a deviation is changed by no more than this factor, so that noise in a flat face is not blown up.
SPREAD_RANGE = 2.0
# Brightness, blue less yellow, red less green, by BT.709's weights: what is not alike in faces under one light.
OPPONENT = np.array([[0.2126, 0.7152, 0.0722], [-0.1146, -0.3854, 0.5], [0.5, -0.4542, -0.0458]])
OPPONENT.setflags(write=False)
STATISTICS_PX = 128
BINS = 256
STEEPEST = 2.0  # of the histogram's curve: highlights and a flat face's few values are not torn apart
CURVE_SIGMA = 2.0  # in bins; the curve shall not follow every value's chance count
# Illumination: parts of the crop's side, then as named.
LIGHT_SIGMA = 0.065  # blur of the illumination fields
LIGHT_SIDE_PX = 64  # the fields' own resolution
LIGHT_RANGE = 3.0  # a face is never made brighter or darker than by this factor
LIGHT_FLOOR = 0.02  # added to both lights, so that black does not divide by black


def matched(fresh: Float32Array, target: Float32Array, mask: Float32Array, kind: ColourKind) -> Float32Array:
    """`fresh` [3,S,S] in the colours of `target` [3,S,S] by `mask` [S,S]; itself where the mask is empty.

    "mean" gives brightness and two colour differences the target's mean and deviation (E. Reinhard and others, "Color
    transfer between images", 2001, with axes that need no logarithm); "histogram" each of R, G, B its distribution;
    "light" its low-frequency illumination.
    """
    if kind == "none" or float(mask.sum()) < LEAST_WEIGHT:
        return fresh
    if kind == "histogram":
        return np.stack([_same_histogram(new, old, mask) for new, old in zip(fresh, target, strict=True)])
    pictures = [np.ascontiguousarray(crop.transpose(1, 2, 0)) for crop in (fresh, target)]
    if kind == "mean":
        made = _same_moments(pictures[0], pictures[1], mask)
    else:
        made = np.clip(pictures[0] * light_ratio(pictures[0], pictures[1], mask, len(mask)), 0, 1)
    return np.asarray(np.ascontiguousarray(made.transpose(2, 0, 1)), np.float32)


def _same_moments(fresh: Float32Array, target: Float32Array, mask: Float32Array) -> Float32Array:
    """`fresh` [S,S,3] with the mean and deviation of `target` [S,S,3] along every row of OPPONENT.

    One affine map of RGB.
    """
    weight = _reduced(mask)
    new_mean, new_spread = _moments(_reduced(fresh), weight)
    old_mean, old_spread = _moments(_reduced(target), weight)
    factor = np.clip(old_spread / np.maximum(new_spread, 1e-6), 1 / SPREAD_RANGE, SPREAD_RANGE)
    linear = np.linalg.inv(OPPONENT) @ (factor[:, None] * OPPONENT)
    shift = np.linalg.inv(OPPONENT) @ (old_mean - factor * new_mean)
    made = cv2.transform(fresh, np.column_stack([linear, shift]).astype(np.float32))
    return np.asarray(np.clip(made, 0, 1), np.float32)


def _moments(picture: Float32Array, weight: Float32Array) -> tuple[Float64Array, Float64Array]:
    """Weighted mean and standard deviation [3] of a picture [S,S,3] along the rows of OPPONENT."""
    along = cv2.transform(picture, OPPONENT.astype(np.float32))
    share = (weight / weight.sum(dtype=np.float64))[..., None]
    mean = (along * share).sum(axis=(0, 1))
    return mean, np.sqrt(((along - mean) ** 2 * share).sum(axis=(0, 1)))


def _reduced(picture: Float32Array) -> Float32Array:
    """A crop [S,S,...] of at most STATISTICS_PX a side, averaged: enough of it to count."""
    if len(picture) <= STATISTICS_PX:
        return picture
    size = (STATISTICS_PX, STATISTICS_PX)
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.float32)


def _same_histogram(fresh: Float32Array, target: Float32Array, mask: Float32Array) -> Float32Array:
    """One channel [S,S] by the curve that takes its weighted distribution to the target's."""
    (new_levels, new_shares), (old_levels, old_shares) = (
        _distribution(_reduced(channel), _reduced(mask)) for channel in (fresh, target)
    )
    curve = np.interp(new_shares, old_shares, old_levels)
    levels = (np.arange(BINS) + 0.5) / BINS
    # Beyond the values that the mask saw, the curve goes on at 45 degrees.
    beyond = levels - np.clip(levels, new_levels[0], new_levels[-1])
    whole = np.interp(levels, new_levels, curve) + beyond
    margin = round(4 * CURVE_SIGMA)
    run_on = np.concatenate(
        [whole[0] + np.arange(-margin, 0) / BINS, whole, whole[-1] + np.arange(1, margin + 1) / BINS]
    )
    calm = cv2.GaussianBlur(run_on[None], (0, 0), CURVE_SIGMA)[0, margin:-margin]
    steps = np.minimum(np.diff(calm), STEEPEST / BINS)
    rising = np.concatenate([[0.0], np.cumsum(steps)])
    middle = int(np.searchsorted(levels, np.interp(0.5, new_shares, new_levels)))
    rising += calm[middle] - rising[middle]
    return np.asarray(np.clip(np.interp(fresh, levels, rising), 0, 1), np.float32)


def _distribution(channel: Float32Array, weight: Float32Array) -> tuple[Float64Array, Float64Array]:
    """Levels that occur, rising, and the part of the weight below each; half of a level's own counts."""
    level = np.clip((channel * BINS).astype(np.intp), 0, BINS - 1)
    counts = np.bincount(level.ravel(), weight.ravel().astype(np.float64), BINS)
    shares = (np.cumsum(counts) - counts / 2) / counts.sum()
    seen = np.flatnonzero(counts > 0)
    return (seen + 0.5) / BINS, shares[seen]


def light_ratio(face: Float32Array, target: Float32Array, weight: Float32Array, side: int) -> Float32Array:
    """What puts `face` [G,G,3] under the light of `target` [G,G,3]: the ratio of their blurred colours [side,side,3].

    Colours are blurred inside `weight` [G,G] only (a normalised convolution), so that neither hair nor background
    colours the face; where the weight is thin, the whole face's mean takes over.
    """
    size = (LIGHT_SIDE_PX, LIGHT_SIDE_PX)
    small = [cv2.resize(part * weight[..., None], size, interpolation=cv2.INTER_AREA) for part in (face, target)]
    share = cv2.resize(weight, size, interpolation=cv2.INTER_AREA)
    total = float(share.sum())
    if total < 1:
        return np.ones((side, side, 3), np.float32)
    sigma = LIGHT_SIGMA * LIGHT_SIDE_PX
    spread = cv2.GaussianBlur(share, (0, 0), sigma)[..., None]
    lights = []
    for part in small:
        mean = part.sum(axis=(0, 1)) / total
        thin = np.float32(0.02)
        lights.append((cv2.GaussianBlur(part, (0, 0), sigma) + thin * mean) / (spread + thin) + LIGHT_FLOOR)
    ratio = np.clip(lights[1] / lights[0], 1 / LIGHT_RANGE, LIGHT_RANGE).astype(np.float32)
    return np.asarray(cv2.resize(ratio, (side, side), interpolation=cv2.INTER_CUBIC), np.float32)
