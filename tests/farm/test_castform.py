"""What a cast from outside may be: bounded before it is parsed, of the right kinds, changed by a program as asked."""

from __future__ import annotations

import time

import pytest

from core.errors import InputError, PlanError
from farm.castedit import PersonEdit, edit_people, recast
from farm.castform import cast_data, cast_people
from farm.casttoml import shown
from farm.seconds import seconds_of

BUSY_S = 5.0  # of this process; minutes where time grows with the square
UPLOAD = "upload:upl_" + "0" * 26

CAST = f"""# by hand
[rules]
minimum_face_px = 0

[[people]]
id = "p1"   # who
name = "Anna"
source = "{UPLOAD}"
source_face = 2
swapper = "mesh"
[[people.ranges]]
from = 0
to = 1
source = "{UPLOAD}"

[[people]]
id = "p2"
source = ["{UPLOAD}", "{UPLOAD[:-1]}1"]
[[people]]
id = "p3"
same_as = "p2"
"""


@pytest.mark.parametrize(
    "text",
    [
        ".".join(["a"] * 20_000) + " = 1",
        ".".join(['"a"'] * 20_000) + " = 1",
        "[" + " . ".join(["a"] * 20_000) + "]",
        "x = {" + ".".join(["a"] * 3000) + " = 1}",
        "x = " + "[" * 100_000,
        "x = " + "{a=" * 3000,
        "x = " + "1" * 5000,
        "x = 1" + "0" * (1 << 20),
        "x = '''" + "''x" * 100_000,
        '"' * 100_000,
        'x = "' + '\\"' * 400_000,
        'x = "' + '\\"""' * 200_000,
        'x = """' + '\\"""\n' * 200_000 + "\\",
        "x = '''" + "'\n" * 300_000,
        "x = '" + "''\n" * 300_000,
    ],
)
def test_what_would_take_long_is_refused_before(text: str) -> None:
    began_s = time.process_time()
    with pytest.raises(InputError, match="the cast"):
        cast_data(text)
    assert time.process_time() - began_s < BUSY_S


def test_texts_and_comments_may_have_dots() -> None:
    dots = "a.b.c.d.e.f.g.h.i.j.k"
    text = f'# {dots}\n[[people]]\nid = "{dots}"\nname = \'{dots} # "\'\nx = """\n{dots} "" \\""""\ny."{dots}".z = 1\n'
    (person,) = cast_people(text)
    assert (person["id"], person["name"], person["y"]) == (dots, f'{dots} # "', {dots: {"z": 1}})


@pytest.mark.parametrize("text", ["rules = {}", '[[people]]\nid = "p1"\nframes = {}', "[[people]]\nid = [1, {}]"])
@pytest.mark.parametrize("number", ["0x" + "f" * 9000, "0o" + "7" * 9000, str(1 << 63), str(-(1 << 63) - 1)])
def test_a_whole_number_is_of_64_bits(text: str, number: str) -> None:
    with pytest.raises(InputError, match="bits"):
        cast_people(text.format(number))
    assert len(shown([int("f" * 9000, 16)])) < 60


def test_the_least_and_the_greatest_whole_number_are_toml() -> None:
    assert cast_data(f"x = {(1 << 63) - 1}\ny = {-(1 << 63)}") == {"x": (1 << 63) - 1, "y": -(1 << 63)}


@pytest.mark.parametrize(
    "text",
    [
        "people = 3",
        'people = ["x"]',
        "film = 1",
        "[[people]]",
        "[[people]]\nid = 3",
        '[[people]]\nid = "p1"\nscreen_time_s = "soon"',
        '[[people]]\nid = "p1"\nscreen_time_s = nan',
        '[[people]]\nid = "p1"\nscreen_time_s = inf',
        '[[people]]\nid = "p1"\nframes = -1',
        '[[people]]\nid = "p1"\nthumbnail = 3',
        '[[people]]\nid = "p1"\nsource = 3',
        '[[people]]\nid = "p1"\nsource = [{a = 1}]',
        '[[people]]\nid = "p1"\nranges = [3]',
        '[[people]]\nid = "p1"\n[[people]]\nid = "p1"',
    ],
)
def test_a_cast_has_the_kinds_of_a_cast(text: str) -> None:
    with pytest.raises(InputError):
        cast_people(text)


def faces(text: str) -> dict[str, object]:
    return {one["id"]: one.get("source") for one in cast_people(text)}


def test_who_is_not_named_stays() -> None:
    other = "upload:upl_" + "9" * 26
    made = recast(CAST, {"p2": PersonEdit((other,))})
    assert faces(made) == {"p1": "", "p2": other, "p3": ""}
    p1, _, p3 = cast_people(made)
    assert not {"source_face", "ranges"} & p1.keys()
    assert (p1["name"], p1["swapper"]) == ("Anna", "mesh")
    assert "same_as" not in p3
    assert made.startswith("# by hand\n[rules]")
    assert recast(made, {"p2": PersonEdit((other,))}) == made
    assert faces(recast(made, {"p2": PersonEdit()})) == {"p1": "", "p2": "", "p3": ""}
    kept = cast_people(recast(CAST, {"p1": PersonEdit((other,)), "p3": PersonEdit(same_as="p1")}))
    assert [len(one.get("ranges", [])) for one in kept] == [1, 0, 0]
    assert kept[2]["same_as"] == "p1"


def test_a_person_who_is_not_there_is_named() -> None:
    with pytest.raises(InputError, match="no person p9"):
        recast(CAST, {"p9": PersonEdit((UPLOAD,))})


@pytest.mark.parametrize(
    "text",
    [
        'people = [{id = "p1"}]',
        '[[people]]\nid = "p1"\nsource = [\n  "upload:x"\n]\n',
        '[[people]]\nid = "p1"\nx = """\n[[people]]\n"""\n',
        '[[people]]\n"source" = "upload:x"\nid = "p1"\n',
    ],
)
def test_another_layout_is_told(text: str) -> None:
    with pytest.raises(PlanError, match="line by line"):
        edit_people(text, {"p1": PersonEdit((UPLOAD,))})


def test_times_have_few_digits() -> None:
    assert [seconds_of(text) for text in ("10", "1.5", "3/2", "0", ".5", "10.")] == [10, 1.5, 1.5, 0, 0.5, 10]
    for text in ("1e5000000", "1e-1000000", "1/0", "-1", "", " 1", "1_0", "1" * 10, "\u0663", "nan"):
        assert seconds_of(text) is None
