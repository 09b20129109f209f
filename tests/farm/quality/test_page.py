"""The page of a report: whole, alone, readable without seeing it, of bounded size."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import codec
from core.faces.moments import Kept, jpeg
from core.records import Doubt, QualityReport
from farm.quality.page import PLOTTED_PEOPLE, Page
from farm.quality.svg import POINTS, Line, Span, clock_text, plot
from farm.quality.texts import doubts_note, summary
from tests.farm.quality.made import person, report

VOID = {"meta", "img", "br", "link"}


class Reader(HTMLParser):
    """Every element once opened is closed; ids, links and texts."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    return reader


def kept(made: QualityReport) -> list[Kept]:
    picture = jpeg(np.zeros((96, 192, 3), np.uint8))
    return [Kept(moment, picture) for moment in made.moments]


@pytest.fixture(scope="session")
def page() -> str:
    made = report((person("p1", 50), person("p2", 30, replaced=False)))
    return Page(made, Path("/films/out.mp4.quality"), kept(made), {"p1": jpeg(np.zeros((96, 192, 3), np.uint8))}).html()


def test_it_is_one_file(page: str) -> None:
    reader = read(page)
    assert reader.all("script") == []
    assert reader.all("link") == []
    assert all(image["src"].startswith("data:image/jpeg;base64,") for image in reader.all("img"))
    assert not re.search(r"https?:", page)
    assert "@import" not in page
    assert "url(" not in page


def test_links_lead_to_the_moments_of_both_films(page: str) -> None:
    links = [attributes["href"] for attributes in read(page).all("a")]
    assert "../out.mp4#t=0.120" in links
    assert "../in%20put%231.mp4#t=0.120" in links
    ids = {attributes["id"] for _, attributes in read(page).elements if "id" in attributes}
    assert {link[1:] for link in links if link.startswith("#")} <= ids


def test_it_can_be_read_without_seeing_it(page: str) -> None:
    reader = read(page)
    assert reader.all("html")[0]["lang"] == "en"
    ids = [attributes["id"] for _, attributes in reader.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for drawing in reader.all("svg"):
        assert drawing["role"] == "img"
        assert set(drawing["aria-labelledby"].split()) <= set(ids)
    assert all(image["alt"] for image in reader.all("img"))
    assert all(head.get("scope") in ("col", "row") for head in reader.all("th"))
    assert len(reader.all("caption")) == len(reader.all("table"))
    levels = [int(tag[1]) for tag, _ in reader.elements if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_names_are_texts_and_nothing_else() -> None:
    odd = '<script>alert("x")</script>&.mp4'
    made = report((person("p<1>", 20),), name=odd)
    reader = read(Page(made, Path("/films"), kept(made)).html())
    assert reader.all("script") == []


def test_numbers_that_are_missing_are_told(page: str) -> None:
    nobody = Page(report((), differs=False), Path("/films")).html()
    assert "No face was found" in nobody
    assert "Nothing differs in any frame" in nobody
    assert "No frame stands out" in nobody
    read(nobody)


def test_a_job_tells_of_doubtful_faces_in_one_line() -> None:
    assert doubts_note(()) == ""
    told = [Doubt("tiny", "", 0, 5, 9, 6, 0.2, 40.0), Doubt("tiny", "", 1, 5, 9, 6, 0.1, 50.0)]
    told.append(Doubt("blurred", "", 0, 20, 31, 22, 0.7, 0.003))
    assert doubts_note(told) == (
        "faces may look bad in 3 stretches (2 tiny, 1 blurred), most in frames 20 to 30: "
        "blurred, sharpness 0.0030, clear faces have 0.02"
    )


def test_a_crowd_in_a_long_film_is_a_page_of_bounded_size() -> None:
    many = tuple(person(f"p{number}", 5000) for number in range(60))
    made = report(many, frames=200_000)
    text = Page(made, Path("/films"), kept(made)).html()
    assert len(text) < 5_000_000
    assert text.count("<details") == PLOTTED_PEOPLE
    assert text.count('scope="row"') == 60


def test_the_record_travels() -> None:
    made = report((person("p1", 50),))
    back = codec.decode(codec.encode(made), QualityReport)
    assert codec.encode(back) == codec.encode(made)
    assert np.array_equal(back.people[0].series.to_source, made.people[0].series.to_source, equal_nan=True)
    assert (back.outside.psnr_db, back.moments, back.doubts) == (40, made.moments, made.doubts)
    assert any("p1: replaced in 50 of 50 frames" in line for line in summary(back))


@settings(max_examples=60)
@given(st.integers(1, 3 * POINTS), st.integers(0, 1000), st.floats(0, 1), st.sampled_from([1e-12, 1e-3, 1.0, 1e9]))
def test_any_line_can_be_drawn(count: int, seed: int, missing: float, scale: float) -> None:
    random = np.random.default_rng(seed)
    value = random.normal(0, scale, count)
    value[random.random(count) < missing] = np.nan
    time_s = np.sort(random.random(count)) * random.choice([1e-3, 1.0, 7200.0])
    span = Span(float(time_s[0]), float(time_s[-1]))
    text = plot("x", "A line", "told", span, [Line("l", time_s, value, 1)], threshold=(0.5 * scale, "limit"))
    assert bool(text) is bool(np.isfinite(value).any())
    if not text:
        return
    read(text)
    places = [float(number) for points in re.findall(r'points="([^"]*)"', text) for number in re.split(r"[ ,]", points)]
    assert all(-1 <= place <= 600 for place in places)
    assert len(places) <= 2 * POINTS * 3 + 2


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00.0"), (59.96, "1:00.0"), (3725.44, "1:02:05.4"), (-1, "0:00.0")]
)
def test_times(seconds: float, text: str) -> None:
    assert clock_text(seconds) == text
