"""What is drawn, as text: no colour is needed to read it."""

from __future__ import annotations

import io
from dataclasses import replace

import hypothesis.strategies as st
from hypothesis import given, settings
from rich.console import Console

from core.records import LETTERS, SegmentStatus
from farm.watching.grid import cells, eta_text, line, losses, screen
from tests.farm.watching.test_follow import STATUS


def drawn(width: int = 100, height: int = 30, quiet_s: float = 0.0, **changes: object) -> list[str]:
    stream = io.StringIO()
    console = Console(file=stream, width=width, height=height)
    console.print(screen(replace(STATUS, **changes), width, height, quiet_s))  # type: ignore[arg-type]
    return [row.rstrip() for row in stream.getvalue().splitlines()]


def working(count: int) -> tuple[SegmentStatus, ...]:
    return tuple(
        SegmentStatus(number, "running", 40, 100, 1, f"renderer-{number}", "node", "L4", 30.0, 5)
        for number in range(count)
    )


def test_a_screen() -> None:
    rows = drawn(
        grid="=#>.!X",
        working=(SegmentStatus(2, "running", 42, 100, 3, "renderer-0", "node-a", "L4", 30.0, 5),),
        working_total=1,
        frames_per_second=12.34,
        slots=4,
        busy=1,
        faces=7,
        eta_low_s=61.0,
        eta_high_s=130.0,
        retries={"died": 2, "notice": 1},
        cost=1.239,
        currency="USD",
        notes=("one", "two [bold]", "three", "four"),
        words="TensorRT builds the engine",
    )
    assert rows == [
        "out.mp4  render  1:00",
        "50 %, 250/500 frames, 12.3 frames/s, 2/6 segments, 1 of 4 renderers work, 7 faces, 1.24 USD, ETA",
        "1:01 to 2:10",
        "=#4.!X",
        ". 1 waiting   > 1-9 1 running   # 1 done   = 1 there before   ! 1 lost, again   X 1 failed",
        "2 lost because renderers died, 1 lost because nodes gave notice",
        "segment  try  frames                for   renderer    node    kind",
        "      2    3  42/100  [####------]  0:30  renderer-0  node-a  L4",
        "TensorRT builds the engine",
        "note: two [bold]",
        "note: three",
        "note: four",
    ]


def test_before_a_map_and_after_the_end() -> None:
    assert drawn(grid="", stage="index") == ["out.mp4  index  1:00"]
    rows = drawn(grid="##", state="failed", error="no room", stage="join")
    assert rows[0] == "out.mp4  failed  1:00"
    assert rows[-1] == "no room"
    assert drawn(quiet_s=12.0)[0] == "out.mp4  render  1:00  nothing heard for 0:12"


@settings(max_examples=40)
@given(st.integers(20, 200), st.integers(10, 80), st.integers(1, 9000), st.integers(0, 300), st.integers(0, 20))
def test_a_screen_fits_its_terminal(width: int, height: int, segments: int, running: int, notes: int) -> None:
    rows = drawn(
        max(width, 90),
        max(height, 20),
        grid=">" * segments,
        working=working(running),
        working_total=running + 3,
        notes=tuple(str(number) for number in range(notes)),
    )
    assert len(rows) <= max(height, 20)
    assert all(len(row) <= max(width, 90) for row in rows)


@given(st.text("".join(LETTERS.values()), min_size=1, max_size=300), st.integers(1, 400))
def test_a_cell_for_every_segment_and_the_worst_is_never_hidden(grid: str, most: int) -> None:
    found = "".join(cells(replace(STATUS, grid=grid), most))
    assert len(found) <= max(most, 1)
    if len(grid) <= most:
        assert found == grid
    for letter in (LETTERS["failed"], LETTERS["lost"]):
        assert letter not in grid or LETTERS["failed"] in found or letter in found
    assert (set(found) <= {"#", "="}) == (set(grid) <= {"#", "="})


def test_cells_count_tenths() -> None:
    assert "".join(cells(replace(STATUS, grid="##########.........."), 2)) == "#."
    assert "".join(cells(replace(STATUS, grid="###.......>........."), 2)) == "3>"
    assert "".join(cells(replace(STATUS, grid=">>", working=working(1)), 2)) == "4>"


def test_a_line() -> None:
    assert line(replace(STATUS, stage="index", retries={"node": 2})) == "index: 2 lost because nodes went"
    assert line(replace(STATUS, stage="join")) == "join"
    assert line(replace(STATUS, eta_low_s=5.0, eta_high_s=5.0)).endswith("0 of 0 renderers work, ETA 0:05")
    assert (eta_text(STATUS), losses(STATUS)) == ("", "")
