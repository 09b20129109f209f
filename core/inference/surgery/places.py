"""Where the faces are in a tensor: which axis counts them, once there is more than one.

A tensor's axis of size s at batch 1 may become s x N in two ways that matter: the faces first (`major` 1), or behind
`major` other things, as rows [h x w, N] are. The layout along the axis is always (major, N, s / major).
"""

from __future__ import annotations

from dataclasses import dataclass

from core.errors import ModelError
from core.inference.surgery.editor import Dim, Shape


@dataclass(frozen=True)
class Place:
    """The faces' axis in a tensor, and what stands before them along it."""

    axis: int
    major: int = 1

    def moved(self, axis: int) -> Place:
        return Place(axis, self.major)


def product(sizes: Shape) -> tuple[int, tuple[str, ...]]:
    """The product of sizes: the known part, and the names of the others in order. `ModelError` for one without name."""
    known, names = 1, []
    for size in sizes:
        if isinstance(size, int):
            known *= size
        elif size is None:
            names.append("?")
        else:
            names.append(size)
    return known, tuple(sorted(names))


def through_reshape(before: Shape, place: Place, after: Shape, free: int | None) -> Place | None:
    """Where the faces are after a Reshape of `before` to `after` (sizes at batch 1); None where no axis can hold them.

    A Reshape keeps the flat order, so the faces stay behind the same count of elements: product(before[:axis]) x major.
    Of several axes that fit, one of size 1 is taken, the same if it fits; else the one that the exporter left `free`
    (-1); else the last that has the faces first.
    """
    lead, names = product(before[: place.axis])
    if "?" in names:
        return None
    lead *= place.major
    exact = [at for at in range(len(after)) if product(after[:at]) == (lead, names)]
    single = [at for at in exact if after[at] == 1]
    if single:
        return Place(place.axis if place.axis in single and place.major == 1 else single[0])
    tries = [free] if free is not None else []
    inner = [_inside(after, at, lead, names) for at in [*tries, *reversed(exact), *range(len(after))]]
    return next((found for found in inner if found is not None), None)


def _inside(after: Shape, at: int, lead: int, names: tuple[str, ...]) -> Place | None:
    """The faces in the middle of axis `at`, if its size has a factor that fits."""
    known, have = product(after[:at])
    size: Dim = after[at]
    if have != names or lead % known or not isinstance(size, int) or size % (lead // known):
        return None
    return Place(at, lead // known)


def common(found: list[tuple[int, Place]], what: str) -> tuple[int, int]:
    """The one place of operands that are broadcast, counted from the right: (axes from the right, major).

    `found` has rank and place of each. `ModelError` where they differ.
    """
    places = {(rank - place.axis, place.major) for rank, place in found}
    if len(places) != 1:
        raise ModelError(f"{what} joins tensors that count faces along different axes")
    return places.pop()
