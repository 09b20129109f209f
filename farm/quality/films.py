"""Two films in step, and the report of what was measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from core.errors import InputError, PlanError
from core.faces.quality import Lookers, Measured, QualityMeter, Sampling, Source
from core.media.decode import DecodedFrame, decode_segment
from core.media.pair import pair_format
from core.records import Doubt, FaceTable, MediaIndex, Person, QualityReport, Segment
from core.trust.label import label_for
from farm.versions import versions

Tables = Callable[[], Iterable[FaceTable]]
Heard = Callable[[int, int], None]  # frames done, of all
CLOCK_S = 0.002  # containers round times to milliseconds


@dataclass(frozen=True)
class Side:
    """A film: where it is, and its table."""

    path: Path
    index: MediaIndex


@dataclass(frozen=True)
class Cast:
    """Who is in the original and what becomes of them.

    `tables` give all faces of the film in order, with tracks and roles, each time from the start. Roles are indices
    into `sources`; `planned` says that they tell who was to be replaced, otherwise they only name the source to compare
    with. `names` are the people's, by id. `doubts` were found before (core.faces.scan).
    """

    tables: Tables
    people: Sequence[Person]
    sources: Sequence[Source] = ()
    planned: bool = False
    names: Mapping[str, str] = field(default_factory=dict)
    doubts: Sequence[Doubt] = ()


def check_pair(original: Side, output: Side) -> None:
    """`InputError` where the films cannot be compared, naming the second one."""
    try:
        pair_format(original.index, output.index)
    except InputError as error:
        raise InputError(error.what, where=str(output.path), hint=error.hint) from error


def compare_films(
    original: Side,
    output: Side,
    cast: Cast,
    lookers: Lookers,
    sampling: Sampling | None = None,
    heard: Heard | None = None,
) -> tuple[QualityReport, Measured]:
    """Compare two films of the same frames and size; each is read once, in step with the other.

    The report, and with it the pictures for its page. `InputError` where the films cannot be compared or read.
    """
    check_pair(original, output)
    pair = pair_format(original.index, output.index)
    sampling = replace(sampling or Sampling(), planned=cast.planned)
    meter = QualityMeter(
        original.index,
        pair,
        cast.people,
        cast.sources,
        lookers,
        label=_label(original.index, pair.of[0]),
        sampling=sampling,
        names=cast.names,
    )
    broken = 0
    films = zip(_frames(original), _frames(output), faces_by_frame(cast.tables(), original.index.frames), strict=True)
    for before, after, faces in films:
        broken += before.damage is not None or after.damage is not None
        meter.add(before, after, faces)
        if heard is not None:
            heard(before.ordinal + 1, original.index.frames)
    measured = meter.report()
    notes = [pair.note] if pair.note else []
    notes += [f"{broken} frames are damaged in one of the films"] if broken else []
    notes += _shown_differently(original.index, output.index)
    notes += [] if measured.people else ["no face was found in the original"]
    index = original.index
    report = QualityReport(
        original=str(original.path),
        original_sha256=index.sha256,
        output=str(output.path),
        output_sha256=output.index.sha256,
        frames=index.frames,
        width=index.video.width,
        height=index.video.height,
        time_base=index.time_base,
        pts=index.pts,
        end_pts=index.end_pts,
        recogniser=lookers.recogniser.id,
        same_person=lookers.recogniser.same_person,
        every=sampling.every,
        vector_every=sampling.vector_every,
        people=measured.people,
        outside=measured.outside,
        moments=tuple(kept.moment for kept in measured.kept),
        doubts=tuple(cast.doubts),
        notes=tuple(notes),
        versions=versions(),
    )
    return report, measured


def faces_by_frame(tables: Iterable[FaceTable], frames: int) -> Iterator[FaceTable]:
    """For every frame of the film the rows of its faces; `PlanError` for rows out of order or outside the film."""
    nobody, done = FaceTable.empty(), 0
    for table in tables:
        if not len(table):
            continue
        if int(table.frame[0]) < done or int(table.frame[-1]) >= frames or bool((np.diff(table.frame) < 0).any()):
            raise PlanError("the faces to compare are not in the order of the film's frames")
        while done <= int(table.frame[-1]):
            first, end = np.searchsorted(table.frame, [done, done + 1])
            yield table.take(np.arange(first, end)) if end > first else nobody
            done += 1
    for _ in range(done, frames):
        yield nobody


def _frames(film: Side) -> Iterator[DecodedFrame]:
    """All frames of a film, in order."""
    index = film.index
    first = int(index.pts[0])
    return decode_segment(film.path, index, Segment(0, 0, index.frames, 0, first, index.end_pts, first))


def _label(index: MediaIndex, pix_fmt: str) -> tuple[int, int, int, int] | None:
    """Where our label would stand; nothing where the picture is too small for one."""
    try:
        return label_for(index, pix_fmt).box
    except InputError:
        return None


def _shown_differently(first: MediaIndex, second: MediaIndex) -> list[str]:
    """Notes about what differs without being in the pixels."""
    notes = []
    for what in ("rotation", "sample_aspect_ratio"):
        one, other = getattr(first.video, what), getattr(second.video, what)
        if one != other:
            notes.append(f"the films' {what.replace('_', ' ')} differs: {one} and {other}")
    times = [(index.pts - index.pts[0]) * float(index.time_base) for index in (first, second)]
    apart_s = float(np.abs(times[0] - times[1]).max())
    if apart_s > CLOCK_S:
        notes.append(f"the films' frames are shown at other times: up to {apart_s:.3f} s apart")
    return notes
