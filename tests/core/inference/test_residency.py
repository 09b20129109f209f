"""The ladder of step-downs: events in, steps out."""

from __future__ import annotations

import pytest

from core.inference.residency import SETTLE, Ladder, Step, is_out_of_memory, watch


def taken(ladder: Ladder, *, events: int = 10) -> list[Step]:
    steps: list[Step] = []
    for _ in range(events):
        ladder, step = ladder.on("out of memory")
        steps += [step] if step else []
    assert list(ladder.taken) == steps
    return steps


def test_errors_go_down_in_order_and_end() -> None:
    assert taken(Ladder(batch=4)) == ["unused sessions dropped", "frame ring halved", "batch 2", "batch 1"]
    assert taken(Ladder(batch=4, enhancer_may_go=True))[-1] == "enhancer off"
    assert taken(Ladder(batch=2)) == ["unused sessions dropped", "frame ring halved", "batch 1"]
    assert taken(Ladder(batch=1)) == ["unused sessions dropped", "frame ring halved"]


def test_what_the_steps_mean() -> None:
    ladder = Ladder(batch=4)
    assert (ladder.limit, ladder.ring(9)) == (None, 9)
    limits, rings = [], []
    for _ in range(4):
        ladder, _ = ladder.on("out of memory")
        limits.append(ladder.limit)
        rings.append(ladder.ring(9))
    assert limits == [None, None, 2, 1]
    assert rings == [9, 4, 4, 4]
    assert ladder.ring(1) == 1


def test_high_water_waits_for_the_last_step_to_settle() -> None:
    ladder, step = Ladder(batch=4).on("high water")
    assert step == "unused sessions dropped"
    for _ in range(SETTLE):
        ladder, step = ladder.on("high water")
        assert step is None
    ladder, step = ladder.on("high water")
    assert step == "frame ring halved"
    ladder, step = ladder.on("out of memory")  # an error does not wait
    assert step == "batch 2"


def test_calm_takes_no_step_and_lets_settle() -> None:
    ladder, _ = Ladder(batch=4).on("high water")
    for _ in range(SETTLE):
        ladder, step = ladder.on("calm")
        assert step is None
    assert ladder.on("high water")[1] == "frame ring halved"


def test_the_enhancer_never_goes_before_an_error() -> None:
    ladder = Ladder(batch=1, enhancer_may_go=True)
    for _ in range(2):
        ladder, _ = ladder.on("out of memory")
    for _ in range(3 * SETTLE):
        ladder, step = ladder.on("high water")
        assert step is None
    assert ladder.on("out of memory")[1] == "enhancer off"
    assert taken(Ladder(batch=1))[-1] == "frame ring halved"  # unless the job allows it


def test_readings() -> None:
    assert watch(93, 100) == "high water"
    assert watch(50, 100) == "calm"


@pytest.mark.parametrize(
    "message",
    [
        "BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer of size 1024",
        "Available memory of 0 is smaller than requested bytes of 65536",
        "CUDA failure 2: out of memory ; GPU=0 ; expr=cudaMalloc((void**)&p, size);",
        "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED",
        "CUDNN_STATUS_ALLOC_FAILED",
        "std::bad_alloc",
        "[TensorRT] Error Code 2: OutOfMemory (no further information)",
    ],
)
def test_messages_about_memory(message: str) -> None:
    assert is_out_of_memory(message)


def test_other_messages() -> None:
    assert not is_out_of_memory("Got invalid dimensions for input: target")
    assert not is_out_of_memory("CUDA failure 700: an illegal memory access was encountered")
