"""A cast.toml that a program writes anew says what the one before said."""

from __future__ import annotations

import datetime
import tomllib
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from farm.castform import cast_data
from farm.castwrite import sources, with_sources, written

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
VALUES: st.SearchStrategy[Any] = st.one_of(
    NAMES,
    st.booleans(),
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.decimals(allow_nan=False),
    st.just(datetime.time(1, 2, 3, 4)),
    st.just(datetime.date(2026, 11, 21)),
)
TREES = st.recursive(VALUES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3))

CAST = """# Who becomes whom.
# Two lines.

[film]
sha256 = "ab"

[rules]
minimum_face_px = 12.50
[[rules.skip]]
from = 00:00:10
box = [0.0, 0.0, 0.5, 1]

[[people]]
id = "p1"
name = "source"     # not a source
source = [
    "a.jpg",
    "b.jpg",
]
ranges = [{from = "1", to = "2", source = "a.jpg"}, {from = "3", to = "4", skip = true}]

[[people]]
id = "p2"
tracks = [0, 3]
source = ""
"""


@settings(max_examples=30)
@given(st.dictionaries(NAMES, TREES, max_size=4))
def test_what_is_written_is_read_again(data: dict[str, Any]) -> None:
    assert tomllib.loads(written(data), parse_float=Decimal) == data


def test_sources_are_renamed_wherever_they_stand() -> None:
    assert sources(CAST) == ("a.jpg", "b.jpg")
    made = with_sources(CAST, lambda name: f"upload:{name}")
    assert made.startswith("# Who becomes whom.\n# Two lines.\n\n")
    before, after = cast_data(CAST), cast_data(made)
    first = after["people"][0]
    assert first.pop("source") == ["upload:a.jpg", "upload:b.jpg"]
    assert first["ranges"][0].pop("source") == "upload:a.jpg"
    before["people"][0].pop("source")
    before["people"][0]["ranges"][0].pop("source")
    assert after == before
    assert "[[people.ranges]]" in made
    assert with_sources(made, str) == made
