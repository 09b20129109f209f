"""A film of two people with a keyframe every two frames, and a cast of it: `astronaut` and `carphone`."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.faces.metric import metric_of
from core.inference.manifest import load_manifests, manifest_folder
from core.media.index import index_film
from core.records import Person
from farm.analysis import folder_store, load_analysis
from farm.artifacts import DiskStore
from farm.castfile import tracks_digest, write_cast
from farm.casting import follow_stage
from tests.faces_assets import astronaut, carphone

HIGH, HALF = 180, 200  # px, of the picture and of one person's part of it
FRAMES = 28
GOP = 2
ALONE = range(12, 16)  # frames in which the man is alone; before and after both are seen, with places exchanged


def sources(folder: Path) -> tuple[Path, Path, Path]:
    """Pictures of the astronaut, of her mirrored, and of the man."""
    paths = folder / "astronaut.png", folder / "mirrored.png", folder / "man.png"
    pictures = astronaut(), astronaut()[:, ::-1], _man_frames(1)[0]
    for path, picture in zip(paths, pictures, strict=True):
        Image.fromarray(picture).save(path)
    return paths


def make_two_people(path: Path) -> Path:
    """The film, H.264 at 25 frames/s: the astronaut sways, the man talks."""
    men = _man_frames(FRAMES)
    with av.open(str(path), "w") as film:
        stream = film.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 2 * HALF, HIGH, "yuv420p"
        stream.codec_context.options = {"crf": "12", "preset": "veryfast", "g": str(GOP), "sc_threshold": "0"}
        for number, talking in enumerate(men):
            man = cv2.resize(talking, (220, HIGH), interpolation=cv2.INTER_CUBIC)[:, 10 : 10 + HALF]
            other = _plate(number) if number in ALONE else _swaying(number)
            both = np.hstack([man, other] if number >= ALONE.stop else [other, man])
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(both), format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            film.mux(stream.encode(frame))
        film.mux(stream.encode(None))
    return path


def _man_frames(count: int) -> list[NDArray[np.uint8]]:
    with av.open(str(carphone())) as clip:
        return [frame.to_ndarray(format="rgb24") for _, frame in zip(range(count), clip.decode(video=0), strict=False)]


def _swaying(number: int) -> NDArray[np.uint8]:
    """The astronaut's head, about 80 px high, RGB [HIGH,HALF,3]."""
    place = cv2.getRotationMatrix2D((224, 130), 4 * float(np.sin(number / 4)), 0.72)
    place[:, 2] += np.array([HALF / 2 + 8 * np.sin(number / 5), HIGH / 2 + 4 * np.cos(number / 3)]) - (224, 130)
    moved = cv2.warpAffine(astronaut(), place, (HALF, HIGH), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.uint8)


def _plate(number: int) -> NDArray[np.uint8]:
    """Nobody, RGB [HIGH,HALF,3]."""
    y, x = np.mgrid[0:HIGH, 0:HALF]
    wave = np.sin(x / 30 + number / 5) + np.cos(y / 23)
    return np.stack([110 + 40 * wave, 120 - 30 * wave, 140 + 20 * wave], axis=-1).astype(np.uint8)


ASTRONAUT, MAN = "p1", "p2"


class CastFile:
    """A cast.toml in which ASTRONAUT and MAN have every track of theirs."""

    def __init__(self, film: Path, folder: Path, scratch: Path) -> None:
        """The cast of `film`, whose analysis is in `folder`; nobody has a source yet."""
        index = index_film(film)
        analysis = load_analysis(folder, index.sha256)
        metric = metric_of(load_manifests(manifest_folder())[analysis.recogniser].family)
        store = DiskStore(str(scratch))
        followed = follow_stage(store, index, analysis, folder_store(folder).path, metric, Fraction(0), code="test")
        tracks = followed.tracks
        on_the_left = tracks.best_box[:, ::2].mean(axis=1) < HALF
        hers = on_the_left == (tracks.best_frame < ALONE.stop)
        people = [
            Person(name, tuple(np.flatnonzero(rows).tolist())) for name, rows in ((ASTRONAUT, hers), (MAN, ~hers))
        ]
        self.path, self._plain = folder / "cast.toml", folder / "plain.toml"
        write_cast(self._plain, film.name, index, tracks_digest(tracks), people, tracks)

    def write(self, astronaut: str = "", man: str = "") -> Path:
        """The cast with these lines of TOML in place of a person's empty source; "" leaves it empty."""
        text = self._plain.read_text()
        for name, lines in ((ASTRONAUT, astronaut), (MAN, man)):
            head, tail = text.split(f'id = "{name}"')
            text = head + f'id = "{name}"' + (tail.replace('source = ""', lines, 1) if lines else tail)
        self.path.write_text(text)
        return self.path
