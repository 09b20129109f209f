"""What the texts of `farm render`'s options mean; `typer.BadParameter` in one line for what they cannot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import cast, get_args

import typer

from core.records import MaskKind, Select, SourceSpec
from farm.seconds import duration_of, seconds_of

SIDES = 4
REFERENCE = "reference"


def seconds(text: str) -> Fraction:
    """An exact number of seconds: 10, 1.5 or 1001/30."""
    value = seconds_of(text)
    if value is None and text.startswith("-") and seconds_of(text[1:]) is not None:
        raise typer.BadParameter(f"{text!r}: no time is shorter than nothing, write 10, 1.5 or 1001/30")
    if value is None:
        raise typer.BadParameter(f"{text!r} is no number of seconds, write 10, 1.5 or 1001/30, 0 for one a keyframe")
    return value


def duration(text: str) -> float:
    """A length of time above 0 with its unit, in seconds: 8h, 90m, 1h30m or 45s."""
    value = duration_of(text)
    if not value:
        raise typer.BadParameter(f"{text!r} is no length of time, write 8h, 90m, 1h30m or 45s")
    return value


def mask_kinds(text: str) -> tuple[MaskKind, ...]:
    """The masks of a list with commas, each once."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    known = get_args(MaskKind)
    if not names or not set(names) <= set(known):
        raise typer.BadParameter(f"--masks {text!r}: write one or more of {', '.join(known)}, with commas")
    return cast("tuple[MaskKind, ...]", names)


def padding(text: str) -> tuple[float, float, float, float]:
    """One number for all sides, or four: top, right, bottom, left."""
    try:
        parts = [float(part) for part in text.split(",")]
    except ValueError:
        parts = []
    if len(parts) == 1:
        parts *= SIDES
    if len(parts) != SIDES or not all(0 <= part < 1 for part in parts):
        raise typer.BadParameter(f"--mask-padding {text!r}: write 0.1, or four such numbers: top,right,bottom,left")
    return (parts[0], parts[1], parts[2], parts[3])


def selection(text: str | None) -> tuple[Select, str | None]:
    """Which faces `--select` means, and the reference image; nothing said means the largest."""
    kind, colon, image = (text or "largest").partition(":")
    if kind == REFERENCE:
        if not image:
            raise typer.BadParameter("--select reference needs an image: write --select reference:IMAGE")
        return "reference", image
    if colon or kind not in get_args(Select):
        raise typer.BadParameter(f"--select {text!r}: write largest, all or reference:IMAGE")
    return ("all" if kind == "all" else "largest"), None


def check_cast(path: Path | None, swapper: str, people: Mapping[str, object], looking: Mapping[str, object]) -> None:
    """Refuse beside a cast what the cast itself says, and what its analysis was made with.

    `people` and `looking` are what was written for options of these, by the option; None and () for nothing.
    """
    if path is None:
        return
    for options, whose in ((people, "the cast says who becomes whom"), (looking, "the film is analysed already")):
        for option, given in options.items():
            if given not in (None, (), []):
                raise typer.BadParameter(f"--cast and {option} exclude each other: {whose}")
    if swapper == "none":
        raise typer.BadParameter("--cast and --swapper none exclude each other: nobody would be replaced")


def source_spec(paths: Sequence[Path], face: int | None) -> SourceSpec | None:
    """The person to put in: the first path is the image, the others show more of the same person."""
    if not paths:
        if face:
            raise typer.BadParameter("--source-face needs --source")
        return None
    return SourceSpec(str(paths[0]), face, tuple(str(path) for path in paths[1:]))
