"""The labels of a film with replaced faces: a visible one in the picture and one in the file's metadata.

The visible label stands at the top right of the picture as it is displayed, is upright there and undistorted, and is
drawn in the frame's own planes: white letters with a black rim on a darkened plate. Letters are at least 5 % of the
displayed picture's shortest side high (GB 45438-2025). The same film gives the same label for every frame.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from core.errors import InputError
from core.media.colour import Conversion, conversion
from core.media.planes import Plane
from core.records import Float32Array, MediaIndex, VideoInfo

TEXT = "AI MODIFIED"
CAP_FRACTION = Fraction(1, 20)
LEGIBLE_CAP_PX = 8  # letters are this high where the picture is wide enough, whatever its size
PLATE_OPACITY = 0.6
PRODUCER = "face-farm"


@dataclass(frozen=True)
class PlaneOverlay:
    """What is drawn on one plane at column `x`, row `y`: out = sample * (1 - cover) + ink; both float32 [h,w]."""

    x: int
    y: int
    cover: Float32Array
    ink: Float32Array


@dataclass(frozen=True)
class Label:
    """The label of one film, ready for its frames."""

    cap_px: int  # height of a capital letter as displayed
    box: tuple[int, int, int, int]  # x0, y0, x1, y1 of the plate in coded luma pixels
    overlays: tuple[PlaneOverlay, ...]  # in plane order
    top_code: int

    def draw(self, planes: Sequence[Plane]) -> None:
        """Draw on the writable planes of a frame of the film."""
        for plane, over in zip(planes, self.overlays, strict=True):
            high, wide = over.cover.shape
            region = plane[over.y : over.y + high, over.x : over.x + wide]
            drawn = np.rint(region.astype(np.float32) * (1 - over.cover) + over.ink)
            region[...] = np.clip(drawn, 0, self.top_code).astype(plane.dtype)


def draw_label(planes: Sequence[Plane], index: MediaIndex, pix_fmt: str, text: str = TEXT) -> None:
    """Draw the label on one frame's writable planes. Many frames of a film share one `label_for`."""
    label_for(index, pix_fmt, text).draw(planes)


def label_for(index: MediaIndex, pix_fmt: str, text: str = TEXT) -> Label:
    """The label of a film whose frames are in the working format `pix_fmt`.

    Text wider than the picture is broken into lines, never made lower than CAP_FRACTION allows. `InputError` when
    the picture is too small to hold it.
    """
    video = index.video
    colours = conversion(pix_fmt, video.colour, video.height)
    stretch_x, stretch_y = _pixel_shape(video)
    matrix = _orientation(video)
    coded = (float(video.width * stretch_x), float(video.height * stretch_y))
    wide, high = coded if matrix[0] else coded[::-1]
    cover, letters, cap_px = _artwork(text, wide, high)
    # From the displayed picture to the coded one: mirror and transpose, then take the stretch out.
    cover, letters = (_to_coded(picture, matrix) for picture in (cover, letters))
    shown_high, shown_wide = cover.shape
    coded_wide = min(video.width, math.ceil(shown_wide / stretch_x))
    coded_high = min(video.height, math.ceil(shown_high / stretch_y))
    if coded_wide != shown_wide or coded_high != shown_high:
        size = (coded_wide, coded_high)
        cover, letters = (
            np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.float32)
            for picture in (cover, letters)
        )
    # The label touches the displayed top right corner's margin, which the artwork includes.
    a, b, c, d = matrix
    at_right, at_bottom = (a > 0, d < 0) if a else (b < 0, c > 0)
    x = video.width - coded_wide if at_right else 0
    y = video.height - coded_high if at_bottom else 0
    overlays = _overlays((cover, letters), (x, y), colours, video)
    return Label(cap_px, (x, y, x + coded_wide, y + coded_high), overlays, colours.layout.top_code)


def aigc_tags(produce_id: str, producer: str = PRODUCER) -> dict[str, str]:
    """The container tag `AIGC` of a film with replaced faces: the fields of GB 45438-2025, Annex E, as JSON."""
    fields = {
        "Label": "1",
        "ContentProducer": producer,
        "ProduceID": produce_id,
        "ReservedCode1": "",
        "ContentPropagator": "",
        "PropagateID": "",
        "ReservedCode2": "",
    }
    return {"AIGC": json.dumps(fields, ensure_ascii=False, separators=(",", ":"))}


# ---------------------------------------------------------------- geometry


def _pixel_shape(video: VideoInfo) -> tuple[Fraction, Fraction]:
    """Displayed size of a coded pixel, across and down; the longer axis is stretched, as in core.geometry."""
    ratio = video.sample_aspect_ratio if video.sample_aspect_ratio > 0 else Fraction(1)
    return max(ratio, Fraction(1)), 1 / min(ratio, Fraction(1))


def _orientation(video: VideoInfo) -> tuple[int, int, int, int]:
    """(a, b, c, d) of displayed (x, y) = (a x + c y, b x + d y), each -1, 0 or 1: quarter turns and mirrors.

    From the display matrix where there is one (it may mirror), else from the rotation; other angles count as the
    nearest quarter turn.
    """
    if video.display_matrix is not None:
        a, b, c, d = (video.display_matrix[place] / 65536 for place in (0, 1, 3, 4))
    else:
        angle = math.radians(video.rotation)
        a, b, c, d = math.cos(angle), -math.sin(angle), math.sin(angle), math.cos(angle)
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return (-1 if a < 0 else 1), 0, 0, (-1 if d < 0 else 1)
    return 0, (-1 if b < 0 else 1), (-1 if c < 0 else 1), 0


def _to_coded(picture: Float32Array, matrix: tuple[int, int, int, int]) -> Float32Array:
    """A picture [h,w] as displayed, turned into the orientation of the coded frame."""
    a, b, c, d = matrix
    turned = picture[::d, ::a] if a else picture.T[::c, ::b]
    return np.ascontiguousarray(turned)


# ---------------------------------------------------------------- artwork


def _artwork(text: str, wide: float, high: float) -> tuple[Float32Array, Float32Array, int]:
    """Cover and letters, float32 [h,w] in 0..1 with the margin to the picture's corner, and the height of capitals.

    Letters are a part of the cover. `wide` and `high` are the displayed picture's.
    """
    least = math.ceil(CAP_FRACTION * Fraction(min(wide, high)))
    for cap in range(max(least, LEGIBLE_CAP_PX), least - 1, -1):
        art = _draw_lines([text], cap)
        if art[0].shape[1] <= wide and art[0].shape[0] <= high / 3:
            return art
    lines = _broken(text, least, int(wide))
    art = _draw_lines(lines, least)
    if art[0].shape[0] > high or art[0].shape[1] > wide:
        raise InputError(f"the picture is too small to be labelled: {round(wide)}x{round(high)}")
    return art


def _broken(text: str, cap: int, wide: int) -> list[str]:
    """`text` in lines that fit into `wide` pixels: broken at spaces, and inside a word where it must be."""
    lines: list[str] = []
    for word in text.split():
        if lines and _line_width(f"{lines[-1]} {word}", cap) <= wide:
            lines[-1] = f"{lines[-1]} {word}"
            continue
        piece = ""
        for letter in word:
            if piece and _line_width(piece + letter, cap) > wide:
                lines.append(piece)
                piece = ""
            piece += letter
        lines.append(piece)
    return lines


def _line_width(line: str, cap: int) -> int:
    return int(_draw_lines([line], cap)[0].shape[1])


def _font(cap: int) -> tuple[ImageFont.FreeTypeFont, int]:
    """Pillow's own TrueType font (no file of the system) with capitals at least `cap` pixels high, and their height."""
    size = cap + cap // 4  # capitals of this font are about 0.7 of its size
    while True:
        font = ImageFont.load_default(size)
        if not isinstance(font, ImageFont.FreeTypeFont):
            raise InputError("this Pillow cannot draw TrueType letters", hint="install Pillow from its wheel")
        _, top, _, bottom = font.getbbox("E")
        if bottom - top >= cap:
            return font, int(bottom - top)
        size += 1


def _draw_lines(lines: list[str], cap: int) -> tuple[Float32Array, Float32Array, int]:
    font, cap_px = _font(cap)
    rim = max(1, round(cap_px / 12))
    pad = rim + max(1, round(cap_px / 3))
    margin = max(1, round(cap_px / 2))
    boxes = [font.getbbox(line) for line in lines]
    text_wide = max(math.ceil(box[2]) - math.floor(box[0]) for box in boxes)
    top = math.floor(font.getbbox("E")[1])
    pitch = cap_px + cap_px // 2
    text_high = cap_px + pitch * (len(lines) - 1)
    plate_wide, plate_high = text_wide + 2 * pad, text_high + 2 * pad
    size = (plate_wide + margin, plate_high + margin)
    plate, rims, letters = (Image.new("L", size, 0) for _ in range(3))
    ImageDraw.Draw(plate).rectangle((0, margin, plate_wide - 1, margin + plate_high - 1), fill=255)
    for row, (line, box) in enumerate(zip(lines, boxes, strict=True)):
        left = pad + text_wide - (math.ceil(box[2]) - math.floor(box[0])) - math.floor(box[0])  # flush right
        place = (left, margin + pad + pitch * row - top)
        ImageDraw.Draw(letters).text(place, line, fill=255, font=font)
        ImageDraw.Draw(rims).text(place, line, fill=255, font=font, stroke_width=rim)
    base, around, ink = (np.asarray(picture, np.float32) / np.float32(255) for picture in (plate, rims, letters))
    base *= np.float32(PLATE_OPACITY)
    cover = 1 - (1 - base) * (1 - around) * (1 - ink)
    return np.asarray(cover, np.float32), np.asarray(ink, np.float32), cap_px


# ---------------------------------------------------------------- planes


def _overlays(
    artwork: tuple[Float32Array, Float32Array], corner: tuple[int, int], colours: Conversion, video: VideoInfo
) -> tuple[PlaneOverlay, ...]:
    """The artwork, its corner at luma pixel `corner`, on the grid of each plane."""
    layout = colours.layout
    black = colours.to_codes(np.zeros((3, 1), np.float32))[:, 0]
    white = colours.to_codes(np.full((3, 1), colours.white, np.float32))[:, 0]
    overlays = []
    for number in range(layout.colour_planes):
        subsampled = layout.kind == "yuv" and number > 0
        at_x, at_y, (over, ink) = _averaged(artwork, corner, layout.step if subsampled else (1, 1), video)
        inked = (over - ink) * black[number] + ink * white[number]
        overlays.append(PlaneOverlay(at_x, at_y, over, np.asarray(inked, np.float32)))
    if layout.alpha:  # a label that is not composited would not be seen
        overlays.append(PlaneOverlay(*corner, artwork[0], np.asarray(artwork[0] * layout.top_code, np.float32)))
    return tuple(overlays)


def _averaged(
    pictures: tuple[Float32Array, ...], corner: tuple[int, int], step: tuple[int, int], video: VideoInfo
) -> tuple[int, int, list[Float32Array]]:
    """Pictures at luma pixel `corner` averaged to samples: the corner among samples, and the averages.

    A sample at the frame's odd edge stands for the pixels that exist.
    """
    (x, y), (step_x, step_y) = corner, step
    high, wide = pictures[0].shape
    x0, y0 = x // step_x, y // step_y
    x1, y1 = -(-(x + wide) // step_x), -(-(y + high) // step_y)
    shape = ((y1 - y0) * step_y, (x1 - x0) * step_x)
    inside = np.zeros(shape, np.float32)
    inside[: video.height - y0 * step_y, : video.width - x0 * step_x] = 1
    count = inside.reshape(y1 - y0, step_y, x1 - x0, step_x).sum(axis=(1, 3))
    averages = []
    for picture in pictures:
        padded = np.zeros(shape, np.float32)
        padded[y - y0 * step_y : y - y0 * step_y + high, x - x0 * step_x : x - x0 * step_x + wide] = picture
        sums = padded.reshape(y1 - y0, step_y, x1 - x0, step_x).sum(axis=(1, 3))
        averages.append(np.asarray(sums / count, np.float32))
    return x0, y0, averages
