"""The people of a cast.toml: their tables read, merged by `same_as`, and made into roles and plans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

from core.errors import FarmError, InputError
from core.media.far import FarPath
from core.records import (
    NOBODY,
    ColourKind,
    JobSpec,
    MaskKind,
    MediaIndex,
    PasteKind,
    PersonPlan,
    Precision,
    RoleSpec,
    SourceSpec,
    Span,
    SwapOptions,
)
from core.swap.swapper import BOOST_MAX
from farm.casttoml import Fields, frames_between, shown, span_text
from farm.options import FIELDS, check_swapper, options_read, read_by
from farm.paths import place, place_from
from farm.places import real

PERSON_HINT = 'write source = "face.jpg" below the id of whoever is to be replaced'
CHOICES = {"paste": PasteKind, "colour": ColourKind, "precision": Precision}
SOURCE_KEYS = ("source", "source_face")


@dataclass(frozen=True)
class Range:
    """Frames [first, end) in which a person is otherwise: `wishes` are the keys that the file sets there."""

    first: int
    end: int
    text: str
    skip: bool
    wishes: dict[str, Any]


@dataclass(frozen=True)
class Entry:
    """A [[people]] table as read, or several that are one person. `wishes`: source, source_face, swapper, settings."""

    id: str
    name: str
    tracks: tuple[int, ...]
    same_as: str | None
    never: bool
    wishes: dict[str, Any]
    ranges: tuple[Range, ...]
    fields: Fields = field(compare=False)


def read_person(data: Any, number: int, path: Path, index: MediaIndex) -> Entry:
    """A [[people]] table, the `number`-th of the file; `InputError` for what cannot be meant."""
    table = Fields(data, path, f"[[people]] {number}")
    name = table.text("id")
    if not name:
        raise table.error("has no id", 'write id = "..." with a name of its own')
    table.whose = name
    for told in ("thumbnail", "first", "last"):  # for the reader; nothing depends on them
        table.text(told)
    table.number("screen_time_s", 0, float("inf"))
    table.whole("frames", 0)
    tracks, called = table.wholes("tracks") or (), table.text("name") or ""
    same_as, never = table.text("same_as"), table.flag("never")
    wishes = _wishes(table)
    ranges = tuple(_range(one, table, index) for one in table.tables("ranges", "people.ranges"))
    table.done()
    if never and (wishes.get("source") or ranges):
        raise table.error("never = true, and a source or ranges", "leave one of them out")
    wanted = wishes.get("source") or never or any(one.wishes.get("source") for one in ranges)
    if not tracks and wanted and same_as is None:
        raise table.error("is not in the film: no track is his", "give him tracks, or leave the table out")
    return Entry(name, called, tracks, same_as, never, wishes, ranges, table)


def _range(data: Any, person: Fields, index: MediaIndex) -> Range:
    table = Fields(data, person.path, f"{person.whose}: range")
    first, end = frames_between(table, index)
    table.whose = f"{person.whose}: range {span_text(table)}"
    skip, wishes = table.flag("skip"), _wishes(table)
    table.done()
    if skip and wishes:
        raise table.error("skip = true, and a source or settings", "leave one of them out")
    if wishes.get("source") == () and len(wishes) > 1:
        raise table.error('source = "", which is nobody, and settings', "leave one of them out")
    if not skip and not wishes:
        raise table.error("changes nothing", "write skip = true, a source or settings")
    return Range(first, end, span_text(table), skip or wishes.get("source") == (), wishes)


def _wishes(table: Fields) -> dict[str, Any]:
    """The keys that a table sets of how a person is replaced, as RoleSpec and SwapOptions take them.

    `source` is a tuple of absolute paths, () for nobody.
    """
    found: dict[str, Any] = {
        "source": _source(table),
        "source_face": table.whole("source_face", 1),
        "swapper": table.text("swapper"),
        "strength": table.number("strength", 0, 1),
        "boost": table.whole("boost", 1, BOOST_MAX),
        "enhancer": table.text("enhancer"),
        "enhancer_blend": table.number("enhancer_blend", 0, 1),
        "enhancer_weight": table.number("enhancer_weight", 0, 1),
        "enhancer_may_go": table.said("enhancer_may_go"),
        "masks": _masks(table),
        "mask_blur": table.number("mask_blur", 0, 1),
        "mask_padding": _padding(table),
        "occlusion_model": table.text("occlusion_model"),
        "region_model": table.text("region_model"),
    }
    for key, kinds in CHOICES.items():
        value = found[key] = table.text(key)
        if value is not None and value not in get_args(kinds):
            raise table.error(f"{key} = {shown(value)}", f"write one of {', '.join(get_args(kinds))}")
    return {key: value for key, value in found.items() if value is not None}


def _source(table: Fields) -> tuple[str, ...] | None:
    given = table.texts("source")
    if given is None or not any(given):
        return None if given is None else ()
    folder = table.path.absolute().parent
    paths = []
    for written in given:
        try:
            path = place_from(folder, written)
            if isinstance(path, FarPath):
                path.look()
            there = bool(written) and "\0" not in written and path.is_file()
        except (OSError, ValueError):
            there = False
        if not there:
            raise table.error(f"there is no source image {shown(written)}", f"paths start at {folder}")
        paths.append(str(path))
    return tuple(paths)


def _masks(table: Fields) -> tuple[str, ...] | None:
    given = table.texts("masks")
    if given is None:
        return None
    names = tuple(dict.fromkeys(name.strip() for text in given for name in text.split(",") if name.strip()))
    if not names or not set(names) <= set(get_args(MaskKind)):
        raise table.error(f"masks = {shown(list(given))}", f"write one or more of {', '.join(get_args(MaskKind))}")
    return names


def _padding(table: Fields) -> tuple[float, ...] | None:
    wanted = "0.1, or four such numbers: [top, right, bottom, left]"
    given = table.numbers("mask_padding", wanted)
    if given is None:
        return None
    sides = given * 4 if len(given) == 1 else given
    if len(sides) != 4 or not all(0 <= side < 1 for side in sides):
        raise table.error(f"mask_padding = {list(given)}", f"write {wanted}")
    return sides


# ---------------------------------------------------------------- one person out of several tables


def merged(entries: Sequence[Entry], path: Path) -> list[Entry]:
    """The people, each once, in the file's order; `InputError` for ids that are not one person's or nobody's."""
    by_id: dict[str, Entry] = {}
    for one in entries:
        if one.id in by_id:
            raise InputError(f"two people are called {one.id}", where=str(path), hint="give each an id of his own")
        by_id[one.id] = one
    groups: dict[str, list[Entry]] = {}
    for one in entries:
        groups.setdefault(_root(one, by_id), []).append(one)
    people = [_one_of(sorted(group, key=lambda one: one.id != root)) for root, group in groups.items()]
    order = {one.id: number for number, one in enumerate(entries)}
    return sorted(people, key=lambda one: order[one.id])


def _root(one: Entry, by_id: dict[str, Entry]) -> str:
    """Whom a person is the same as, at last."""
    seen = [one.id]
    while one.same_as is not None:
        if one.same_as not in by_id:
            near = f"the cast has {', '.join(list(by_id)[:10])}{', ...' if len(by_id) > 10 else ''}"
            raise one.fields.error(f"same_as = {shown(one.same_as)}, who is not in the cast", near)
        one = by_id[one.same_as]
        if one.id in seen:
            raise one.fields.error(f"same_as goes round: {', '.join(seen)}", "leave one of them out")
        seen.append(one.id)
    return one.id


def _one_of(group: Sequence[Entry]) -> Entry:
    """One person of several tables; what they say of him must not differ."""
    root = group[0]
    wishes: dict[str, Any] = {}
    owner: dict[str, str] = {}
    for one in group:
        given = {key: value for key, value in one.wishes.items() if (key, value) != ("source", ())}
        for key, value in given.items():
            if key in wishes and not _same(wishes[key], value, key):
                what = "two sources" if key in SOURCE_KEYS else f"two values of {key}"
                raise one.fields.error(
                    f"{what} for one person: {owner[key]} is the same as {one.id}", "leave one of them out"
                )
            wishes[key] = value
            owner.setdefault(key, one.id)
    ranges = sorted((one for entry in group for one in entry.ranges), key=lambda one: (one.first, one.end))
    for before, after in pairwise(ranges):
        if after.first < before.end:
            raise root.fields.error(f"ranges overlap: {before.text}, and {after.text}", "let one end where one begins")
    never = any(one.never for one in group)
    if never and (wishes.get("source") or ranges):
        names = ", ".join(one.id for one in group)
        raise root.fields.error(f"never = true, and a source or ranges, for one person: {names}", "leave one out")
    tracks = tuple(sorted(track for one in group for track in one.tracks))
    return replace(root, tracks=tracks, never=never, wishes=wishes, ranges=tuple(ranges))


def _same(one: Any, other: Any, key: str) -> bool:
    """Whether two tables say the same of one person; the files of a source may be spelled in several ways."""
    if key == "source":
        return [real(place(path)) for path in one] == [real(place(path)) for path in other]
    return bool(one == other)


# ---------------------------------------------------------------- roles


class Roles:
    """The roles of a job as they are asked for, each once; `swapper` and `options` are for who sets none.

    Where they are not `checked` it is not asked whether a swapper can do what is wanted of it.
    """

    def __init__(self, swapper: str, options: SwapOptions, *, checked: bool = True) -> None:
        self.specs: list[RoleSpec] = []
        self._swapper, self._options, self._checked = swapper, options, checked
        self._used: set[str] = set()  # fields of SwapOptions, and "swapper", that some role has from the command

    def unused(self) -> tuple[str, ...]:
        """What the command says and no role has: "swapper" and fields of SwapOptions; () where nothing is checked."""
        if not self._checked:
            return ()
        plain = SwapOptions()
        said = [name for name in FIELDS if getattr(self._options, name) != getattr(plain, name)]
        if self._swapper != JobSpec.swapper:
            said.insert(0, "swapper")
        return tuple(name for name in said if name not in self._used)

    def number(self, wishes: dict[str, Any], fields: Fields, whose: str) -> int:
        """The index of the role with these wishes; `InputError` or `ModelError` for what no swapper can do."""
        spec = self._spec(wishes, fields, whose)
        if spec not in self.specs:
            self.specs.append(spec)
        return self.specs.index(spec)

    def _spec(self, wishes: dict[str, Any], fields: Fields, whose: str) -> RoleSpec:
        path, *more = wishes["source"]
        swapper = wishes.get("swapper", self._swapper)
        own = {key: value for key, value in wishes.items() if key not in (*SOURCE_KEYS, "swapper")}
        if "enhancer" in own:
            own["enhancer"] = own["enhancer"] or None
        options = replace(read_by(swapper, self._options), **own)
        try:
            if swapper == "none":
                raise InputError('swapper = "none" puts nobody in', hint='write source = ""')
            if self._checked:
                read = options_read(swapper, options)
                if "enhancer_weight" not in own and "enhancer_weight" not in read:
                    options = replace(options, enhancer_weight=SwapOptions.enhancer_weight)
                check_swapper(swapper, options, str)
                self._used |= read - own.keys() | ({"swapper"} - wishes.keys())
        except FarmError as error:
            raise type(error)(f"{whose}: {error.what}", where=str(fields.path), hint=error.hint) from None
        return RoleSpec(SourceSpec(path, wishes.get("source_face"), tuple(more)), swapper, options)


def plan_of(one: Entry, roles: Roles) -> PersonPlan:
    """The person's plan; his roles are added to `roles`. `InputError` for settings of nobody's face."""
    wishes = one.wishes
    if not wishes.get("source"):
        if "source_face" in wishes:
            raise one.fields.error("source_face without a source", PERSON_HINT)
        base = NOBODY
    else:
        base = roles.number(wishes, one.fields, one.id)
    spans = []
    for part in one.ranges:
        role = NOBODY
        if not part.skip:
            inherited = {
                key: value for key, value in wishes.items() if not (part.wishes.get("source") and key in SOURCE_KEYS)
            }
            both = inherited | part.wishes
            if not both.get("source"):
                raise one.fields.error(f"range {part.text}: settings, but no source", "name a source there or above")
            role = roles.number(both, one.fields, f"{one.id}: range {part.text}")
        spans.append(Span(part.first, part.end, role))
    return PersonPlan(one.id, one.tracks, base, tuple(spans))
