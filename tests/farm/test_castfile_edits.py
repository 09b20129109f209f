"""A cast.toml as people and their editors write it: the documentation's examples, the command's settings, encodings."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from core.errors import FarmError, InputError
from core.records import NOBODY, Person, RoleSpec, Span, SwapOptions
from farm.castfile import CastRequest, read_cast, tracks_digest, write_cast
from tests.follow_films import film
from tests.people_tables import tracks_of

INDEX = film(300, 1, 30)
TRACKS = tracks_of(np.eye(5, 128), [0, 30, 60, 90, 100], [20, 50, 90, 120, 101])
PEOPLE = (Person("p1", (0, 2, 4)), Person("p2", (1, 3)))
DIGEST = tracks_digest(TRACKS)
DOCS = Path(__file__).parents[2] / "docs" / "cast.md"
ANNA = 'source = "anna.png"'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A cast as `farm cast` writes it, with the image of a source beside it and another in the folder above."""
    folder = tmp_path / "film.cast"
    folder.mkdir()
    for image in (folder / "anna.png", tmp_path / "astronaut.png"):
        cv2.imwrite(str(image), np.zeros((4, 4, 3), np.uint8))
    write_cast(folder / "cast.toml", "film.mp4", INDEX, DIGEST, PEOPLE, TRACKS)
    return folder / "cast.toml"


def asked(path: Path, *lines: str, swapper: str = "mesh", options: SwapOptions | None = None) -> CastRequest:
    """The cast with `lines` in place of the empty sources of p1 and p2."""
    text = path.read_text()
    for line in lines:
        text = text.replace('source = ""\n', f"{line}\n", 1)
    path.write_text(text)
    return read_cast(path, INDEX, TRACKS, DIGEST, swapper=swapper, options=options)


def test_the_documentations_examples_are_casts(path: Path) -> None:
    blocks = re.findall(r"^```toml\n(.*?)^```", DOCS.read_text(), re.DOTALL | re.MULTILINE)
    head = path.read_text().split("\n[[people]]")[0]
    path.write_text("\n".join([head, *blocks]))
    request = read_cast(path, INDEX, TRACKS, DIGEST)
    assert [(one.id, one.tracks, one.role) for one in request.plan.people] == [("p1", (0, 2, 4), 0), ("p2", (1, 3), 1)]
    assert request.plan.people[1].spans == (Span(60, 105, 2),)
    assert [(role.swapper, role.options) for role in request.roles] == [
        ("mesh", SwapOptions(colour="light")),
        ("inswapper_128", SwapOptions(strength=0.8)),
        ("inswapper_128", SwapOptions(strength=0.5)),
    ]
    assert request.notes == ()


def test_the_head_of_the_file_tells_what_is_for_networks(path: Path) -> None:
    text = path.read_text()
    told = text[text.index("#     swapper") : text.index("#     never")]
    assert "a network" in told
    before, after = told.split("network")
    assert "colour" in before
    for key in ("strength", "boost", "masks", "mask_blur", "mask_padding", "occlusion_model", "region_model"):
        assert key in after
    assert "mostly smaller" in text
    assert max(map(len, text.splitlines())) <= 120


# ---------------------------------------------------------------- settings of the command


def test_false_is_not_left_out(path: Path) -> None:
    """What a person says replaces the command's, also where it is false; so does a range's."""
    options = SwapOptions(enhancer="gfpgan_1.4", enhancer_may_go=True)
    ranged = "[[people.ranges]]\nto = 1.5\nenhancer_may_go = false"
    request = asked(path, f"{ANNA}\nenhancer_may_go = false", f"{ANNA}\n{ranged}", options=options)
    assert [role.options.enhancer_may_go for role in request.roles] == [False, True]
    assert request.plan.people[1].spans == (Span(0, 45, 0),)
    assert request.notes == ()


def test_false_and_true_are_two_values(path: Path) -> None:
    with pytest.raises(InputError, match="two values of enhancer_may_go for one person"):
        asked(path, f"{ANNA}\nenhancer_may_go = true", 'same_as = "p1"\nenhancer_may_go = false')


@pytest.mark.parametrize(
    ("lines", "options", "unread"),
    [
        ("", SwapOptions(enhancer_may_go=True), ["enhancer-may-go"]),
        ("", SwapOptions(enhancer_weight=0.2), ["enhancer-weight"]),
        ('enhancer = "gfpgan_1.4"', SwapOptions(enhancer_weight=0.2, enhancer_may_go=True), ["enhancer-weight"]),
        ('enhancer = "codeformer"', SwapOptions(enhancer_weight=0.2, enhancer_may_go=True), []),
        ('enhancer = "codeformer"\nenhancer_weight = 0.9', SwapOptions(enhancer_weight=0.2), ["enhancer-weight"]),
        ('enhancer = ""', SwapOptions(enhancer="gfpgan_1.4", enhancer_blend=0.1), ["enhancer", "enhancer-blend"]),
        ('swapper = "inswapper_128"', SwapOptions(strength=0.4, boost=2), []),
        ('colour = "light"', SwapOptions(colour="mean", paste="poisson"), ["colour"]),
        ("", SwapOptions(strength=0.4), ["strength"]),
    ],
)
def test_what_nobody_takes_from_the_command_is_noted(
    path: Path, lines: str, options: SwapOptions, unread: list[str]
) -> None:
    request = asked(path, f"{ANNA}\n{lines}", options=options)
    assert request.notes == tuple(f"cast.toml: nobody in the cast takes --{name}" for name in unread)


def test_a_swapper_that_nobody_takes_is_noted(path: Path) -> None:
    request = asked(path, f'{ANNA}\nswapper = "mesh"', swapper="inswapper_128")
    assert request.notes == ("cast.toml: nobody in the cast takes --swapper",)
    other = asked(path, f"{ANNA}", swapper="inswapper_128")  # p2
    assert [role.swapper for role in other.roles] == ["mesh", "inswapper_128"]
    assert other.notes == ()


def test_a_weight_of_the_command_goes_to_the_enhancers_that_read_it(path: Path) -> None:
    lines = [f'{ANNA}\nenhancer = "{name}"' for name in ("gfpgan_1.4", "codeformer")]
    request = asked(path, *lines, options=SwapOptions(enhancer_weight=0.2))
    assert [role.options.enhancer_weight for role in request.roles] == [SwapOptions.enhancer_weight, 0.2]
    path.write_text(path.read_text().replace('"gfpgan_1.4"', '"gfpgan_1.4"\nenhancer_weight = 0.2'))
    with pytest.raises(FarmError, match=r"p1: enhancer gfpgan_1\.4 does not read enhancer_weight"):
        read_cast(path, INDEX, TRACKS, DIGEST)


# ---------------------------------------------------------------- ranges without anybody


@pytest.mark.parametrize(
    "setting", ["strength = 0.5", 'colour = "light"', "source_face = 2", "enhancer_may_go = false"]
)
def test_a_range_of_nobody_has_no_settings(path: Path, setting: str) -> None:
    with pytest.raises(InputError) as error:
        asked(path, f'{ANNA}\n[[people.ranges]]\nto = 2\nsource = ""\n{setting}')
    told = 'p1: range from 0 to 2: source = "", which is nobody, and settings; leave one of them out'
    assert str(error.value) == f"{path}: {told}"


def test_a_range_of_nobody(path: Path) -> None:
    person = asked(path, f'{ANNA}\n[[people.ranges]]\nto = 2\nsource = ""').plan.people[0]
    assert person.spans == (Span(0, 60, NOBODY),)


# ---------------------------------------------------------------- encodings


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_what_editors_do_to_a_text(path: Path, mark: bytes, end: str) -> None:
    """Byte order mark, line ends and letters beyond ASCII."""
    source = path.with_name("Zoë.png")
    source.write_bytes(path.with_name("anna.png").read_bytes())
    text = path.read_text().replace('source = ""', 'source = "Zoë.png"', 1)
    path.write_bytes(mark + text.replace("\n", end).encode())
    request = read_cast(path, INDEX, TRACKS, DIGEST)
    assert request.roles == (RoleSpec(replace(request.roles[0].source, path=str(source)), "mesh"),)


@pytest.mark.parametrize("code", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"])
def test_wide_letters_are_told(path: Path, code: str) -> None:
    path.write_bytes(path.read_text().encode(code))
    with pytest.raises(InputError) as error:
        read_cast(path, INDEX, TRACKS, DIGEST)
    assert str(error.value) == f"{path}: saved as UTF-16 or UTF-32, not as UTF-8; save it as UTF-8"


def test_other_letters_are_told_with_their_line(path: Path) -> None:
    path.write_bytes(b'\xef\xbb\xbfa = 1\r\nname = "\xe9"\r\n')
    with pytest.raises(InputError, match=r"not UTF-8 \(at line 2\)"):
        read_cast(path, INDEX, TRACKS, DIGEST)
