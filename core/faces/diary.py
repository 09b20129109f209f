"""What is kept of one person while two films go by, and which of it is bad enough to be looked at."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from core.faces.lookalike import Look
from core.faces.pose import SKULL, solid_similarity
from core.faces.summary import ShapeSums
from core.records import FaceSeries, Float32Array, MomentReason

WHOLE = ("frame", "track", "role", "replaced")
NUMBERS = tuple(name for name in FaceSeries.__dataclass_fields__ if name not in WHOLE)
BETTER = 1.1  # by how much another picture of a person must be better, so that few are made

# Where a moment begins to count (badness 1).
POSE_DEG = 10.0
MOUTH = 0.12  # in eye distances
EYES = 0.06
FLICKER = 2.0  # times the original's movement, to which
STILL_LEVELS = 1.0  # this is added: noise alone is no flicker


class Diary:
    """One person's numbers, one row a face measured."""

    def __init__(self) -> None:
        self._whole = {name: array("q") for name in WHOLE}
        self._numbers = {name: array("f") for name in NUMBERS}
        self._shape = {False: ShapeSums(), True: ShapeSums()}
        self._reference: Float32Array | None = None  # the first solid mesh of the original
        self._best = 0.0
        self.roles: set[int] = set()
        self.portrait = b""
        self.was_replaced = False

    def add(self, frame: int, track: int, role: int, replaced: bool, numbers: Mapping[str, float]) -> None:
        """Note a face; numbers that were not measured are left out of `numbers`."""
        for name, value in zip(WHOLE, (frame, track, role, int(replaced)), strict=True):
            self._whole[name].append(value)
        for name in NUMBERS:
            self._numbers[name].append(numbers.get(name, np.nan))
        self.was_replaced = replaced

    def shape(self, look: Look, replaced: bool) -> None:
        """Note what pose leaves between the meshes, turned as the person's first mesh was."""
        if look.difference is None:
            return
        if self._reference is None:
            self._reference = look.solid
        skull = list(SKULL)
        turn = solid_similarity(self._reference[skull], look.solid[skull])[1]
        self._shape[replaced].add((look.difference.left @ turn)[:, :2])

    def picture(self, goodness: float, make: Callable[[], bytes]) -> None:
        """Keep the picture of the face that is best by `goodness`."""
        if not self.portrait or goodness > self._best * BETTER:
            self._best, self.portrait = goodness, make()

    def moving(self) -> float | None:
        """See PersonQuality.expression."""
        return self._shape[any(self._whole["replaced"])].moving()

    def series(self) -> FaceSeries:
        whole = {name: np.array(column, np.int64) for name, column in self._whole.items()}
        numbers = {name: np.array(column, np.float32) for name, column in self._numbers.items()}
        return FaceSeries(**whole, **numbers)  # type: ignore[arg-type] # which makes its dtypes right


def numbers_of(look: Look) -> dict[str, float]:
    """The pose's and expression's columns of FaceSeries."""
    found = look.difference
    if found is None or look.openings is None:
        return {}
    (mouth, eyes), (mouth_output, eyes_output) = look.openings
    return {
        "yaw_deg": found.yaw_deg,
        "pitch_deg": found.pitch_deg,
        "roll_deg": found.roll_deg,
        "shift": float(np.hypot(*found.shift)),
        "growth": found.growth,
        "residual": found.residual,
        "mouth_original": mouth,
        "mouth_output": mouth_output,
        "eyes_original": eyes,
        "eyes_output": eyes_output,
    }


def faults(
    numbers: Mapping[str, float], *, replaced: bool, missed: bool, limit: float, same_person: float
) -> Iterator[tuple[MomentReason, float, float]]:
    """What may be bad about a face: reason, what was measured, badness (see Moment).

    `missed` says that it should be replaced, `limit` is the change at which it would count as such.
    """
    if missed and not replaced:
        yield "not replaced", numbers["change"], 2 - numbers["change"] / limit
    if not replaced:
        return
    angles = [numbers.get(name, 0.0) for name in ("yaw_deg", "pitch_deg", "roll_deg")]
    angle = max(angles, key=abs)
    yield "pose", angle, abs(angle) / POSE_DEG
    mouth = numbers.get("mouth_output", 0.0) - numbers.get("mouth_original", 0.0)
    eyes = numbers.get("eyes_output", 0.0) - numbers.get("eyes_original", 0.0)
    yield "expression", max(mouth, eyes, key=abs), max(abs(mouth) / MOUTH, abs(eyes) / EYES)
    if "to_source" in numbers:
        yield "identity", numbers["to_source"], numbers["to_source"] / same_person
    if "moved_output" in numbers:
        ratio = (numbers["moved_output"] + STILL_LEVELS) / (numbers["moved_original"] + STILL_LEVELS)
        yield "flicker", ratio, ratio / FLICKER
