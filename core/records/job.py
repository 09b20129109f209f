"""What the user asks for."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

OnDamage = Literal["fail", "keep"]


@dataclass(frozen=True)
class SourceSpec:
    """An image with the face to put in; `face` picks one of several, numbered from 1 at the left."""

    path: str
    face: int | None = None


@dataclass(frozen=True)
class EncodeSpec:
    """Encoder wishes; None means the source's codec family and that encoder's own sensible default."""

    codec: str | None = None
    crf: int | None = None
    preset: str | None = None


@dataclass(frozen=True)
class JobSpec:
    """One film to make. What it says determines the output; how it is run (workers, Ray, store) is not here."""

    target: str
    output: str
    source: SourceSpec | None = None
    swapper: str = "mesh"
    select: Literal["largest", "all"] = "largest"
    encode: EncodeSpec = EncodeSpec()
    segment_s: Fraction = Fraction(10)
    on_damage: OnDamage = "fail"
