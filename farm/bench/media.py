"""`farm bench media`: the media path against plain ffmpeg and against what the disk can do.

Every comparison runs the two sides in turn within one call, A B A B, so that a machine whose speed drifts
changes both; ratios are taken pair by pair and given as median (lowest to highest).
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import sys
import time
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from core.media.encode import resolve_encoder
from core.media.index import index_film
from core.media.join import join_film
from core.media.plan import plan_segments
from core.records import EncodeSpec
from farm.bench.clips import RATE, ffmpeg_program, make_clip, repeat_clip
from farm.bench.measure import Run, Spread, run_alone

PRESET, CRF = "veryfast", 18


@dataclass(frozen=True)
class Row:
    """One line of the table: what was measured, the figure, the goal and whether it is met (None: no goal)."""

    what: str
    figure: str
    goal: str = ""
    met: bool | None = None


@dataclass
class Table:
    """The rows so far, printed as they come."""

    rows: list[Row] = field(default_factory=list)

    def add(self, row: Row) -> None:
        self.rows.append(row)
        mark = "" if row.met is None else ("  met" if row.met else "  MISSED")
        print(f"{row.what:<58} {row.figure:<34} {row.goal}{mark}", flush=True)


def farm(target: Path, output: Path, *arguments: str) -> Run:
    """One `farm render --swapper none` of `target` as a process of its own."""
    output.unlink(missing_ok=True)
    command = [sys.executable, "-m", "farm.cli.main", "render", str(target), "-o", str(output), "--swapper", "none"]
    command += ["--codec", "h264", "--preset", PRESET, "--crf", str(CRF), "--json"]
    return run_alone([*command, *arguments])


def ffmpeg(target: Path, output: Path) -> Run:
    """The same transcode by the ffmpeg program, sound copied."""
    command = [ffmpeg_program(), "-v", "error", "-nostdin", "-y", "-i", str(target), "-map", "0", "-c", "copy"]
    command += ["-c:v", "libx264", "-preset", PRESET, "-crf", str(CRF), "-fps_mode", "passthrough", str(output)]
    return run_alone(command)


def render_seconds(done: Run) -> float:
    """Seconds of the render stage alone, from the job's own report."""
    report: dict[str, Any] = json.loads(done.output)
    return float(report["seconds_by_stage"]["render"])


def bench_transcode(table: Table, folder: Path, seconds: int, repeats: int) -> None:
    clip = make_clip(folder / "clip1080.mp4", width=1920, height=1080, seconds=seconds, crf=18)
    frames = seconds * RATE
    ffmpeg(clip, folder / "warm.mp4")
    ours: dict[str, list[tuple[Run, float]]] = {"--local": [], "--workers 2": []}
    for _ in range(repeats):
        for how, pairs in ours.items():
            plain = ffmpeg(clip, folder / "plain.mp4").wall_s
            pairs.append((farm(clip, folder / "farm.mp4", *how.split()), plain))
    rate = Spread.of([frames / plain for pairs in ours.values() for _, plain in pairs])
    table.add(Row("ffmpeg, 1080p, frames/s", rate.text(1)))
    for how, pairs in ours.items():
        stage = Spread.of([plain / render_seconds(done) for done, plain in pairs])
        whole = Spread.of([plain / done.wall_s for done, plain in pairs])
        name = f"farm render --swapper none {how}"
        table.add(Row(f"{name}: render stage / ffmpeg", stage.text(), "at least 0.9", stage.median >= 0.9))
        table.add(Row(f"{name}: whole process / ffmpeg", whole.text(), f"{seconds} s film, start-up included"))


def bench_hour(table: Table, folder: Path, hours: Fraction) -> None:
    clip = make_clip(folder / "clip360.mp4", width=640, height=360, seconds=30, crf=30)
    times = int(hours * 120)
    film = repeat_clip(clip, folder / "hour.mp4", times)
    size_mb = film.stat().st_size / 1e6
    started = time.monotonic()
    with film.open("rb") as file:
        hashlib.file_digest(file, "sha256")
    floor = time.monotonic() - started
    started = time.monotonic()
    index = index_film(film)
    took = time.monotonic() - started
    per_hour = float(took / hours)
    table.add(Row(f"index, seconds an hour of film ({index.frames} frames, {size_mb:.0f} MB)", f"{per_hour:.2f}"))
    table.add(Row("  floor: reading and hashing the file", f"{float(floor / hours):.2f}"))
    settings = resolve_encoder(index, EncodeSpec(codec="h264"), "mp4")
    segments = plan_segments(index, Fraction(30))
    frames = clip_frames(clip)
    segments = tuple(s for s in segments if s.frames == frames)
    if len(segments) != times:
        raise RuntimeError(f"bench: expected {times} segments of {frames} frames, planned {len(segments)}")
    joined = folder / "joined.mp4"
    started = time.monotonic()
    join_film(film, index, settings, [(s, clip) for s in segments], joined, "mp4")
    took = time.monotonic() - started
    started = time.monotonic()
    shutil.copyfile(joined, folder / "copy.mp4")
    with (folder / "copy.mp4").open("rb+") as file:
        os.fsync(file.fileno())
    floor = time.monotonic() - started
    table.add(Row(f"join, seconds an hour of film ({times} segments)", f"{float(took / hours):.2f}"))
    table.add(Row("  floor: copying the file", f"{float(floor / hours):.2f}"))


def clip_frames(clip: Path) -> int:
    return index_film(clip).frames


def bench_memory(table: Table, folder: Path, seconds: int) -> None:
    peaks: list[float] = []
    for length in (seconds, 10 * seconds):
        clip = make_clip(folder / f"memory{length}.mp4", width=1920, height=1080, seconds=length, crf=23)
        peak = farm(clip, folder / "memory.mp4", "--local", "--segment-seconds", "2").peak_bytes / 1e6
        table.add(Row(f"peak memory, 1080p, {length} s of film, MB", f"{peak:.0f}", "under 700", peak < 700))
        peaks.append(peak)
    ratio = peaks[1] / peaks[0]
    table.add(Row("  ten times the film / once", f"{ratio:.2f}", "at most 1.10", ratio <= 1.10))


def machine() -> str:
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()}"


def bench_media(folder: Path, *, seconds: int, repeats: int, hours: Fraction) -> Table:
    """Run everything in `folder` (about 1 GB of films) and return the table that was printed."""
    print(f"{machine()}\nlibx264 {PRESET} crf {CRF}; ratios: median (lowest to highest) of {repeats} pairs")
    table = Table()
    bench_transcode(table, folder, seconds, repeats)
    bench_hour(table, folder, hours)
    bench_memory(table, folder, max(seconds // 10, 6))
    return table
