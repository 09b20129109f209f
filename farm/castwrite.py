"""A cast.toml as a program writes it anew: its sources under other names, every table in lines of its own."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from itertools import takewhile
from typing import Any

from farm.castform import cast_data
from farm.casttoml import quoted

BARE = re.compile(r"[A-Za-z0-9_-]+")
MOST_HEADS = 3  # names in the head of a table; what lies deeper is written in one line
SOURCE = "source"


def with_sources(text: str, rename: Callable[[str], str]) -> str:
    """`text` with each source, at any depth, as `rename` says. The comments at its head stay; others are left out.
    `InputError` where it is no TOML, and whatever `rename` raises."""
    head = "".join(takewhile(lambda line: not line.strip() or line.startswith("#"), text.splitlines(keepends=True)))
    head = f"{head.rstrip()}\n" if head.strip() else ""
    return head + written(_renamed(cast_data(text), rename))


def sources(text: str) -> tuple[str, ...]:
    """The sources that a cast names, once each, in their order."""
    found: dict[str, None] = {}
    _renamed(cast_data(text), lambda name: found.setdefault(name) or name)
    return tuple(found)


def written(data: Mapping[str, Any]) -> str:
    """TOML of `data`, as tomllib gives it, with numbers as int and Decimal."""
    return "\n".join(_table(data, ())) + "\n"


def _renamed(value: Any, rename: Callable[[str], str], inside: bool = False) -> Any:
    if isinstance(value, Mapping):
        return {key: _renamed(inner, rename, inside or key == SOURCE) for key, inner in value.items()}
    if isinstance(value, list):
        return [_renamed(inner, rename, inside) for inner in value]
    return rename(value) if inside and value and isinstance(value, str) else value


def _table(data: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    """The lines of a table: its values first, then the tables in it."""
    inner = {key: value for key, value in data.items() if len(path) < MOST_HEADS and _is_table(value)}
    yield from (f"{_key(key)} = {_value(value)}" for key, value in data.items() if key not in inner)
    for key, value in inner.items():
        here = (*path, key)
        head = ".".join(map(_key, here))
        for one in [value] if isinstance(value, Mapping) else value:
            yield ""
            yield f"[{head}]" if isinstance(value, Mapping) else f"[[{head}]]"
            yield from _table(one, here)


def _is_table(value: Any) -> bool:
    """Whether it is a table, or a list of nothing but tables."""
    many = value if isinstance(value, list) else [value]
    return bool(many) and all(isinstance(one, Mapping) for one in many)


def _key(key: str) -> str:
    return key if BARE.fullmatch(key) else quoted(key)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(key)} = {_value(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    return _number(value) if isinstance(value, Decimal) else str(value).lower()  # true, false; whole numbers


def _number(value: Decimal) -> str:
    """A number with a point or an exponent, as TOML tells them from whole ones."""
    if not value.is_finite():
        return ("-" if value.is_signed() else "") + ("nan" if value.is_nan() else "inf")
    text = str(value)
    return text if set(text) & set(".E") else f"{text}.0"
