"""Receipts in little memory are the same receipts."""

from __future__ import annotations

import pickle
import tracemalloc

from core import codec
from core.lean import Shared
from core.records import AnalysisReceipt, ModelUse, SegmentReceipt

USES = tuple(ModelUse(f"m{number}", f"{number:064}", True, "CPU", "AMD", "fp32", None) for number in range(5))


def receipt(number: int) -> SegmentReceipt:
    """As it is read: nothing of it is shared with another one."""
    name = f"{number:064}"
    made = SegmentReceipt(
        order_id=name,
        segment=number,
        file=f"segments/{name}/1.mp4",
        sha256=name[::-1],
        size_bytes=10**6 + number,
        frames=250,
        pts_first=number,
        pts_last=number + 249,
        faces_replaced=250,
        faces_skipped={"small": 3},
        seconds={"decode": 0.5 + number, "swap": 2.5},
        provider="CUDAExecutionProvider",
        device="NVIDIA L4",
        attempt=1,
        models=USES,
        faces_by_role=(250,),
        notes=("a note",),
    )
    return codec.decode(codec.encode(made), SegmentReceipt)


def test_a_lean_receipt_equals_the_one_it_was_made_of() -> None:
    shared = Shared()
    for number in range(3):
        assert shared.receipt(receipt(number)) == receipt(number)
    one, two = (shared.receipt(receipt(number)) for number in (1, 2))
    assert one.models is two.models
    assert one.device is two.device
    assert pickle.loads(pickle.dumps(one)) == one
    looked = AnalysisReceipt("a", 0, "f", "s", 1, 1, 1, {"analyse": 1.0}, "CPU", "AMD", 1, models=USES)
    assert shared.receipt(looked) == looked


def test_values_of_different_types_are_never_one() -> None:
    shared = Shared()
    assert [type(shared.one(value)) for value in (1, True, 1.0, "1")] == [int, bool, float, str]
    assert shared.one((1,)) == (1,)


def test_a_receipt_takes_less_than_two_kilobytes() -> None:
    """Most of a receipt as it is read is what all have in common."""
    count, shared = 500, Shared()
    shared.receipt(receipt(0))
    sizes = []
    for lean in (False, True):
        tracemalloc.start()
        kept = [shared.receipt(receipt(number)) if lean else receipt(number) for number in range(count)]
        sizes.append(tracemalloc.get_traced_memory()[0] / count)
        tracemalloc.stop()
        del kept
    assert sizes[1] < 2000
    assert sizes[1] < sizes[0] / 2
