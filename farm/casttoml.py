"""The TOML of a cast: tables read key by key, with one line for whatever is wrong, and texts and times written."""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Iterable, Sequence
from datetime import time as clock_time
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

from core.errors import InputError
from core.media.timebase import seconds_to_ticks
from core.records import Int64Array, MediaIndex

TIME = re.compile(r"(?:(?:(\d+):)?(\d{1,2}):)?(\d+(?:\.\d+)?)", re.ASCII)
TIME_HINT = 'write "HH:MM:SS.mmm", or seconds'
DIGITS = 30  # before or behind the point of a time: longer than any film, and quick to reckon with
LINE = 100  # columns, after which a list of numbers goes on in the next line


class Fields:
    """A table of the file as its keys are taken; `whose` names it in messages, e.g. a person's id."""

    def __init__(self, data: Any, path: Path, whose: str) -> None:
        self.path, self.whose = path, whose
        if not isinstance(data, dict):
            raise self.error("is no table", "see the comments at the head of the file")
        self.data: dict[str, Any] = data
        self._known: set[str] = set()

    def error(self, what: str, hint: str = "") -> InputError:
        return InputError(f"{self.whose}: {what}", where=str(self.path), hint=hint)

    def take(self, key: str, kinds: tuple[type, ...], wanted: str) -> Any:
        """The value of a key, None where it is not there; `InputError` unless it is of one of `kinds`."""
        self._known.add(key)
        value = self.data.get(key)
        if value is not None and (not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds)):
            raise self.error(f"{key} = {shown(value)}", f"write {wanted}")
        return value

    def text(self, key: str) -> str | None:
        value: str | None = self.take(key, (str,), f'a text: {key} = "..."')
        return value

    def flag(self, key: str) -> bool:
        return bool(self.said(key))

    def said(self, key: str) -> bool | None:
        """True, false, or None where the file says neither."""
        value: bool | None = self.take(key, (bool,), f"{key} = true or {key} = false")
        return value

    def number(self, key: str, low: float, high: float) -> float | None:
        """A number from `low` to `high`, both included."""
        wanted = f"a number from {low:g} to {high:g}" if high < float("inf") else f"a number of at least {low:g}"
        value = self.take(key, (int, Decimal), wanted)
        number = None if value is None else as_float(value)
        if number is not None and not (low <= number <= high and number < float("inf")):
            raise self.error(f"{key} = {shown(value)}", f"write {wanted}")
        return number

    def whole(self, key: str, low: int, high: int | None = None) -> int | None:
        """A whole number from `low` to `high`, both included."""
        wanted = f"a whole number of at least {low}" if high is None else f"a whole number from {low} to {high}"
        value: int | None = self.take(key, (int,), wanted)
        if value is not None and (value < low or (high is not None and value > high)):
            raise self.error(f"{key} = {shown(value)}", f"write {wanted}")
        return value

    def texts(self, key: str) -> tuple[str, ...] | None:
        """A text or a list of texts."""
        value = self.take(key, (str, list), f'a text or a list of texts: {key} = ["...", "..."]')
        if value is None or isinstance(value, str):
            return None if value is None else (value,)
        if not all(isinstance(one, str) for one in value):
            raise self.error(f"{key} = {shown(value)}", f'write a list of texts: {key} = ["...", "..."]')
        return tuple(value)

    def numbers(self, key: str, wanted: str) -> tuple[float, ...] | None:
        """A list of numbers, or a number as a list of one."""
        value = self.take(key, (int, Decimal, list), wanted)
        if value is None:
            return None
        many = value if isinstance(value, list) else [value]
        if not all(isinstance(one, (int, Decimal)) and not isinstance(one, bool) for one in many):
            raise self.error(f"{key} = {shown(value)}", f"write {wanted}")
        return tuple(as_float(one) for one in many)

    def wholes(self, key: str) -> tuple[int, ...] | None:
        value = self.take(key, (list,), f"a list of whole numbers: {key} = [0, 1]")
        if value is None:
            return None
        if not all(isinstance(one, int) and not isinstance(one, bool) for one in value):
            raise self.error(f"{key} = {shown(value)}", f"write a list of whole numbers: {key} = [0, 1]")
        return tuple(value)

    def tables(self, key: str, name: str) -> list[Any]:
        """The tables `[[name]]`, none where there are none."""
        value = self.take(key, (list,), f"[[{name}]] above its lines")
        return list(value or [])

    def time(self, key: str) -> Fraction | None:
        """A time in exact seconds."""
        value = self.take(key, (str, int, Decimal, clock_time), 'a time: "HH:MM:SS.mmm", or seconds')
        if value is None:
            return None
        try:
            return seconds_of(value)
        except ValueError:
            raise self.error(f"{key} = {shown(value)} is no time", TIME_HINT) from None

    def done(self) -> None:
        """`InputError` for the first key that nobody took."""
        for key in self.data:
            if key not in self._known:
                near = difflib.get_close_matches(key, sorted(self._known), 1, 0.5)
                known = f"did you mean {near[0]}?" if near else f"it may have {', '.join(sorted(self._known))}"
                raise self.error(f"unknown key {key!r}", known)


def read_toml(path: Path) -> dict[str, Any]:
    """The file's data, with exact decimals; `InputError` where it cannot be read or is no TOML.

    Editors may have put a byte order mark before UTF-8, and end lines with CR LF.
    """
    hint = "make one with `farm cast`"
    try:
        data = path.read_bytes()
        if _is_utf16(data):
            raise InputError("saved as UTF-16 or UTF-32, not as UTF-8", where=str(path), hint="save it as UTF-8")
        text = data.decode("utf-8-sig")
        return tomllib.loads(text, parse_float=Decimal)
    except FileNotFoundError:
        raise InputError("no such cast", where=str(path), hint=hint) from None
    except IsADirectoryError:
        raise InputError("the cast is a folder", where=str(path), hint=f"give {path / 'cast.toml'}") from None
    except OSError as error:
        raise InputError(f"the cast cannot be read: {error.strerror}", where=str(path), hint=hint) from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise InputError(f"not UTF-8 (at line {line})", where=str(path), hint="save it as UTF-8") from None
    except (ValueError, ArithmeticError, RecursionError) as error:
        what = str(error) if isinstance(error, tomllib.TOMLDecodeError) else "numbers or brackets beyond all bounds"
        raise InputError(f"not valid TOML: {what}", where=str(path), hint="correct the line") from None


def _is_utf16(data: bytes) -> bool:
    """Whether a text is in units of two or four bytes: a byte order mark says so, or a zero in one of the first two.

    A cast's first letter is of ASCII, so that without a mark one byte of it is zero and another is not.
    """
    return data.startswith((b"\xff\xfe", b"\xfe\xff")) or (len(data) > 1 and (data[0] == 0) != (data[1] == 0))


def as_float(value: int | Decimal) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else -float("inf")


def shown(value: Any) -> str:
    """A value of the file in a message: short, in one line."""
    try:
        text = str(value) if isinstance(value, Decimal) else json.dumps(value, ensure_ascii=False, default=str)
    except ValueError:  # Python writes whole numbers of some thousand digits and no longer ones
        text = "a number beyond all bounds"
    return text if len(text) <= 60 else text[:57] + "..."


# ---------------------------------------------------------------- times


def seconds_of(value: str | int | Decimal | clock_time) -> Fraction:
    """Exact seconds of "HH:MM:SS.mmm", "MM:SS", TOML's own HH:MM:SS, or a number; `ValueError` for anything else."""
    if isinstance(value, clock_time):
        seconds = value.hour * 3600 + value.minute * 60 + value.second + Fraction(value.microsecond, 1_000_000)
    elif isinstance(value, str):
        match = TIME.fullmatch(value.strip())
        if match is None:
            raise ValueError(value)
        hours, minutes, rest = match.groups()
        if minutes is not None and (Fraction(rest) >= 60 or (hours is not None and int(minutes) >= 60)):
            raise ValueError(value)
        seconds = int(hours or 0) * 3600 + int(minutes or 0) * 60 + Fraction(rest)
    else:
        if isinstance(value, Decimal) and not (value.is_finite() and abs(value.adjusted()) < DIGITS):
            raise ValueError(value)
        seconds = Fraction(value)
    if seconds < 0:
        raise ValueError(value)
    return seconds


def timecode(ticks: int, time_base: Fraction) -> str:
    """`ticks` from the film's first frame as HH:MM:SS.mmm, milliseconds rounded down.

    Rounded down so that a frame is in the range that begins with its timecode, and not in one that ends with it.
    """
    milliseconds = (ticks * time_base * 1000).__floor__()
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{rest:03d}"


def frame_timecode(index: MediaIndex, frame: int) -> str:
    return timecode(int(index.pts[frame] - index.pts[0]), index.time_base)


def frames_between(fields: Fields, index: MediaIndex) -> tuple[int, int]:
    """The frames [first, end) shown at or after `from` and before `to`; left out, they are the film's ends.

    A frame counts by its own time, from the film's first frame. `InputError` when there is none, or when a time lies
    outside the film (to the next millisecond).
    """
    length = (index.end_pts - int(index.pts[0])) * index.time_base
    begin, end = fields.time("from"), fields.time("to")
    told = f"the film is {timecode(index.end_pts - int(index.pts[0]), index.time_base)} long"
    for key, time in (("from", begin), ("to", end)):
        if time is not None and time * 1000 > -((-length * 1000) // 1):
            raise fields.error(f"{key} = {shown(fields.data[key])} is after the film's end", told)
    if begin is not None and end is not None and begin >= end:
        raise fields.error(f"from {shown(fields.data['from'])} is not before to {shown(fields.data['to'])}", TIME_HINT)
    pts: Int64Array = index.pts
    first = 0 if begin is None else _frames_before(pts, begin, index.time_base)
    last = len(pts) if end is None else _frames_before(pts, end, index.time_base)
    if first >= last:
        raise fields.error(f"no frame is shown in {span_text(fields)}", told)
    return first, last


def _frames_before(pts: Int64Array, seconds: Fraction, time_base: Fraction) -> int:
    return int(pts.searchsorted(int(pts[0]) + seconds_to_ticks(seconds, time_base)))


def span_text(fields: Fields) -> str:
    """The range as written."""
    return f"from {shown(fields.data.get('from', 0))} to {shown(fields.data.get('to', 'the end'))}"


# ---------------------------------------------------------------- writing


def quoted(text: str) -> str:
    """A TOML text."""
    plain = text.encode("utf-8", "replace").decode("utf-8")
    return json.dumps(plain, ensure_ascii=False).replace("\x7f", "\\u007f")


def number_list(numbers: Iterable[int]) -> str:
    """A TOML list of whole numbers, on more than one line where it is long."""
    rows: list[str] = [""]
    for number in numbers:
        if len(rows[-1]) + len(str(number)) > LINE:
            rows.append("")
        rows[-1] += f"{number}, "
    if len(rows) == 1:
        return f"[{rows[0].removesuffix(', ')}]"
    return "\n".join(["[", *(f"  {row.rstrip()}" for row in rows), "]"])


def commented(lines: Sequence[str]) -> str:
    return "".join(f"# {line}".rstrip() + "\n" for line in lines)
