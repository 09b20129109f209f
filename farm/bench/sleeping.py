"""Renderers that sleep instead of rendering: the farm's own machinery at work, and nothing else.

Orders are those of a film that does not exist, with all that a real one carries. A frame costs `frame_s` on every
renderer, and `prepare_s` goes before a segment's turn, as opening the film does. A renderer's first segment takes
`cold_s` longer, as one does for which engines are built.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction

from actors.dispatch import Task
from actors.drive import JobStore, Order, Receipt
from actors.worker import WorkerSettings
from core.errors import PlanError
from core.records import EncoderSettings, FileStamp, Role, Segment, SegmentReceipt, WorkOrder

BEAT_S = 0.25
FILM = FileStamp(50 * 10**9, 1_700_000_000_000_000_000, 12345, "node")


@dataclass(frozen=True)
class Pace:
    """How long things take: made into a renderer by calling it with what a renderer is told."""

    frame_s: float
    prepare_s: float = 0.0
    cold_s: float = 0.0

    def __call__(self, _: WorkerSettings) -> SleepingWorker:
        return SleepingWorker(self)


class SleepingWorker:
    """Sleeps through one order after the other; a second one waits for its turn as actors.worker's does."""

    def __init__(self, pace: Pace) -> None:
        self.words = ""
        self._pace = pace
        self._turn = threading.Lock()
        self._cold_s = pace.cold_s

    def setup(self) -> None:
        """Nothing to load."""

    def work(self, order: Order, attempt: int, heartbeat: Callable[[int], None], store: JobStore) -> Receipt:
        del store  # nothing is made
        if not isinstance(order, WorkOrder):
            raise PlanError("a sleeping renderer was asked to look for faces")
        time.sleep(self._pace.prepare_s)
        while not self._turn.acquire(timeout=BEAT_S):
            heartbeat(0)
        try:
            heartbeat(1)
            ends_s = time.monotonic() + self._cold_s + order.segment.frames * self._pace.frame_s
            while (left_s := ends_s - time.monotonic()) > 0:
                time.sleep(min(BEAT_S, left_s))
                left = int(max(0.0, ends_s - time.monotonic()) / self._pace.frame_s)
                heartbeat(max(1, order.segment.frames - left))
            self._cold_s = 0.0
        finally:
            self._turn.release()
        return receipt_of(order, attempt)


def receipt_of(order: WorkOrder, attempt: int) -> SegmentReceipt:
    """What a renderer would have handed back."""
    name = f"segments/{order.id}/{attempt}-{order.id[:8]}.mp4"
    return SegmentReceipt(
        order_id=order.id,
        segment=order.segment.index,
        file=name,
        sha256=hashlib.sha256(name.encode()).hexdigest(),
        size_bytes=10**6 + order.segment.index,
        frames=order.segment.frames,
        pts_first=order.segment.pts_first,
        pts_last=order.segment.pts_end - 1,
        faces_replaced=order.segment.frames,
        faces_skipped={"small": 3, "unsure": 1},
        seconds={"decode": 1.5, "crop": 2.5, "swap": 9.5, "paste": 3.5, "encode": 2.5},
        provider="CUDAExecutionProvider",
        device="NVIDIA L4",
        attempt=attempt,
        faces_by_role=(order.segment.frames,),
    )


def film_orders(tasks: Iterable[Task]) -> list[WorkOrder]:
    """An order a task, of as many frames as its cost says, rounded and at least one."""
    options = {"crf": "18", "preset": "veryfast"}
    encoder = EncoderSettings("libx264", "h264", "yuv420p", options, Fraction(24))
    role = Role("identity/" + "0" * 64 + ".json", "0" * 64, "inswapper_128", models=(("inswapper_128", "1" * 64),))
    orders = []
    first = 0
    for task in sorted(tasks, key=lambda task: task.position):
        end = first + max(1, round(task.cost))
        segment = Segment(task.position, first, end, first, 512 * first, 512 * end, 512 * first)
        orders.append(
            WorkOrder(
                id=hashlib.sha256(f"sleeping/{task.id}".encode()).hexdigest(),
                segment=segment,
                target="s3://films/feature.mkv",
                target_sha256="2" * 64,
                index="index/" + "3" * 64 + ".json",
                encoder=encoder,
                faces=f"cast/{task.position:064}.parquet",
                faces_sha256=hashlib.sha256(task.id.encode()).hexdigest(),
                roles=(role,),
                stamp=FILM,
            )
        )
        first = end
    return orders
