"""Detectors of every family behind one interface."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from core.errors import ModelError
from core.faces.centerface import CenterFace
from core.faces.finds import LONGEST_PX, Detections
from core.faces.scrfd import open_scrfd
from core.faces.yunet import open_yunet
from core.inference.sessions import Session

__all__ = ["LONGEST_PX", "Detections", "Detector", "open_detector"]


class Detector(Protocol):
    """Finds faces in pictures; holds a session and thresholds, no state between calls; shared by threads."""

    def at(self, longest_px: int) -> Detector:
        """The same detector looking at pictures whose longer side is made this long, as far as its network can."""
        ...

    def fitted_size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height to which a picture may be shrunk beforehand without being resampled again by `detect`;
        never larger than the picture."""
        ...

    def detect(self, pictures: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        """Faces of each picture (uint8 RGB [h,w,3]) in its pixels, best first; the results of a picture do not depend
        on the others."""
        ...


_FAMILIES: Mapping[str, Callable[[Session], Detector]] = {
    "centerface": CenterFace,
    "scrfd": open_scrfd,
    "yunet": open_yunet,
}


def open_detector(session: Session) -> Detector:
    """The detector that reads a session's tensors, by its manifest's family; `ModelError` when there is none."""
    manifest = session.manifest
    if manifest.role != "detector" or manifest.family not in _FAMILIES:
        raise ModelError(
            f"no detector reads the family {manifest.family!r} of the role {manifest.role}",
            where=f"model {manifest.id}",
            hint=f"family of its manifest: one of {', '.join(_FAMILIES)}",
        )
    return _FAMILIES[manifest.family](session)
