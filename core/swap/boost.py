"""Pixel boost: a crop finer than the network's is dealt out to several pictures of the network's size.

Picture (row, column) of k x k holds the crop's pixels (row, column), (row, column + k), ...: each is the whole face,
seen through a grid k times coarser than the crop's and shifted by whole pixels of it. The network's answers are
interleaved again.
"""

from __future__ import annotations

import numpy as np

from core.records import Float32Array


def split(crops: Float32Array, boost: int) -> Float32Array:
    """Crops [n,c,k*s,k*s] as n*k*k pictures [n*k*k,c,s,s], crop by crop, row by row; `boost` is k.

    `ValueError` when the crops' side is not a multiple of k.
    """
    if boost == 1:
        return crops
    count, channels, side = crops.shape[:3]
    if crops.shape[3] != side or side % boost:
        raise ValueError(f"crops of {crops.shape[3]}x{side} cannot be dealt out to {boost}x{boost}")
    small = side // boost
    grid = crops.reshape(count, channels, small, boost, small, boost).transpose(0, 3, 5, 1, 2, 4)
    return np.ascontiguousarray(grid).reshape(count * boost * boost, channels, small, small)


def joined(pictures: Float32Array, boost: int) -> Float32Array:
    """What `split` was given [n,c,k*s,k*s], of its pictures [n*k*k,c,s,s]."""
    if boost == 1:
        return pictures
    total, channels, small = pictures.shape[:3]
    if pictures.shape[3] != small or total % (boost * boost):
        raise ValueError(f"{total} pictures do not make crops of {boost}x{boost}")
    count, side = total // (boost * boost), small * boost
    grid = pictures.reshape(count, boost, boost, channels, small, small).transpose(0, 3, 4, 1, 5, 2)
    return np.ascontiguousarray(grid).reshape(count, channels, side, side)
