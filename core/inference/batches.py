"""How many items a call of a model gets, and in which precision a job loads it: what must be there before it runs."""

from __future__ import annotations

from core.inference.manifest import ModelManifest, Role
from core.inference.providers import BATCH
from core.inference.residency import BATCH_OF
from core.records.models import Precision

# Pixels of one call, four crops of 512: a network keeps hundreds of bytes a pixel, gpen_2048 more than 1 GB an item.
CALL_PIXELS = 4 * 512 * 512
IN_PRECISION: tuple[Role, ...] = ("swapper", "enhancer")  # as open_swapper and open_enhancer ask for them


def call_items(manifest: ModelManifest, batch: int) -> int:
    """How many items one call gets: at most `batch`, fewer of large pictures; 4, 2 or 1 below that."""
    sides = [size for spec in manifest.inputs for size in spec.shape[2:] if isinstance(size, int) and size > 4]
    pixels = max(sides, default=1) ** 2
    return next((items for items in (batch, 4, 2) if items <= batch and items * pixels <= CALL_PIXELS), 1)


def loaded_batches(manifest: ModelManifest, batch: int = BATCH) -> tuple[int, ...]:
    """The numbers of items of one call with which a GPU may load the model, where it asks for `batch`: the one it
    begins with, then those that the steps on memory pressure leave it."""
    most = call_items(manifest, batch)
    return (most, *(items for items in sorted(BATCH_OF.values(), reverse=True) if items < most))


def loaded_precision(manifest: ModelManifest, precision: Precision) -> Precision:
    """The precision in which a job that asks for `precision` loads the model: what finds faces, tells them apart or
    makes masks stays in float32, where other numbers would change more than the picture's last bits."""
    return precision if manifest.role in IN_PRECISION else "fp32"
