"""Where a film's shots begin: how little of each frame is in the frame before, and which of these are cuts.

Scoring looks at two neighbouring frames and nothing else, and is done where the frames are decoded. Deciding needs
the neighbourhood, and is done once over the whole film; it sees the scores and, around every large one, the frames'
thumbnails. So the cuts are the same however the film is cut into segments.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from core.errors import PlanError, StorageError
from core.faces.table import write_parquet
from core.records import Float32Array, Int64Array, MediaIndex
from core.records.arrays import freeze

THUMB_WIDE, THUMB_HIGH = 64, 36
# From this score on a frame's thumbnail and that of the frame before are kept for the decision.
KEPT_SCORE = 0.2
CUT_SCORE = 0.35


@dataclass(frozen=True)
class ShotScores:
    """How frames `first`, `first + 1`, ... differ from the frame before each.

    `score` float32 [n] is 0 for the same picture and about 1 for another one; NaN for the first. `kept` int64 [k]
    are places in `score` whose thumbnails uint8 RGB [k,36,64,3] are kept: the first, the last, and both frames of
    every pair of a large score.
    """

    first: int
    score: Float32Array
    kept: Int64Array
    thumbs: NDArray[np.uint8]

    def __post_init__(self) -> None:
        freeze(self, "score", np.float32, (None,))
        freeze(self, "kept", np.int64, (None,))
        freeze(self, "thumbs", np.uint8, (len(self.kept), THUMB_HIGH, THUMB_WIDE, 3))

    @property
    def head(self) -> NDArray[np.uint8]:
        """The thumbnail of the first frame."""
        return np.asarray(self.thumbs[0], np.uint8)

    @property
    def tail(self) -> NDArray[np.uint8]:
        """The thumbnail of the last frame."""
        return np.asarray(self.thumbs[-1], np.uint8)


class ShotScorer:
    """Scores the frames of one segment as they come; `first` is the ordinal of the first one."""

    def __init__(self, first: int = 0) -> None:
        self._first = first
        self._score: list[float] = []
        self._thumbs: dict[int, NDArray[np.uint8]] = {}
        self._before: NDArray[np.uint8] | None = None

    def add(self, rgb: NDArray[np.uint8]) -> None:
        """Take the next frame's picture uint8 RGB [h,w,3] of any size, the same for all frames of a film."""
        thumb = np.asarray(cv2.resize(rgb, (THUMB_WIDE, THUMB_HIGH), interpolation=cv2.INTER_AREA), np.uint8)
        place = len(self._score)
        score = float("nan") if self._before is None else difference(self._before, thumb)
        if self._before is None:
            self._thumbs[place] = thumb
        elif score >= KEPT_SCORE:
            self._thumbs[place - 1], self._thumbs[place] = self._before, thumb
        self._score.append(score)
        self._before = thumb

    def scores(self) -> ShotScores:
        """The scores of the frames until now."""
        thumbs = dict(self._thumbs)
        if self._before is not None:
            thumbs[len(self._score) - 1] = self._before
        kept = sorted(thumbs)
        pictures = np.array([thumbs[place] for place in kept], np.uint8).reshape(-1, THUMB_HIGH, THUMB_WIDE, 3)
        return ShotScores(self._first, np.array(self._score, np.float32), np.array(kept, np.int64), pictures)


def difference(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> float:
    """How little of one thumbnail uint8 RGB [36,64,3] is in another: 0 the same, about 1 nothing."""
    one, two = (_structure(thumb) for thumb in (before, after))
    energy = float((one * one).sum() + (two * two).sum())
    return float(((one - two) ** 2).sum()) / max(energy, 1e-6)


def _structure(thumb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The thumbnail's luma float32 [36,64], local mean taken off and local contrast made one."""
    luma = cv2.cvtColor(thumb, cv2.COLOR_RGB2GRAY).astype(np.float32)
    luma -= cv2.GaussianBlur(luma, (0, 0), 6)
    contrast = np.sqrt(cv2.GaussianBlur(luma * luma, (0, 0), 6) + 16)
    return np.asarray(luma / contrast, np.float32)


def find_cuts(index: MediaIndex, parts: Iterable[ShotScores]) -> Int64Array:
    """The ordinals of the frames that start a new shot, without the film's first one, in order.

    `parts` cover the film in order. `PlanError` when they do not.
    """
    cuts: list[int] = []
    frames, tail = 0, None
    for part in parts:
        if part.first != frames or not len(part.score):
            raise PlanError(f"shot scores from frame {part.first}, expected from {frames}")
        score = part.score.copy()
        score[0] = 0.0 if tail is None else difference(tail, part.head)
        cuts += [part.first + int(place) for place in np.flatnonzero(score >= CUT_SCORE)]
        frames, tail = part.first + len(score), part.tail
    if frames != index.frames:
        raise PlanError(f"shot scores of {frames} frames of a film of {index.frames}")
    return np.array(cuts, np.int64)


def write_scores(scores: ShotScores, path: Path) -> None:
    """Write `scores` to `path` as Parquet, the same bytes for the same scores; OSError passes."""
    thumbs: list[bytes | None] = [None] * len(scores.score)
    for place, thumb in zip(scores.kept.tolist(), scores.thumbs, strict=True):
        thumbs[place] = thumb.tobytes()
    table = pa.table({"score": pa.array(scores.score), "thumb": pa.array(thumbs, pa.binary())})
    table = table.replace_schema_metadata({"first": str(scores.first)})
    write_parquet(table, path)


def read_scores(path: Path) -> ShotScores:
    """The scores in `path`; `StorageError` when it holds none or cannot be read."""
    try:
        stored = pq.read_table(path)
        score = stored["score"].combine_chunks().to_numpy(zero_copy_only=False)
        thumbs = stored["thumb"].to_pylist()
        kept = np.array([place for place, thumb in enumerate(thumbs) if thumb is not None], np.int64)
        raw = b"".join(thumb for thumb in thumbs if thumb is not None)
        pictures = np.frombuffer(raw, np.uint8).reshape(len(kept), THUMB_HIGH, THUMB_WIDE, 3)
        return ShotScores(int((stored.schema.metadata or {})[b"first"]), score, kept, pictures)
    except (OSError, pa.ArrowException, KeyError, ValueError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise StorageError(f"not shot scores: {reason}", where=str(path), hint="delete it and run again") from error
