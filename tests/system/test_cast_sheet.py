"""`farm cast`: the people of a film on a page, in a picture, and in a file to edit; then the film rendered from it."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from tests.media_clips import make_clip
from tests.system.runs import farm_here
from tests.two_people import ALONE, FRAMES, make_two_people, sources

HERS = FRAMES - len(ALONE)  # frames in which the astronaut is seen


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sheet")


@pytest.fixture(scope="module")
def film(folder: Path) -> Path:
    return make_two_people(folder / "two people.mp4")


@pytest.fixture(scope="module")
def pictures(folder: Path) -> tuple[Path, Path, Path]:
    return sources(folder)


@pytest.fixture(scope="module")
def made(film: Path, folder: Path, pictures: tuple[Path, Path, Path]) -> Path:
    """The cast of the film, with one of the two known by a picture."""
    cast = folder / "film.cast"
    known = ("--known", f"Eileen={pictures[0]}")
    done = farm_here("cast", film, "-o", cast, "--local", *known, "--json")
    assert done.code == 0, done.err
    report = done.json
    assert [person["name"] for person in report["people"]].count("Eileen") == 1
    assert report["analysis"]["segments_analysed"] == len(json.loads((cast / "analysis.json").read_bytes())["segments"])
    return cast


class Links(HTMLParser):
    """What a page refers to, and the texts of its headings."""

    def __init__(self) -> None:
        super().__init__()
        self.images: list[str] = []
        self.links: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "img":
            assert values.get("alt")
            self.images.append(values["src"] or "")
        if tag == "a":
            self.links.append(values["href"] or "")
        if tag in ("script", "link", "iframe"):
            self.fetched.append(tag)


def test_two_people_are_told_apart_over_the_cut(made: Path) -> None:
    cast = tomllib.loads((made / "cast.toml").read_text())
    assert cast["film"]["frames"] == FRAMES
    people = cast["people"]
    assert [person["id"] for person in people] == ["p1", "p2"]
    assert [person["frames"] for person in people] == [FRAMES, HERS], "the man is there throughout, the astronaut not"
    assert [person["name"] for person in people] == ["", "Eileen"]
    assert [person["screen_time_s"] for person in people] == [FRAMES / 25, HERS / 25]
    assert (people[1]["first"], people[1]["last"]) == ("00:00:00.000", f"00:00:{(FRAMES - 1) / 25:06.3f}")
    assert not any(person["source"] for person in people)
    for person in people:
        with PIL.Image.open(made / person["thumbnail"]) as face:
            assert face.size == (192, 192)
            assert np.asarray(face).std() > 20


def test_the_page_needs_nothing_but_what_lies_beside_it(made: Path, film: Path) -> None:
    page = Links()
    page.feed((made / "index.html").read_text())
    assert page.images == ["people/p1.jpg", "people/p2.jpg"]
    assert not page.fetched
    times = [link for link in page.links if "#t=" in link]
    assert {link.split("#")[0] for link in times} == {f"../{film.name.replace(' ', '%20')}"}
    with PIL.Image.open(made / "cast.png") as sheet:
        assert sheet.width > 2 * 192


def test_an_edited_cast_is_not_overwritten_and_put_aside_when_it_must_be(
    made: Path, film: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "film.cast"
    shutil.copytree(made, folder)
    edited = (folder / "cast.toml").read_text().replace('name = ""', 'name = "somebody"', 1)
    (folder / "cast.toml").write_text(edited)
    refused = farm_here("cast", film, "-o", folder, "--local")
    assert refused.code == 2
    assert "there is a cast already" in refused.error_line
    assert (folder / "cast.toml").read_text() == edited
    again = farm_here("cast", film, "-o", folder, "--local", "--force", "--json")
    assert again.code == 0, again.err
    assert again.json["analysis"]["segments_analysed"] == 0, "nothing is looked at twice"
    assert (folder / "cast.toml.old").read_text() == edited
    plain = re.sub('name = "Eileen"', 'name = ""', (made / "cast.toml").read_text())
    assert (folder / "cast.toml").read_text() == plain
    assert "kept as cast.toml.old" in again.err
    for number in (2, 2, 3):  # what was written is never lost; an unchanged cast is kept once
        text = plain if number == 2 else plain.replace('name = ""', 'name = "another"', 1)
        (folder / "cast.toml").write_text(text)
        assert farm_here("cast", film, "-o", folder, "--local", "--force").code == 0
        assert (folder / f"cast.toml.old.{number}").read_text() == text
    assert (folder / "cast.toml.old").read_text() == edited
    assert len(list(folder.glob("cast.toml*"))) == 4


@pytest.mark.heavy
def test_another_way_of_looking_does_not_spoil_the_cast_that_is_there(made: Path, film: Path, tmp_path: Path) -> None:
    folder = tmp_path / "film.cast"
    shutil.copytree(made, folder)
    analysis, cast = (folder / name for name in ("analysis.json", "cast.toml"))
    before, mine = analysis.read_bytes(), cast.read_text().replace('name = ""', 'name = "mine"')
    cast.write_text(mine)
    rarely = ("-o", folder, "--local", "--detect-every", "3")
    refused = farm_here("analyse", film, *rarely)
    assert refused.code == 2
    assert "a cast of another analysis is here" in refused.error_line
    assert "another folder with -o, or make it anew: farm cast --force" in refused.error_line
    assert (analysis.read_bytes(), cast.read_text()) == (before, mine)
    assert farm_here("analyse", film, "-o", folder, "--local", "--json").json["segments_analysed"] == 0
    # a cast that cannot be read is somebody's work too
    cast.write_text(mine + "[[people")
    assert farm_here("analyse", film, *rarely).code == 2
    cast.write_text(mine)
    nobody = farm_here("cast", film, *rarely, "--force", "--known", f"a={tmp_path / 'missing.png'}")
    assert (nobody.code, analysis.read_bytes(), cast.read_text()) == (2, before, mine)
    assert farm_here("cast", film, *rarely, "--force").code == 0
    assert json.loads(analysis.read_bytes())["detect_every"] == 3
    # back again: the cast of before is not of this analysis, so that nothing is spoilt by the old one
    (folder / "cast.toml.old").replace(cast)
    assert farm_here("analyse", film, "-o", folder, "--local").code == 0
    assert analysis.read_bytes() == before
    assert farm_here("analyse", film, *rarely).code == 2


def test_one_face_to_one_person_of_a_frame_in_whatever_spelling(
    made: Path, film: Path, pictures: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    """And the film is compared by the same plan, with settings that belong to a swapper it is not told of."""
    folder, out = tmp_path / "cast", tmp_path / "out.mp4"
    shutil.copytree(made, folder)
    shutil.copy(pictures[2], folder / "copy.png")
    head, man, astronaut = (made / "cast.toml").read_text().split("[[people]]\n")
    man = man.replace('source = ""', f'source = "{pictures[2]}"')
    astronaut = astronaut.replace('source = ""', 'source = "copy.png"\nsource_face = 1')
    (folder / "cast.toml").write_text("[[people]]\n".join([head, man, astronaut]))
    report = farm_here("render", film, "--cast", folder / "cast.toml", "-o", out, "--local", "--json").report
    assert report.faces == FRAMES, "the second of them stays, in the frames in which both are seen"
    man = man.replace("source =", 'masks = "hull"\nsource =')
    (folder / "cast.toml").write_text("[[people]]\n".join([head, man, astronaut]))
    done = farm_here("compare", film, out, "--cast", folder / "cast.toml", "-o", tmp_path / "report", "--json")
    assert done.code == 0, done.err
    assert [one["wanted"] for one in done.json["people"]] == [FRAMES, 0]


def test_a_rendering_from_the_cast_gives_each_his_face(
    made: Path, film: Path, pictures: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    text = (made / "cast.toml").read_text()
    head, man, astronaut = text.split("[[people]]\n")
    man = man.replace('source = ""', f'source = "{pictures[0]}"')
    astronaut = astronaut.replace('source = ""', f'source = "{pictures[2]}"')
    folder = tmp_path / "cast"
    shutil.copytree(made, folder)
    (folder / "cast.toml").write_text("[[people]]\n".join([head, man, astronaut]))
    out = tmp_path / "out.mp4"
    done = farm_here("render", film, "--cast", folder / "cast.toml", "-o", out, "--local", "--json")
    report = done.report
    assert [(role.people, Path(role.source).name, role.faces) for role in report.roles] == [
        (("p1",), "astronaut.png", FRAMES),
        (("p2",), "man.png", HERS),
    ]
    assert (report.segments_analysed, report.frames_replaced, report.faces) == (0, FRAMES, FRAMES + HERS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cast", "out.mp4"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--known", "Eileen"), "write NAME=IMAGE"),
        (("--known", "a=missing.png"), "missing.png"),
        (("--detector", "nothing"), "no detector called 'nothing'"),
    ],
)
def test_what_cannot_be_is_told_before_the_film_is_looked_at(
    film: Path, tmp_path: Path, words: tuple[str, ...], told: str
) -> None:
    done = farm_here("cast", film, "-o", tmp_path / "c", "--local", *words)
    assert done.code == 2
    assert told in done.error_line
    assert not (tmp_path / "c").exists()


def test_a_film_without_faces_has_no_cast(clips: Path, tmp_path: Path) -> None:
    done = farm_here("cast", make_clip("cfr_mp4", clips), "-o", tmp_path / "c", "--local")
    assert done.code == 2
    assert "there is nobody to cast" in done.err.splitlines()[-1]
    assert not (tmp_path / "c" / "cast.toml").exists()
