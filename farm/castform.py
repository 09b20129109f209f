"""The form of a cast.toml that comes from somebody else: parsed at a cost that its length bounds, and read as tables.

What it means for one film, which needs the film, is farm.castfile's to say.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

from core.errors import InputError
from farm.casttoml import Fields

MOST_BYTES = 1 << 20
MOST_PARTS = 8  # of a dotted key; tomllib's time grows with their square
MOST_NESTED = 32
NAME = Path("cast.toml")
BEGINS = re.compile(r"#[^\n]*|\"{3}|'{3}|[\"']")
# Of each kind of text: what it ends with, or an escape, in which that does not count. One without an end goes on to
# where tomllib gives up: the end of the line, or of all.
ENDS = {
    '"""': re.compile(r'\\.|"{3,5}', re.DOTALL),
    "'''": re.compile(r"'{3,5}"),
    '"': re.compile(r'\\.|["\n]', re.DOTALL),
    "'": re.compile(r"['\n]"),
}
DOTTED = re.compile(rf"(?:\.[ \t]*+[\w-]++[ \t]*+){{{MOST_PARTS}}}")
BRACKETS = re.compile(r"[\[\]{}]")
WHOLE_BITS = 64  # of TOML's own whole numbers


def cast_data(text: str) -> dict[str, Any]:
    """The tables of a cast, with exact decimals. `InputError` where it is no TOML, or is longer, deeper or has longer
    keys than any cast; that is seen before it is parsed, because a short text can keep the parser busy for minutes."""
    if len(text) > MOST_BYTES:
        raise InputError(f"the cast is longer than {MOST_BYTES} letters", hint="leave out what a cast does not need")
    plain = "".join(_plain(text))
    if DOTTED.search(plain) or _nested(plain) > MOST_NESTED:
        raise InputError("the cast is nested deeper than any cast", hint="write it as docs/cast.md shows")
    try:
        data = tomllib.loads(text, parse_float=Decimal)
    except (ValueError, ArithmeticError, RecursionError) as error:
        what = str(error) if isinstance(error, tomllib.TOMLDecodeError) else "numbers or brackets beyond all bounds"
        raise InputError(f"the cast is no TOML: {what}", hint="mend the line that is named") from None
    if _beyond(data):
        raise InputError(f"the cast has a whole number of more than {WHOLE_BITS} bits", hint="write a smaller one")
    return data


def _plain(text: str) -> Iterator[str]:
    """`text` without comments, and with a letter in the place of each quoted text: every letter is looked at once,
    whatever the quotes are, and nothing grows with what stands between them."""
    at = 0
    while (begin := BEGINS.search(text, at)) is not None:
        yield text[at : begin.start()]
        at = begin.end()
        if not begin[0].startswith("#"):
            yield "s"
            at = _end(text, begin[0], at)
    yield text[at:]


def _end(text: str, quotes: str, at: int) -> int:
    """Where a text ends that began with `quotes` before `at`."""
    for found in ENDS[quotes].finditer(text, at):
        if not found[0].startswith("\\"):
            return found.start() if found[0] == "\n" else found.end()
    return len(text)


def _beyond(data: dict[str, Any]) -> bool:
    """Whether a whole number is longer than TOML's; Python could not even print one of some thousand digits."""
    left: list[Any] = [data]
    while left:
        here = left.pop()
        if isinstance(here, dict):
            left.extend(here.values())
        elif isinstance(here, list):
            left.extend(here)
        elif isinstance(here, int) and not -(1 << (WHOLE_BITS - 1)) <= here < 1 << (WHOLE_BITS - 1):
            return True
    return False


def _nested(plain: str) -> int:
    """How deep brackets lie in brackets."""
    deepest = here = 0
    for found in BRACKETS.finditer(plain):
        here = here + 1 if found[0] in "[{" else max(0, here - 1)
        deepest = max(deepest, here)
    return deepest


def cast_people(text: str) -> list[dict[str, Any]]:
    """The tables of the people, each with an id of its own. `InputError` for a value of another kind than a cast's."""
    file = Fields(cast_data(text), NAME, "the cast")
    for key in ("film", "rules"):
        file.take(key, (dict,), f"[{key}] above its lines")
    people = file.tables("people", "people")
    seen: set[str] = set()
    for number, data in enumerate(people, 1):
        name = _check_person(Fields(data, NAME, f"[[people]] {number}"))
        if name in seen:
            raise file.error(f"two tables have the id {name[:40]}", "give each an id of its own")
        seen.add(name)
    return people


def _check_person(table: Fields) -> str:
    """The person's id; `InputError` for a value of another kind than it has in a cast."""
    name = table.text("id")
    if not name:
        raise table.error("has no id", 'write id = "..." with a name of its own')
    table.whose = name[:40]
    for key in ("name", "thumbnail", "first", "last", "same_as", "swapper"):
        table.text(key)
    table.number("screen_time_s", 0, float("inf"))
    table.whole("frames", 0, 1 << 53)
    table.wholes("tracks")
    table.flag("never")
    table.whole("source_face", 1, 1 << 53)
    table.texts("source")
    for number, data in enumerate(table.tables("ranges", "people.ranges"), 1):
        stretch = Fields(data, NAME, f"{table.whose}: range {number}")
        stretch.flag("skip")
        stretch.whole("source_face", 1, 1 << 53)
        stretch.texts("source")
    return name
