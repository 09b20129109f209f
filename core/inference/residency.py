"""What an actor gives up, in which order, when the device's memory runs out. No runtime and no device in here.

Steps cost speed, never pixels, but for the last: the enhancer goes only where the job says that it may.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Step = Literal["unused sessions dropped", "frame ring halved", "batch 2", "batch 1", "enhancer off"]
Event = Literal["out of memory", "high water", "calm"]

HIGH_WATER = 0.92  # of the device's memory, used by all processes together
SETTLE = 8  # observations after a step before the high-water mark may force the next: memory is given back late
BATCH_OF: dict[Step, int] = {"batch 2": 2, "batch 1": 1}
ORDER: tuple[Step, ...] = ("unused sessions dropped", "frame ring halved", "batch 2", "batch 1", "enhancer off")
# words of ONNX Runtime's, CUDA's, cuDNN's, cuBLAS's and TensorRT's messages about memory
OUT_OF_MEMORY = (
    "failed to allocate memory",
    "out of memory",
    "bad_alloc",
    "available memory of",
    "alloc_failed",
    "cuda failure 2:",
    "outofmemory",
)


@dataclass(frozen=True)
class Ladder:
    """How far down an actor has stepped; `batch` is what it started with, `taken` the steps so far, in order."""

    batch: int
    enhancer_may_go: bool = False
    taken: tuple[Step, ...] = ()
    settling: int = 0

    @property
    def limit(self) -> int | None:
        """The most items of one call that the steps allow, None where they allow any number."""
        return min((BATCH_OF[step] for step in self.taken if step in BATCH_OF), default=None)

    def ring(self, frames: int) -> int:
        """How many frames may be held where `frames` were planned, at least 1."""
        return max(1, frames // 2) if "frame ring halved" in self.taken else frames

    def next(self) -> Step | None:
        """The step to take next, None at the bottom. A batch that is not smaller than the first is no step."""
        for step in ORDER:
            if step in self.taken or BATCH_OF.get(step, 0) >= self.batch:
                continue
            if step == "enhancer off" and not self.enhancer_may_go:
                continue
            return step
        return None

    def on(self, event: Event) -> tuple[Ladder, Step | None]:
        """The ladder after an event, and the step to take now if any.

        An error takes a step at once. The high-water mark takes one unless the last is still settling, and never one
        that changes the picture: memory is not yet short.
        """
        settling = max(0, self.settling - 1)
        step = self.next()
        if event == "calm" or step is None:
            return replace(self, settling=settling), None
        if event == "high water" and (self.settling > 0 or step == "enhancer off"):
            return replace(self, settling=settling), None
        return replace(self, taken=(*self.taken, step), settling=SETTLE), step


def watch(used_bytes: int, total_bytes: int) -> Event:
    """What a reading of the device's memory means."""
    return "high water" if used_bytes > HIGH_WATER * total_bytes else "calm"


def is_out_of_memory(message: str) -> bool:
    """Whether a runtime's message says that memory was short."""
    text = message.lower()
    return any(words in text for words in OUT_OF_MEMORY)
