"""What a swapper is: batches of upright face crops in, the same crops with another face and masks out."""

from __future__ import annotations

from typing import Any, Protocol

from numpy.typing import NDArray

from core.errors import InputError
from core.geometry import Float64Array
from core.records import Float32Array, SourceIdentity


class Swapper(Protocol):
    """Shared by the threads of a worker; `swap` may be called from several at once.

    `needs_mesh`: rows without mesh points cannot be given to it.
    """

    id: str
    needs_mesh: bool
    provider: str
    device: str

    def side_for(self, reach_px: float, identity: SourceIdentity) -> int:
        """The side in pixels of the crops this swapper wants of a track that reaches this extent (FaceTable)."""
        ...

    def crop_from_display(self, points: NDArray[Any], mesh: NDArray[Any], side_px: int) -> Float64Array:
        """Where this swapper wants a face: the map [2,3] from the upright picture to its crop of this side.

        points [5,2] and mesh [468,2] (NaN where missing) are in the upright picture with square pixels.
        `ValueError` when they span no area.
        """
        ...

    def swap(
        self, crops: Float32Array, landmarks: Float32Array, identity: SourceIdentity
    ) -> tuple[Float32Array, Float32Array]:
        """New crops and masks.

        crops float32 RGB [n,3,S,S] in 0..1, S as `side_for` said; landmarks float32 [n,468,2] in crop pixels.
        Returns crops of the same shape and masks float32 [n,1,S,S] in 0..1, 0 on the crop's rim: how much of the new
        crop the frame gets.
        """
        ...


SWAPPERS = ("mesh",)


def open_swapper(name: str) -> Swapper:
    """The swapper called `name`; `InputError` names those there are."""
    if name == "mesh":
        from core.swap.mesh import MeshSwapper  # noqa: PLC0415 - the interface can be had without the craft

        return MeshSwapper()
    raise InputError(f"unknown swapper {name}", hint=f"one of: {', '.join(SWAPPERS)}, none")
