"""Many records in little memory: parts that are equal in all of them are kept once."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from typing import TypeVar

from core.records import AnalysisReceipt, SegmentReceipt

ReceiptT = TypeVar("ReceiptT", bound=AnalysisReceipt | SegmentReceipt)
ValueT = TypeVar("ValueT", bound=Hashable)


class Shared:
    """Values seen so far. Receipts that were read from text, or came from another process, each have models, devices
    and words of their own, about 4 kB, which are the same for a whole job. For one thread."""

    def __init__(self) -> None:
        self._known: dict[Hashable, Hashable] = {}

    def one(self, value: ValueT) -> ValueT:
        """The first value that was equal to this one, of the same type."""
        known = self._known.setdefault((type(value), value), value)
        assert isinstance(known, type(value))
        return known

    def receipt(self, receipt: ReceiptT) -> ReceiptT:
        """`receipt`, equal, with the parts that others have too."""
        lean = replace(
            receipt,
            order_id=self.one(receipt.order_id),
            provider=self.one(receipt.provider),
            device=self.one(receipt.device),
            models=self.one(receipt.models),
            notes=self.one(receipt.notes),
            seconds={self.one(name): value for name, value in receipt.seconds.items()},
        )
        if isinstance(lean, SegmentReceipt):
            skipped = {self.one(name): value for name, value in lean.faces_skipped.items()}
            lean = replace(lean, faces_skipped=skipped, faces_by_role=self.one(lean.faces_by_role))
        return lean
