"""Models in use, as reports name them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Precision = Literal["fp32", "fp16", "int8"]


@dataclass(frozen=True)
class ModelUse:
    """One model as it really ran: which file, where, how.

    `sha256` is of the weights as published or as the operator gave them; `listed` is False where that is not the
    published hash; `batch` is the fixed number of faces of one call, None where any will do; `steps` are the step-downs
    that memory pressure forced, in order.
    """

    id: str
    sha256: str
    listed: bool
    provider: str
    device: str
    precision: Precision
    batch: int | None
    steps: tuple[str, ...] = ()
