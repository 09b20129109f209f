"""cast.png: everybody's picture with id, name and screen time, as one image to print or to send."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from farm.quality.svg import clock_text
from farm.sheet.contents import PersonEntry

ACROSS = 6
CELL_PX, TEXT_PX, GAP_PX = 192, 44, 16
PAPER, INK, SOFT = (250, 250, 248), (24, 26, 28), (95, 100, 106)
SHOWN_MOST = 240  # a crowd's others are on the page


def sheet_png(title: str, people: Sequence[PersonEntry], pictures: Mapping[str, bytes]) -> bytes:
    """The sheet as a PNG; `pictures` are JPEG files by person's id."""
    shown = people[:SHOWN_MOST]
    across = max(1, min(ACROSS, len(shown)))
    down = -(-len(shown) // across)
    wide = across * (CELL_PX + GAP_PX) + GAP_PX
    top = 2 * GAP_PX + 24
    sheet = PIL.Image.new("RGB", (max(wide, 420), top + down * (CELL_PX + TEXT_PX + GAP_PX)), PAPER)
    draw = PIL.ImageDraw.Draw(sheet)
    large, small = PIL.ImageFont.load_default(20), PIL.ImageFont.load_default(15)
    more = f", {len(people) - len(shown)} more on the page" if len(people) > len(shown) else ""
    count = f"{len(people)} {'person' if len(people) == 1 else 'people'}{more}"
    draw.text((GAP_PX, GAP_PX), _fitting(draw, f"{title}: {count}", large, sheet.width - 2 * GAP_PX), INK, large)
    for number, person in enumerate(shown):
        x = GAP_PX + number % across * (CELL_PX + GAP_PX)
        y = top + number // across * (CELL_PX + TEXT_PX + GAP_PX)
        if data := pictures.get(person.id):
            with PIL.Image.open(io.BytesIO(data)) as face:
                sheet.paste(face.resize((CELL_PX, CELL_PX)), (x, y))
        name = f"{person.id} {person.name}".strip()
        draw.text((x, y + CELL_PX + 4), _fitting(draw, name, small, CELL_PX), INK, small)
        told = f"{clock_text(person.screen_time_s)} from {person.first}"
        draw.text((x, y + CELL_PX + 24), _fitting(draw, told, small, CELL_PX), SOFT, small)
    out = io.BytesIO()
    sheet.save(out, "PNG", optimize=True)
    return out.getvalue()


def _fitting(
    draw: PIL.ImageDraw.ImageDraw, text: str, font: PIL.ImageFont.FreeTypeFont | PIL.ImageFont.ImageFont, most_px: int
) -> str:
    """`text`, cut off with dots where it is longer than `most_px`; signs that the font lacks as question marks."""
    text = text.encode("latin-1", "replace").decode("latin-1")
    if draw.textlength(text, font) <= most_px:
        return text
    while text and draw.textlength(text + "...", font) > most_px:
        text = text[:-1]
    return text + "..."
