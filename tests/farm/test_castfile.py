"""cast.toml written and read: what a person may write into it, and one line for whatever cannot be meant."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from dataclasses import replace
from datetime import time
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from core.errors import FarmError, InputError, ModelError, StorageError
from core.records import NOBODY, MediaIndex, Person, RoleSpec, SourceSpec, Span, SwapOptions, TrackTable
from farm.castfile import CastRequest, check_cast, read_cast, tracks_digest, write_cast
from farm.casttoml import seconds_of
from tests.follow_films import film
from tests.people_tables import tracks_of

Edit = Callable[[str], str]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the images of two sources."""
    (tmp_path / "faces").mkdir()
    for name in ("anna.png", "anna 2.png", "bert.png"):
        cv2.imwrite(str(tmp_path / "faces" / name), np.zeros((4, 4, 3), np.uint8))
    return tmp_path


# 30000/1001 frames a second, from a time that is not 0: three tracks of p1, one of p2 and p3.
INDEX = replace(film(300, 1001, 30000), pts=np.arange(300) * 1001 + 90_000, duration=np.full(300, 1001))
TRACKS: TrackTable = tracks_of(np.eye(5, 128), [0, 30, 60, 90, 100], [20, 50, 90, 120, 101])
PEOPLE = (Person("p1", (0, 1, 2)), Person("p2", (3,)), Person("p3", (4,)))
DIGEST = tracks_digest(TRACKS)


def written(folder: Path, index: MediaIndex = INDEX) -> Path:
    path = folder / "cast.toml"
    write_cast(path, 'a "film".mp4', index, DIGEST, PEOPLE, TRACKS, thumbnails={"p1": "people/p1.jpg"})
    return path


def asked(folder: Path, **lines: str) -> CastRequest:
    """The cast with `lines` in place of the empty sources of p1, p2, p3, and more at the end as `more`."""
    path = written(folder)
    text = path.read_text()
    for person in ("p1", "p2", "p3"):
        head, tail = text.split(f'id = "{person}"')
        text = f'{head}id = "{person}"' + tail.replace('source = ""\n', lines.get(person, 'source = ""') + "\n", 1)
    path.write_text(text + lines.get("more", ""))
    return read_cast(path, INDEX, TRACKS, DIGEST)


def source(folder: Path, *names: str, face: int | None = None) -> SourceSpec:
    first, *more = (str(folder / "faces" / name) for name in names)
    return SourceSpec(first, face, tuple(more))


ANNA = 'source = "faces/anna.png"'
BERT = 'source = "faces/bert.png"'


def test_what_is_written(folder: Path) -> None:
    text = written(folder).read_text()
    data = tomllib.loads(text)
    assert data["film"] == {
        "name": 'a "film".mp4',
        "sha256": INDEX.sha256,
        "frames": 300,
        "analysis": DIGEST,
        "version": 1,
    }
    assert data["rules"] == {"minimum_face_px": 0, "share_sources": False}
    assert [one["id"] for one in data["people"]] == ["p1", "p2", "p3"]
    assert data["people"][0] == {
        "id": "p1",
        "name": "",
        "thumbnail": "people/p1.jpg",
        "screen_time_s": 2.336,  # 70 frames
        "frames": 70,
        "first": "00:00:00.000",
        "last": "00:00:02.969",  # of frame 89
        "tracks": [0, 1, 2],
        "source": "",
    }
    for told in ("same_as", "never", "people.ranges", "rules.skip", "skip = true", "source_face", "minimum_face_px"):
        assert told in text
    assert not list(folder.glob(".*"))


def test_many_tracks_and_people_come_back(folder: Path) -> None:
    n = 3000
    table = tracks_of(np.eye(n, 4), np.arange(n), np.arange(n) + 9)
    people = tuple(Person(f"p{k + 1}", tuple(range(k, n, 200))) for k in range(200))
    path = folder / "cast.toml"
    index = film(n + 10)
    write_cast(path, "crowd.mp4", index, tracks_digest(table), people, table)
    assert max(map(len, path.read_text().splitlines())) <= 120
    path.write_text(path.read_text().replace('source = ""', ANNA))
    request = read_cast(path, index, table, tracks_digest(table))
    assert [(one.id, one.tracks, one.role) for one in request.plan.people] == [(p.id, p.tracks, 0) for p in people]
    assert request.roles == (RoleSpec(source(folder, "anna.png"), "mesh"),)


def test_a_place_that_cannot_be_written(folder: Path) -> None:
    with pytest.raises(StorageError):
        write_cast(folder / "nowhere" / "cast.toml", "f", INDEX, DIGEST, PEOPLE, TRACKS)


# ---------------------------------------------------------------- what may be asked


def test_sources(folder: Path) -> None:
    request = asked(folder, p1=ANNA, p2='source = ["faces/bert.png", "faces/anna 2.png"]\nsource_face = 2', p3=ANNA)
    assert [one.role for one in request.plan.people] == [0, 1, 0]
    assert request.roles == (
        RoleSpec(source(folder, "anna.png"), "mesh"),
        RoleSpec(source(folder, "bert.png", "anna 2.png", face=2), "mesh"),
    )
    assert request.notes == ()


def test_settings_are_the_persons_own_and_else_the_commands(folder: Path) -> None:
    path = written(folder)
    lines = (
        f'{ANNA}\nswapper = "inswapper_128"\nstrength = 0.5\nboost = 2\nmasks = "box,hull"\nmask_padding = 0.1\n'
        'mask_blur = 0\npaste = "poisson"\ncolour = "light"\nprecision = "fp16"\nenhancer = ""\nname = "Anna"'
    )
    text = path.read_text().replace('name = ""\n', "", 1).replace('source = ""', lines, 1)
    text = text.replace('source = ""', ANNA, 1)
    path.write_text(text)
    options = SwapOptions(boost=4, colour="mean", enhancer="gfpgan_1.4", enhancer_blend=0.6)
    request = read_cast(path, INDEX, TRACKS, DIGEST, swapper="mesh", options=options)
    assert request.roles[0] == RoleSpec(
        source(folder, "anna.png"),
        "inswapper_128",
        SwapOptions(
            boost=2,
            strength=0.5,
            masks=("box", "hull"),
            mask_blur=0.0,
            mask_padding=(0.1, 0.1, 0.1, 0.1),
            paste="poisson",
            colour="light",
            enhancer=None,
            enhancer_blend=0.6,
            precision="fp16",
        ),
    )
    # p2 sets nothing: the command's options, but those that the mesh does not read.
    assert request.roles[1] == RoleSpec(source(folder, "anna.png"), "mesh", replace(options, boost=1))
    assert request.names["p1"] == "Anna"


def test_ranges(folder: Path) -> None:
    lines = f"""{ANNA}
[[people.ranges]]
from = "00:00:00.667"
to = 1.0
skip = true
[[people.ranges]]
from = 1
to = "00:00:02"
source = "faces/bert.png"
[[people.ranges]]
from = "0:02.0"
to = "00:00:02.402"
swapper = "inswapper_128"
[[people.ranges]]
from = 2.402
source = ""
"""
    person = asked(folder, p1=lines).plan.people[0]
    # Frame k is shown at k * 1001/30000 s: frame 20 at 0.6673, 30 at 1.001, 60 at 2.002, 72 at 2.4024.
    assert person.role == 0
    assert person.spans == (Span(20, 30, NOBODY), Span(30, 60, 1), Span(60, 72, 2), Span(72, 300, NOBODY))
    request = asked(folder, p1=lines)
    assert [spec.swapper for spec in request.roles] == ["mesh", "mesh", "inswapper_128"]


def test_a_frames_own_timecode_begins_with_it(folder: Path) -> None:
    """What the file itself says of first and last can be copied into a range."""
    for frame in (1, 29, 30, 31, 299):
        code = f"00:00:{frame * 1001 * 1000 // 30000 // 1000:02d}.{frame * 1001 * 1000 // 30000 % 1000:03d}"
        spans = asked(folder, p1=f'{ANNA}\n[[people.ranges]]\nfrom = "{code}"\nskip = true').plan.people[0].spans
        assert spans == (Span(frame, 300, NOBODY),)
        spans = asked(folder, p1=f'{ANNA}\n[[people.ranges]]\nto = "{code}"\nskip = true').plan.people[0].spans
        assert spans == (Span(0, frame, NOBODY),)


def test_a_person_with_a_source_for_a_part_only(folder: Path) -> None:
    request = asked(folder, p2=f"[[people.ranges]]\nfrom = 1\nto = 4\n{BERT}")
    assert request.plan.people[1].role == NOBODY
    assert request.plan.people[1].spans == (Span(30, 120, 0),)


def test_merging(folder: Path) -> None:
    request = asked(folder, p1="strength = 1.0", p3=f'same_as = "p2"\n{BERT}', p2='same_as = "p1"')
    assert [(one.id, one.tracks, one.role) for one in request.plan.people] == [("p1", (0, 1, 2, 3, 4), 0)]
    twice = asked(folder, p1=BERT, p3=f'same_as = "p1"\n{BERT}')
    assert [(one.id, one.tracks) for one in twice.plan.people] == [("p1", (0, 1, 2, 4)), ("p2", (3,))]


def test_splitting(folder: Path) -> None:
    path = written(folder)
    text = path.read_text().replace('tracks = [0, 1, 2]\nsource = ""', f"tracks = [0, 2]\n{ANNA}")
    path.write_text(text + f'[[people]]\nid = "the other"\ntracks = [1]\n{BERT}\n')
    plan = read_cast(path, INDEX, TRACKS, DIGEST).plan
    assert [(one.id, one.tracks, one.role) for one in plan.people] == [
        ("p1", (0, 2), 0),
        ("p2", (3,), NOBODY),
        ("p3", (4,), NOBODY),
        ("the other", (1,), 1),
    ]


def test_rules(folder: Path) -> None:
    path = written(folder)
    rules = "minimum_face_px = 40.5\nshare_sources = true\n[[rules.skip]]\nfrom = 1\nto = 2\n"
    rules += "[[rules.skip]]\nbox = [0, 0.5, 0.25, 1]"
    text = re.sub(r"minimum_face_px = 0 .*\nshare_sources = false.*", rules, path.read_text())
    path.write_text(text.replace('source = ""', ANNA, 1))
    plan = read_cast(path, INDEX, TRACKS, DIGEST).plan
    assert (plan.least_px, plan.share) == (40.5, True)
    assert [(ban.first, ban.end, ban.box) for ban in plan.bans] == [(30, 60, None), (0, 300, (0.0, 0.5, 0.25, 1.0))]
    assert read_cast(path, INDEX, TRACKS, DIGEST, least_face_px=64).plan.least_px == 64


def test_never(folder: Path) -> None:
    request = asked(folder, p1=ANNA, p2="never = true", p3='same_as = "p2"')
    assert [(one.id, one.role) for one in request.plan.people] == [("p1", 0), ("p2", NOBODY)]


def test_notes(folder: Path) -> None:
    path = written(folder)
    text = path.read_text().replace("tracks = [3]", "tracks = []")
    ranged = f'{ANNA}\n[[people.ranges]]\nfrom = "00:00:05"\nskip = true'
    path.write_text(text.replace('source = ""', ranged, 1))
    notes = read_cast(path, INDEX, TRACKS, DIGEST).notes
    assert len(notes) == 2
    assert "1 of 5 tracks belong to nobody" in notes[0]
    assert "p1 is not to be seen in the frames 150 to 299" in notes[1]


# ---------------------------------------------------------------- what cannot be meant


def ranges(*parts: str) -> str:
    """Anna, but for these parts of the film; lines are parted by semicolons."""
    return ANNA + "".join(f"\n[[people.ranges]]\n{part}".replace("; ", "\n") for part in parts)


SAME = 'same_as = "p1"'
FIRST = "\n[[people]]"
SKIP = "\n[[rules.skip]]\n"
NEW = '[[people]]\nid = "x"\n'


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ({}, "nobody in the cast has a source"),
        ({"p1": f"{ANNA}\nsorce = 1"}, "p1: unknown key 'sorce'; did you mean source"),
        ({"p2": f"{ANNA}\nzzzz = 1"}, "p2: unknown key 'zzzz'; it may have"),
        ({"p1": 'source = "faces/gone.png"'}, 'p1: there is no source image "faces/gone.png"; paths start at'),
        ({"p1": 'source = ["faces/anna.png", ""]'}, 'p1: there is no source image ""'),
        ({"p1": 'source = "faces"'}, "p1: there is no source image"),
        ({"p1": 'source = "a\\u0000b"'}, "p1: there is no source image"),
        ({"p1": "source = 3"}, "p1: source = 3; write a text"),
        ({"p1": f"{ANNA}\nsource_face = 0"}, "p1: source_face = 0; write a whole number of at least 1"),
        ({"p1": "source_face = 1", "p2": BERT}, "p1: source_face without a source"),
        ({"p1": f"{ANNA}\nstrength = 1.5"}, "p1: strength = 1.5; write a number from 0 to 1"),
        ({"p1": f"{ANNA}\nstrength = nan"}, "p1: strength = NaN; write"),
        ({"p1": f"{ANNA}\nstrength = true"}, "p1: strength = true; write"),
        ({"p1": f"{ANNA}\nstrength = 1{400 * '0'}"}, "p1: strength = 1000"),
        ({"p1": f"{ANNA}\nboost = 2.5"}, "p1: boost = 2.5; write a whole number from 1 to 8"),
        ({"p1": f"{ANNA}\nboost = 2"}, "p1: swapper mesh does not read boost"),
        ({"p1": f'{ANNA}\nswapper = "nothing"'}, "p1: no swapper called 'nothing'"),
        ({"p1": f'{ANNA}\nswapper = "none"'}, 'p1: swapper = "none" puts nobody in'),
        ({"p1": f'{ANNA}\nenhancer = "nothing"'}, "p1: no enhancer called 'nothing'"),
        ({"p1": f'{ANNA}\nmasks = "bx"'}, 'p1: masks = ["bx"]; write one or more of box'),
        ({"p1": f"{ANNA}\nmask_padding = [0, 1]"}, "p1: mask_padding = [0.0, 1.0]; write 0.1, or four"),
        ({"p1": f'{ANNA}\npaste = "glue"'}, 'p1: paste = "glue"; write one of feather'),
        ({"p1": f'{ANNA}\nsame_as = "p9"'}, 'p1: same_as = "p9", who is not in the cast; the cast has p1, p2'),
        ({"p1": ANNA, "p2": 'same_as = "p3"', "p3": 'same_as = "p2"'}, "same_as goes round: p2, p3"),
        ({"p1": ANNA, "p2": f"{SAME}\n{BERT}"}, "p2: two sources for one person: p1 is the same as p2"),
        ({"p1": f"{ANNA}\nenhancer_blend = 1", "p2": f"{SAME}\nenhancer_blend = 0"}, "two values of enhancer_blend"),
        ({"p1": f"{ANNA}\nnever = true"}, "p1: never = true, and a source or ranges"),
        ({"p1": ANNA, "p2": f"{SAME}\nnever = true"}, "never = true, and a source or ranges, for one person: p1"),
        ({"p1": ranges("from = 1; to = 3; skip = true", "from = 2; skip = true")}, "overlap: from 1 to 3, and from 2"),
        ({"p1": ranges("from = 1; skip = true"), "p2": f"{SAME}\n{ranges('to = 2; skip = true')}"}, "ranges overlap"),
        ({"p1": ranges("from = 3; to = 1; skip = true")}, "p1: range: from 3 is not before to 1"),
        ({"p1": ranges("to = 11; skip = true")}, "to = 11 is after the film's end; the film is 00:00:10.010 long"),
        ({"p1": ranges('from = "00:02:00"; skip = true')}, "is after the film's end"),
        ({"p1": ranges("from = 1.002; to = 1.003; skip = true")}, "no frame is shown in from 1.002 to 1.003"),
        ({"p1": ranges('from = "1 s"; skip = true')}, 'from = "1 s" is no time; write "HH:MM:SS.mmm", or seconds'),
        ({"p1": ranges('from = "00:61:00"; skip = true')}, "is no time"),
        ({"p1": ranges("from = -1; skip = true")}, "is no time"),
        ({"p1": ranges("from = inf; skip = true")}, "is no time"),
        ({"p1": ranges("from = 1e999999999; skip = true")}, "is no time"),
        ({"p1": ranges("from = 1; to = 2")}, "p1: range from 1 to 2: changes nothing"),
        ({"p1": ranges("from = 1; to = 2; skip = true; strength = 1")}, "skip = true, and a source or settings"),
        ({"p1": ranges("from = 1; to = 2; skp = true")}, "p1: range from 1 to 2: unknown key 'skp'; did you mean skip"),
        ({"p1": ANNA, "p2": "[[people.ranges]]\nto = 2\nstrength = 1"}, "p2: range from 0 to 2: settings, but no s"),
        ({"p1": ranges("from = 1; to = 2; boost = 3")}, "p1: range from 1 to 2: swapper mesh does not read boost"),
        ({"p1": ANNA, "more": f"{NEW}tracks = [5]"}, "x: there is no track 5; the film has tracks 0 to 4"),
        ({"p1": ANNA, "more": f"{NEW}tracks = [1]"}, "track 1 is given to p1 and x"),
        ({"p1": ANNA, "more": f"{NEW}tracks = [1.0]"}, "x: tracks = "),
        ({"p1": ANNA, "more": '[[people]]\nid = "p1"\ntracks = []'}, "two people are called p1"),
        ({"p1": ANNA, "more": "[[people]]\ntracks = []"}, "[[people]] 4: has no id"),
        ({"more": NEW + ANNA}, "x: is not in the film: no track is his"),
        ({"p1": ANNA, "more": "[[person]]\nid = 1"}, "the cast: unknown key 'person'"),
        ({"p1": "source = faces/anna.png"}, "not valid TOML: Invalid value (at line"),
        ({"p1": f"strength = 1{5000 * '0'}"}, "not valid TOML: numbers or brackets beyond all bounds"),
        ({"p1": ANNA, "more": "[rules]"}, "not valid TOML: Cannot declare ('rules',) twice (at line"),
    ],
)
def test_one_line_for_what_cannot_be_meant(folder: Path, lines: dict[str, str], told: str) -> None:
    with pytest.raises(FarmError) as error:
        asked(folder, **lines)
    text = str(error.value)
    assert isinstance(error.value, InputError | ModelError)
    assert error.value.exit_code == 2
    assert text.startswith(str(folder / "cast.toml"))
    assert told in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (lambda text: text.replace("minimum_face_px = 0 ", "minimum_face_px = -1 "), "[rules]: minimum_face_px = -1"),
        (lambda text: text.replace("share_sources = false", "share_sources = 0"), "[rules]: share_sources = 0"),
        (lambda text: text.replace("share_sources", "share_source"), "[rules]: unknown key 'share_source'; did you"),
        (lambda text: text.replace(FIRST, f"{SKIP}box = [0, 0, 2, 1]{FIRST}", 1), "[[rules.skip]] 1: box"),
        (lambda text: text.replace(FIRST, f"{SKIP}to = 99{FIRST}", 1), "[[rules.skip]] 1: to = 99"),
        (lambda text: text.replace("version = 1", "version = 2"), "written in version 2"),
        (lambda text: text.replace("version = 1", ""), "[film]: sha256, analysis or version is missing"),
        (lambda text: text[: text.index(FIRST)], "nobody is in the cast"),
        (lambda _: "", "[film]: sha256, analysis or version is missing"),
        (lambda _: "\x00", "not valid TOML"),
        (lambda _: "a = " + "[" * 5000, "not valid TOML"),
        (lambda _: "people = 3\n", "[film]"),
    ],
)
def test_files_that_are_no_cast(folder: Path, edit: Edit, told: str) -> None:
    path = written(folder)
    path.write_text(edit(path.read_text().replace('source = ""', ANNA, 1)))
    with pytest.raises(InputError) as error:
        read_cast(path, INDEX, TRACKS, DIGEST)
    assert told in str(error.value)
    assert str(error.value).startswith(str(path))


def test_the_cast_of_another_film_or_analysis(folder: Path) -> None:
    path = written(folder)
    other = replace(INDEX, sha256="1" * 64)
    with pytest.raises(InputError, match=r'cast is of another film, a "film"\.mp4: sha256 0{16}, not 1{16}'):
        read_cast(path, other, TRACKS, DIGEST)
    changed = tracks_digest(replace(TRACKS, end=TRACKS.end + 1))
    assert changed != DIGEST
    path.write_text(path.read_text().replace('source = ""', ANNA, 1))
    check_cast(path, INDEX)  # knows of no tracks
    with pytest.raises(InputError, match="another analysis of this film"):
        read_cast(path, INDEX, TRACKS, changed)


def test_files_that_cannot_be_read(folder: Path) -> None:
    for path, told in ((folder / "none.toml", "no such cast"), (folder, "the cast is a folder")):
        with pytest.raises(InputError, match=told):
            check_cast(path, INDEX)
    (folder / "latin.toml").write_bytes(b'a = 1\nname = "\xe9"\n')
    with pytest.raises(InputError, match=r"not UTF-8 \(at line 2\)"):
        read_cast(folder / "latin.toml", INDEX, TRACKS, DIGEST)


def test_times_are_exact() -> None:
    assert seconds_of("01:02:03.004") == Fraction(3723004, 1000)
    assert seconds_of("02:03") == 123
    assert seconds_of("90.5") == Fraction(181, 2)
    assert seconds_of(7) == 7
    assert seconds_of(Decimal("0.1")) == Fraction(1, 10)
    assert seconds_of(time(1, 2, 3, 4000)) == Fraction(3723004, 1000)


def test_a_time_without_quotes(folder: Path) -> None:
    """TOML has times of its own."""
    person = asked(folder, p1=ranges("from = 00:00:01; to = 00:00:02.5; skip = true")).plan.people[0]
    assert person.spans == (Span(30, 75, NOBODY),)
