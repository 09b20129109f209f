"""Changes to a cast.toml by a program: keys of people, in the text, so that comments and order stay."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.errors import InputError, PlanError
from farm.casttoml import quoted

HEADER = re.compile(r"^\s*\[\[\s*people\s*\]\]\s*(#.*)?$")
TABLE = re.compile(r"^\s*\[")


@dataclass(frozen=True)
class PersonEdit:
    """What becomes of a person: `sources` () stays as he is. None leaves a key as it is."""

    sources: tuple[str, ...] = ()
    face: int | None = None
    name: str | None = None
    swapper: str | None = None
    same_as: str | None = None


def edit_people(text: str, edits: Mapping[str, PersonEdit]) -> str:
    """`text` with the edits of people, by id. `InputError` where there is no such person."""
    wanted = _parsed(text)
    people = wanted.get("people", [])
    known = {str(person.get("id")): number for number, person in enumerate(people)}
    unknown = sorted(set(edits) - set(known))
    if unknown:
        raise InputError(f"no person {unknown[0]} in this film", hint=f"there are {', '.join(list(known)[:20])}")
    lines = text.splitlines()
    starts = [number for number, line in enumerate(lines) if HEADER.match(line)]
    for person in sorted(edits, key=lambda one: -known[one]):
        entry = people[known[person]]
        start = starts[known[person]] + 1
        end = next((number for number in range(start, len(lines)) if TABLE.match(lines[number])), len(lines))
        for key, value in _keys(edits[person]).items():
            if value is None:
                entry.pop(key, None)
            else:
                entry[key] = value
            start, end = _set(lines, start, end, key, value)
    made = "\n".join(lines) + "\n"
    if _parsed(made) != wanted:  # a text that is laid out in another way than ours
        raise PlanError("this cast.toml cannot be changed line by line", hint="put the whole file as application/toml")
    return made


def _keys(edit: PersonEdit) -> dict[str, object]:
    """Key -> value, None to take the key away."""
    keys: dict[str, object] = {
        "source": edit.sources[0] if len(edit.sources) == 1 else list(edit.sources) if edit.sources else "",
        "source_face": edit.face,
    }
    keys |= {"name": edit.name} if edit.name is not None else {}
    keys |= {"swapper": edit.swapper} if edit.swapper is not None else {}
    keys |= {"same_as": edit.same_as or None} if edit.same_as is not None else {}
    return keys


def _set(lines: list[str], start: int, end: int, key: str, value: object) -> tuple[int, int]:
    """Give `key` its value in the lines of one table; where the table is then."""
    there = [number for number in range(start, end) if re.match(rf"\s*{key}\s*=", lines[number])]
    if value is None:
        for number in reversed(there):
            del lines[number]
        return start, end - len(there)
    line = f"{key} = {_toml(value)}"
    if there:
        lines[there[0]] = line
        return start, end
    last = next((number for number in range(end - 1, start - 1, -1) if lines[number].strip()), start - 1)
    lines.insert(last + 1, line)
    return start, end + 1


def _toml(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_toml(one) for one in value)}]"
    return quoted(value) if isinstance(value, str) else str(value)


def _parsed(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"the cast is no TOML: {error}", hint="mend the line that is named") from None
