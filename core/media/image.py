"""Still images: the pictures a source face comes from."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from core.errors import InputError
from core.quiet import in_silence

MAX_PIXELS = 64 * 1024 * 1024
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
MAGIC = (b"\xff\xd8\xff", b"\x89PNG", b"BM", b"II*\0", b"MM\0*")
ORIENTATION, SIDEWAYS = 0x0112, (5, 6, 7, 8)  # of EXIF: which side of the picture is up
TAKEN = "a JPEG, PNG, WebP, BMP or TIFF image"


def is_image(path: Path | str) -> bool:
    """Whether the file begins as one of the formats above, whole or not."""
    try:
        with in_silence(), Image.open(path, formats=FORMATS):
            return True
    except UnidentifiedImageError:  # also what Pillow says of a file whose first structure is broken
        with Path(path).open("rb") as file:
            head = file.read(12)
        return head.startswith(MAGIC) or (head[:4], head[8:]) == (b"RIFF", b"WEBP")
    except (OSError, Image.DecompressionBombError, SyntaxError, ValueError, EOFError):
        return True  # reading it says what is wrong


def read_image(path: Path | str) -> NDArray[np.uint8]:
    """The image as uint8 RGB [h,w,3], turned as its EXIF orientation says, transparency over black.

    Only the formats above, by content and not by name. `InputError` for anything that cannot be read whole.
    """
    with _opened(path) as image:
        upright = ImageOps.exif_transpose(image)
        if upright.mode in {"RGBA", "LA", "PA"} or "transparency" in upright.info:
            rgba = upright.convert("RGBA")
            upright = Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba)
        return np.array(upright.convert("RGB"), np.uint8)


def image_size(path: Path | str) -> tuple[int, int]:
    """Height and width in pixels of what `read_image` gives, in a third of its memory. `InputError` as there."""
    with _opened(path) as image:
        image.load()
        turned = image.getexif().get(ORIENTATION, 1) in SIDEWAYS
        return (image.width, image.height) if turned else (image.height, image.width)


@contextmanager
def _opened(path: Path | str) -> Iterator[Image.Image]:
    """The image as its file's head describes it; what cannot be read, then or in the context, is an `InputError`."""
    where = str(path)
    try:
        with in_silence():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise InputError(
                        f"claims {image.width}x{image.height} pixels", where=where, hint="scale the image down first"
                    )
                yield image
    except FileNotFoundError:
        raise InputError("no such file", where=where, hint="check the path") from None
    except IsADirectoryError:
        raise InputError("is a directory", where=where, hint=f"give {TAKEN}") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise InputError("claims too many pixels", where=where, hint="scale the image down first") from error
    except UnidentifiedImageError as error:
        raise InputError("is not an image we read", where=where, hint=f"give {TAKEN}") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"cannot be read as an image: {reason}", where=where, hint="export it again") from error
