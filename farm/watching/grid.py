"""How far a job is, drawn for a terminal or told in one line. Every state has a letter: colour only helps."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from core.records import LETTERS, JobStatus, SegmentState, SegmentStatus
from farm.progress import duration_text

STYLES: dict[SegmentState, str] = {
    "waiting": "dim",
    "running": "yellow",
    "done": "green",
    "reused": "cyan",
    "lost": "bold magenta",
    "failed": "bold red",
}
STYLE_OF = {LETTERS[state]: style for state, style in STYLES.items()}
NAMES: dict[SegmentState, str] = {"reused": "there before", "lost": "lost, again"}
BAR = 10
OTHER_ROWS = 8  # title, figures, losses, legend, headings and the like
LEAST_ROWS = 3
NOTES = 3
CAUSES = {
    "died": "renderers died",
    "hung": "renderers hung",
    "node": "nodes went",
    "notice": "nodes gave notice",
}


# ---------------------------------------------------------------- in words


def eta_text(status: JobStatus) -> str:
    """The time that is left of the map, as a range; "" while nothing is known."""
    if status.eta_low_s is None or status.eta_high_s is None:
        return ""
    low, high = duration_text(status.eta_low_s), duration_text(status.eta_high_s)
    return f"ETA {low}" if low == high else f"ETA {low} to {high}"


def figures(status: JobStatus) -> list[str]:
    """How far, how fast, how many, how long."""
    if not status.grid:
        return []
    done = status.count("done") + status.count("reused")
    told = [
        f"{100 * status.frames_done // max(status.frames, 1)} %",
        f"{status.frames_done}/{status.frames} frames",
        f"{status.frames_per_second:.1f} frames/s",
        f"{done}/{status.segments} segments",
        f"{status.busy} of {status.slots} renderers work",
    ]
    if status.map == "render" and status.faces:
        told.append(f"{status.faces} faces")
    if status.cost is not None:
        told.append(f"{status.cost:.2f} {status.currency}")
    return [*told, eta] if (eta := eta_text(status)) else told


def losses(status: JobStatus) -> str:
    """How often segments were lost, by cause; "" where none was."""
    return ", ".join(f"{count} lost because {CAUSES.get(cause, cause)}" for cause, count in status.retries.items())


def line(status: JobStatus) -> str:
    """The job in one line."""
    parts = figures(status) if status.stage in {"analyse", "render", "start"} else []
    if status.words and parts:
        parts.append(status.words)
    if lost := losses(status):
        parts.append(lost)
    told = status.stage or "begins"
    return f"{told}: {', '.join(parts)}" if parts else told


# ---------------------------------------------------------------- drawn


def cells(status: JobStatus, most: int) -> Iterator[str]:
    """At most `most` letters for the segments in the order of the film: each for one of them, or for as many as needed.

    A digit stands for tenths that are done: of the frames of a segment that runs, or of the segments of a cell.
    """
    size = -(-status.segments // max(most, 1)) or 1
    tenths = {one.segment: 10 * one.frames // max(one.of_frames, 1) for one in status.working}
    for first in range(0, status.segments, size):
        here = status.grid[first : first + size]
        if size == 1:
            yield str(min(tenths[first], 9)) if tenths.get(first) and here == LETTERS["running"] else here
        else:
            yield cell(here)


def cell(here: str) -> str:
    """One letter for several segments: the worst of them, else how many are done."""
    for state in ("failed", "lost"):
        if (letter := LETTERS[state]) in here:
            return letter
    if len(set(here)) == 1:
        return here[0]
    done = here.count(LETTERS["done"]) + here.count(LETTERS["reused"])
    if done == len(here):
        return LETTERS["done"]
    return str(10 * done // len(here)) if done * 10 >= len(here) else LETTERS["running"]


def draw_cells(status: JobStatus, width: int, rows: int) -> Text:
    drawn = Text()
    for number, letter in enumerate(cells(status, width * rows)):
        if number and number % width == 0:
            drawn.append("\n")
        drawn.append(letter, STYLE_OF.get(letter, STYLES["running"]))
    return drawn


def legend(status: JobStatus) -> Text:
    drawn = Text()
    for state, letter in LETTERS.items():
        shown = f"{letter} 1-9" if state == "running" else letter
        drawn.append(shown, STYLES[state])
        drawn.append(f" {status.count(state)} {NAMES.get(state, state)}   ")
    drawn.rstrip()
    return drawn


def bar(one: SegmentStatus) -> str:
    filled = BAR * one.frames // max(one.of_frames, 1)
    return f"[{'#' * filled}{'-' * (BAR - filled)}]"


def table(status: JobStatus, rows: int) -> Table:
    """The attempts that run, those that run longest first."""
    drawn = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("segment", "try", "frames", "", "for", "renderer", "node", "kind"):
        drawn.add_column(heading, no_wrap=True, justify="right" if heading in {"segment", "try", "frames"} else "left")
    shown = status.working if len(status.working) <= rows else status.working[: max(rows - 1, 0)]
    for one in shown:
        since = duration_text(max(0.0, status.seconds - one.since_s))
        frames = f"{one.frames}/{one.of_frames}"
        row = (str(one.segment), str(one.attempt), frames, bar(one), since, one.slot, one.node, one.kind)
        drawn.add_row(*map(Text, row))  # as they are: a bracket in a string means markup to Rich
    if status.working_total > len(shown):
        drawn.add_row("", "", "", f"and {status.working_total - len(shown)} more")
    return drawn


def screen(status: JobStatus, width: int, height: int, quiet_s: float = 0.0) -> RenderableType:
    """The whole job on a terminal of `width` by `height`; `quiet_s` seconds nothing was heard of it."""
    title = Text(status.output, "bold", no_wrap=True, overflow="ellipsis")
    title.append(f"  {status.stage or 'begins'}" if status.state == "running" else f"  {status.state}", "bold")
    title.append(f"  {duration_text(status.seconds)}", "dim")
    if quiet_s > 0:
        title.append(f"  nothing heard for {duration_text(quiet_s)}", "bold red")
    parts: list[RenderableType] = [title]
    if status.grid:
        notes = min(len(status.notes), NOTES)
        room = max(height - OTHER_ROWS - notes, 2 * LEAST_ROWS)
        rows = min(-(-status.segments // width), max(room // 2, LEAST_ROWS))
        parts += [Text(", ".join(figures(status))), draw_cells(status, width, rows), legend(status)]
        if lost := losses(status):
            parts.append(Text(lost, STYLES["lost"]))
        if status.working:
            parts.append(table(status, max(room - rows, LEAST_ROWS)))
        if status.words:
            parts.append(Text(status.words, "dim"))
    parts += [Text(f"note: {note}", no_wrap=True, overflow="ellipsis") for note in status.notes[-NOTES:]]
    if status.error:
        parts.append(Text(status.error, STYLES["failed"]))
    return Group(*parts)
