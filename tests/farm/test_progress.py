"""What a person reads on stderr, with a clock that the test turns."""

from __future__ import annotations

import io
from fractions import Fraction

from actors.dispatch import Beat, Busy, Done, NodeGone, NodeLeaves, Quarantine, Shun, SlotDied, SlotReady
from core.records import EncoderSettings, Segment, WorkOrder
from farm.progress import StderrProgress, duration_text


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def order(number: int, frames: int = 100, faces: int = 0) -> WorkOrder:
    first = number * 100
    segment = Segment(number, first, first + frames, first, first, first + frames, first)
    encoder = EncoderSettings("libx264", "h264", "yuv420p", {}, Fraction(25))
    return WorkOrder(f"o{number}", segment, "film", "", "index", encoder, face_count=faces)


def test_counts_speed_and_eta_include_what_was_reused() -> None:
    clock, stream = Clock(), io.StringIO()
    progress = StderrProgress(stream, clock)
    progress.stage("render")
    orders = [order(0), order(1, faces=7), order(2), order(3)]
    watch = progress.watch(orders, orders[1:])
    clock.now_s += 10
    watch(Beat("s", "o2", 1, 50), 0.0)
    clock.now_s += 10
    watch(Done("s", "o1", 1), 0.0)
    assert stream.getvalue().splitlines() == [
        "render: 37 %, 150/400 frames, 5.0 frames/s, 0 faces, 1/4 segments, ETA 0:50",
        "render: 62 %, 250/400 frames, 7.5 frames/s, 7 faces, 2/4 segments, ETA 0:20",
    ]


def test_a_pipe_gets_a_line_every_few_seconds_and_one_at_the_end() -> None:
    clock, stream = Clock(), io.StringIO()
    progress = StderrProgress(stream, clock)
    progress.stage("render")
    watch = progress.watch([order(0)], [order(0)])
    for frames in range(100):
        clock.now_s += 0.1
        watch(Beat("s", "o0", 1, frames), 0.0)
    watch(Done("s", "o0", 1), 0.0)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 3
    assert lines[-1].startswith("render: 100 %, 100/100 frames")


def test_a_terminal_gets_one_line_that_is_cleared() -> None:
    clock, stream = Clock(), Terminal()
    progress = StderrProgress(stream, clock)
    progress.stage("render")
    watch = progress.watch([order(0)], [order(0)])
    clock.now_s += 1
    watch(Beat("s", "o0", 1, 10), 0.0)
    watch(SlotDied("renderer-1", "killed"), 0.0)
    clock.now_s += 1
    watch(Beat("s", "o0", 1, 11), 0.0)
    progress.close()
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert "farm: renderer-1 lost (killed): its segments are queued again\n" in text
    assert text.endswith("\r")


def test_durations() -> None:
    assert [duration_text(s) for s in (0, 59.6, 61, 3600, 36061)] == ["0:00", "1:00", "1:01", "1:00:00", "10:01:01"]


def test_what_takes_minutes_is_shown_while_no_frames_come() -> None:
    clock, stream = Clock(), io.StringIO()
    progress = StderrProgress(stream, clock)
    progress.stage("render")
    watch = progress.watch([order(0)], [order(0)])
    for seconds in (10, 20, 30):
        clock.now_s += 10
        watch(Busy("s", f"inswapper_128: TensorRT builds the engine, {seconds} s so far"), 0.0)
    assert stream.getvalue().splitlines()[-1] == "render: inswapper_128: TensorRT builds the engine, 30 s so far"


def test_what_becomes_of_nodes_and_slots_is_told_in_a_line_each() -> None:
    clock, stream = Clock(), io.StringIO()
    progress = StderrProgress(stream, clock)
    progress.stage("render")
    watch = progress.watch([order(0)], [order(0)])
    watch(NodeLeaves("10.0.0.7/ab", 165.0), 45.0)
    watch(NodeGone("10.0.0.7/ab", "its node is gone"), 165.0)
    watch(Quarantine("renderer-1", "told by the error that ends the job"), 165.5)
    watch(SlotReady("renderer-0", 2), 166.0)
    watch(Quarantine("renderer-2", "another version of the farm"), 166.0)
    watch(Shun("10.0.0.8/cd", "told above"), 166.0)
    watch(Quarantine("renderer-0", "10.0.0.9/ef: /tmp: the disk is full"), 167.0)
    watch(Shun("10.0.0.9/ef", "10.0.0.9/ef: /tmp: the disk is full"), 167.0)
    told = [line for line in stream.getvalue().splitlines() if line.startswith("farm: ")]
    assert told == [
        "farm: node 10.0.0.7/ab is taken away in 2:00: it gets nothing new",
        "farm: node 10.0.0.7/ab is gone: its segments are queued again",
        "farm: renderer-2 is taken out of service: another version of the farm",
        "farm: another node is waited for, because of 10.0.0.9/ef: /tmp: the disk is full",
    ]
