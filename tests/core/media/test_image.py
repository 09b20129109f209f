"""Source pictures: what is broken is refused in one error, and nothing else is said about it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.errors import InputError
from core.media.image import is_image, read_image

PICTURE = np.random.default_rng(7).integers(0, 255, (48, 64, 3), dtype=np.uint8)


def tiff(compression: str) -> bytearray:
    data = io.BytesIO()
    Image.fromarray(PICTURE).save(data, "TIFF", compression=compression)
    return bytearray(data.getvalue())


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_deflate"])
@pytest.mark.parametrize("damage", ["strip", "cut", "tag"])
def test_a_broken_tiff_prints_nothing(
    compression: str, damage: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = tiff(compression)
    if damage == "strip":
        middle = len(data) // 2
        data[middle : middle + 16] = b"\xff" * 16
    elif damage == "cut":
        del data[len(data) * 2 // 3 :]
    else:  # the first entry of the directory, the picture's width, claims 2**24 values
        first = int.from_bytes(data[4:8], "little") + 2
        data[first + 4 : first + 8] = (1 << 24).to_bytes(4, "little")
    path = tmp_path / "broken.tif"
    path.write_bytes(data)
    assert is_image(path)
    with pytest.raises(InputError, match=r"broken\.tif: "):
        read_image(path)
    assert capfd.readouterr() == ("", "")


def test_a_whole_tiff_keeps_its_pixels_and_stderr_is_back_after_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "whole.tif"
    path.write_bytes(tiff("tiff_lzw"))
    np.testing.assert_array_equal(read_image(path), PICTURE)
    with Path("/dev/stderr").open("w") as stderr:
        stderr.write("heard\n")
    assert capfd.readouterr() == ("", "heard\n")


def test_a_picture_that_claims_too_many_pixels_is_refused(tmp_path: Path) -> None:
    Image.new("1", (9600, 9600)).save(tmp_path / "bomb.png")
    with pytest.raises(InputError, match="pixels"):
        read_image(tmp_path / "bomb.png")
