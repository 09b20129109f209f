"""Changes to a cast.toml by a program: keys of people, in the text, so that comments and order stay."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from core.errors import InputError, PlanError
from farm.castform import cast_data, cast_people
from farm.casttoml import quoted

HEADER = re.compile(r"^\s*\[\[\s*people\s*\]\]\s*(#.*)?$")
RANGES = re.compile(r"^\s*\[\[\s*people\s*\.\s*ranges\s*\]\]\s*(#.*)?$")
TABLE = re.compile(r"^\s*\[")


@dataclass(frozen=True)
class PersonEdit:
    """What becomes of a person: `sources` () stays as he is. None leaves a key as it is. `ranges`: whether what is
    said of parts of the film stays."""

    sources: tuple[str, ...] = ()
    face: int | None = None
    name: str | None = None
    swapper: str | None = None
    same_as: str | None = None
    ranges: bool = True


def edit_people(text: str, edits: Mapping[str, PersonEdit]) -> str:
    """`text` with the edits of people, by id. `InputError` where there is no such person, `PlanError` where the text is
    laid out in a way that cannot be changed line by line."""
    people = cast_people(text)
    known = {str(person["id"]): number for number, person in enumerate(people)}
    unknown = sorted(set(edits) - set(known))
    if unknown:
        raise InputError(f"no person {unknown[0]} in this film", hint=f"there are {', '.join(list(known)[:20])}")
    lines = text.removesuffix("\n").split("\n")  # other ends of lines may stand in a text
    starts = [number for number, line in enumerate(lines) if HEADER.match(line)]
    if len(starts) != len(people):
        raise _other_layout()
    for person in sorted(edits, key=lambda one: -known[one]):
        entry = people[known[person]]
        start = starts[known[person]] + 1
        if not edits[person].ranges and entry.pop("ranges", None):
            _without_ranges(lines, start)
        end = next((number for number in range(start, len(lines)) if TABLE.match(lines[number])), len(lines))
        for key, value in _keys(edits[person]).items():
            if value is None:
                entry.pop(key, None)
            else:
                entry[key] = value
            start, end = _set(lines, start, end, key, value)
    made = "\n".join(lines) + "\n"
    try:
        same = cast_data(made) == {**cast_data(text), **({"people": people} if people else {})}
    except InputError:
        same = False
    if not same:
        raise _other_layout()
    return made


def recast(text: str, edits: Mapping[str, PersonEdit]) -> str:
    """`text` where `edits` are all of who becomes whom: a face that the text gives to anybody else is taken back. Names
    and settings of people stay; `same_as` is what `edits` say."""
    whole = {}
    for person in cast_people(text):
        edit = edits.get(str(person["id"]), PersonEdit())
        whole[str(person["id"])] = replace(edit, same_as=edit.same_as or "", ranges=bool(edit.sources))
    return edit_people(text, {**edits, **whole})


def _other_layout() -> PlanError:
    return PlanError("this cast.toml cannot be changed line by line", hint="put the whole file as application/toml")


def _without_ranges(lines: list[str], start: int) -> None:
    """Take the tables of ranges out of the lines of the person that begin at `start`."""
    end = next((number for number in range(start, len(lines)) if HEADER.match(lines[number])), len(lines))
    kept, inside = [], False
    for line in lines[start:end]:
        if TABLE.match(line):
            inside = RANGES.match(line) is not None
        if not inside:
            kept.append(line)
    lines[start:end] = kept


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
