"""The face stages of a film: what is done, one after the other, to every face that is chosen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.records import ColourKind, PasteKind, WorkOrder
from core.swap.batch import BATCH
from core.swap.swapper import Swapper

if TYPE_CHECKING:
    from core.inference.sessions import Sessions

ENHANCE = "enhance"


@dataclass(frozen=True)
class Stage:
    """One change: by which model, with how many faces at a time, and how the result is laid into the frame.

    A stage cuts its crops out of frames into which all earlier stages were pasted. `name` is that of its seconds in
    the receipt. `left_out` says how many faces it has left as they came for want of memory.
    """

    name: str
    model: Swapper
    paste: PasteKind = "feather"
    colour: ColourKind = "none"
    batch: int = BATCH
    left_out: Callable[[], int] = lambda: 0


def open_stages(order: WorkOrder, sessions: Sessions | None, swapper: Swapper) -> tuple[Stage, ...]:
    """The swap, then the enhancer where the order names one.

    Raises `InputError` for options that cannot be, `ModelError` for missing or wrong weights.
    """
    options = order.options
    stages = [Stage("swap", swapper, options.paste, options.colour)]
    if options.enhancer is not None:
        from core.swap.enhance import open_enhancer  # noqa: PLC0415 - loads the runtime of networks

        if sessions is None:
            raise ValueError(f"enhancer {options.enhancer} without sessions")
        enhancer = open_enhancer(options, sessions)
        if enhancer is not None:
            stages.append(Stage(ENHANCE, enhancer, batch=enhancer.batch, left_out=lambda: enhancer.left_out))
    return tuple(stages)


def left_out(stages: Sequence[Stage]) -> Counter[str]:
    """Faces that stages have left out, by the reason that a receipt gives."""
    return Counter({no_memory(stage.name): count for stage in stages if (count := stage.left_out())})


def no_memory(stage: str) -> str:
    """The reason why faces did not go through a stage that memory was too short for."""
    return f"no memory to {stage}"
