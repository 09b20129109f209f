"""How good replaced faces are: two films compared frame by frame, person by person.

The meter is given both films' frames in step with the rows of the original's face table, and keeps some numbers a
face. Whether a face is replaced is told by its pixels, not by what a program says it did, so that films of any origin
can be compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.faces.diary import Diary, faults, numbers_of
from core.faces.embed import Recogniser
from core.faces.landmarks import Mesher
from core.faces.lookalike import CHIP_PX, Look, Pair, change, chips_of, crops_of, look, movement
from core.faces.moments import Kept, Moments, face_thumb, frame_thumb
from core.faces.outside import OutsideMeter
from core.faces.portrait import turn_deg
from core.faces.summary import summarise
from core.geometry import Float64Array, apply, display_from_coded, level_extent
from core.media.decode import DecodedFrame
from core.media.pair import PairFormat
from core.media.picture import rgb_picture
from core.records import (
    EYE_OUTER,
    FaceTable,
    Float32Array,
    MediaIndex,
    Moment,
    MomentReason,
    Outside,
    Person,
    PersonQuality,
)

# A face counts as replaced when it changed (core.faces.lookalike.change) by as many levels as the films differ outside
# the faces, times OVER_NOISE, but at least by the first and at most by the second of LEVELS. Measured on the carphone
# clip, greatest change of a frame: encoded again with crf 23, 35 and 45 it is 0.5, 1.6 and 5.1 while 0.8, 1.7 and 3.5
# levels differ outside, graded 3.3 at 13.6, blurred 3.9 at 5.3, without colour 0.1 at 1.7. Replaced by the swapper
# "mesh" it is 6.6 and more at 0.6 and, encoded with crf 45, 6.1 at 3.5.
OVER_NOISE = 2.0
LEVELS = (2.0, 5.5)
OUTSIDE_DB = 30.0  # where a frame begins to count as changed outside the faces

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Lookers:
    """The networks that look at both films' faces."""

    mesher: Mesher
    recogniser: Recogniser


@dataclass(frozen=True)
class Source:
    """A face that was put in: its name and its vector [D] by the recogniser that looks."""

    name: str
    vector: Float32Array


@dataclass(frozen=True)
class Sampling:
    """Which frames are looked at: faces in those whose ordinal is a multiple of `every`, vectors in every
    `vector_every`th of them and where a track begins. `planned`: the rows' roles say who was to be replaced."""

    every: int = 1
    vector_every: int = 4
    planned: bool = False


@dataclass(frozen=True)
class Measured:
    """What the meter found. `portraits` are pictures of the people by id: both films side by side, as JPEG."""

    people: tuple[PersonQuality, ...]
    outside: Outside
    kept: tuple[Kept, ...]
    portraits: Mapping[str, bytes]


@dataclass(frozen=True)
class _View:
    """One frame of both films: its ordinal, pictures uint8 RGB [h,w,3], and the mean difference outside the faces."""

    frame: int
    pictures: tuple[Picture, Picture]
    noise: float


class QualityMeter:
    """Measures two films as their frames come. What it keeps grows by about 100 bytes a face measured."""

    def __init__(
        self,
        index: MediaIndex,
        pair: PairFormat,
        people: Sequence[Person],
        sources: Sequence[Source],
        lookers: Lookers,
        *,
        label: tuple[int, int, int, int] | None = None,
        sampling: Sampling | None = None,
        names: Mapping[str, str] | None = None,
    ) -> None:
        """`people` own the tracks that count; rows' roles are indices into `sources`. `label` is the box of a label in
        coded pixels, which is left out of account."""
        video = index.video
        self._index, self._pair, self._sources, self._lookers = index, pair, sources, lookers
        self._sampling, self._names = sampling or Sampling(), names or {}
        self._shown, self._wide, self._high = display_from_coded(
            video.width, video.height, video.sample_aspect_ratio, video.rotation
        )
        self._person = {track: person.id for person in people for track in person.tracks}
        self._diaries = {person.id: Diary() for person in people}
        self._outside = OutsideMeter(index, pair.format, label)
        self._moments = Moments()
        self._before: dict[tuple[int, int], Pair] = {}  # chips of the frame before, by track and role
        self._before_frame = -1
        self._tracks: set[int] = set()  # of the last frame measured

    def add(self, original: DecodedFrame, output: DecodedFrame, faces: FaceTable) -> None:
        """Take the next frame of both films, and the rows of its faces in the original."""
        frame, every = original.ordinal, self._sampling.every
        planes = self._pair.planes(original.frame, 0), self._pair.planes(output.frame, 1)
        changed = faces.take(faces.role >= 0) if self._sampling.planned else faces
        noise, psnr_db = self._outside.add(*planes, changed)
        known = faces.take(np.array([int(track) in self._person for track in faces.track], bool))
        looks = len(known) > 0 and (frame % every == 0 or (frame + 1) % every == 0)
        if not looks and not psnr_db < OUTSIDE_DB:
            return
        pictures = rgb_picture(original.frame), rgb_picture(output.frame)
        if looks and frame % every == 0:
            self._measure(_View(frame, pictures, noise), known)
        elif looks:
            crops = crops_of(known, self._shown)
            self._keep(frame, known, [chips_of(pictures, crop) for crop in crops])
        if psnr_db < OUTSIDE_DB:
            turns = round(self._index.video.rotation / 90) % 4
            moment = self._moment(frame, "", "outside", psnr_db, OUTSIDE_DB / max(psnr_db, 1.0))
            self._moments.offer(moment, lambda: frame_thumb(pictures, self._wide, self._high, turns))

    def report(self) -> Measured:
        """All numbers. People who were never measured are left out."""
        people = []
        for name, diary in self._diaries.items():
            series = diary.series()
            if len(series):
                people.append(
                    summarise(
                        name,
                        series,
                        name=self._names.get(name, ""),
                        sources=tuple(self._sources[role].name for role in sorted(diary.roles)),
                        planned=self._sampling.planned,
                        same_person=self._lookers.recogniser.same_person,
                        moving=diary.moving(),
                    )
                )
        portraits = {name: diary.portrait for name, diary in self._diaries.items() if diary.portrait}
        return Measured(tuple(people), self._outside.report(), tuple(self._moments.report()), portraits)

    # ------------------------------------------------------------ one frame

    def _measure(self, view: _View, faces: FaceTable) -> None:
        """Look at the faces of one frame."""
        timely = view.frame // self._sampling.every % self._sampling.vector_every == 0
        wanted = [timely or int(track) not in self._tracks for track in faces.track]
        looks = look(view.pictures, faces, self._shown, self._lookers.mesher, self._lookers.recogniser, wanted)
        crops = crops_of(faces, self._shown)
        for row, (one, crop) in enumerate(zip(looks, crops, strict=True)):
            self._note(view, faces, row, one, crop)
        self._tracks = {int(track) for track in faces.track}
        self._keep(view.frame, faces, [one.chips for one in looks])

    def _note(self, view: _View, faces: FaceTable, row: int, one: Look, crop: Float64Array) -> None:
        """Write down what was measured of one face."""
        person, role = self._person[int(faces.track[row])], int(faces.role[row])
        numbers = self._numbers(view.frame, faces, row, one)
        limit = float(np.clip(OVER_NOISE * view.noise, *LEVELS))
        replaced = numbers["change"] > limit
        diary = self._diaries[person]
        missed = role >= 0 if self._sampling.planned else diary.was_replaced
        if 0 <= role < len(self._sources):
            diary.roles.add(role)
        diary.add(view.frame, int(faces.track[row]), role, replaced, numbers)
        diary.shape(one, replaced)

        def thumb() -> bytes:
            return face_thumb(view.pictures, crop, CHIP_PX)

        goodness = numbers.get("size_px", 0.0) * float(np.cos(np.radians(numbers.get("turn_deg", 90.0))))
        diary.picture(goodness * (2 if replaced else 1), thumb)
        same_person = self._lookers.recogniser.same_person
        for reason, measured, badness in faults(
            numbers, replaced=replaced, missed=missed, limit=limit, same_person=same_person
        ):
            self._moments.offer(self._moment(view.frame, person, reason, measured, badness), thumb)

    def _numbers(self, frame: int, faces: FaceTable, row: int, one: Look) -> dict[str, float]:
        """The columns of FaceSeries that could be measured."""
        numbers = {"change": change(one.chips), **numbers_of(one)}
        mesh = faces.mesh[row]
        if np.isfinite(mesh).all():
            shown = apply(self._shown, mesh)
            numbers["turn_deg"] = turn_deg(np.asarray(shown, np.float32))
            numbers["size_px"] = float(level_extent(shown, *EYE_OUTER))
        # Where a face is replaced from one frame on, or by another source, its change is meant.
        same = int(faces.track[row]), int(faces.role[row])
        before = self._before.get(same) if self._before_frame == frame - 1 else None
        if before is not None:
            numbers["moved_original"], numbers["moved_output"] = (
                movement(earlier, now) for earlier, now in zip(before, one.chips, strict=True)
            )
        if one.vectors is not None:
            recogniser, (original, output) = self._lookers.recogniser, one.vectors
            numbers["to_original"] = recogniser.distance(output, original)
            role = int(faces.role[row])
            if 0 <= role < len(self._sources):
                numbers["to_source"] = recogniser.distance(output, self._sources[role].vector)
                numbers["before"] = recogniser.distance(original, self._sources[role].vector)
        return numbers

    def _keep(self, frame: int, faces: FaceTable, chips: Sequence[Pair]) -> None:
        same = zip(faces.track.tolist(), faces.role.tolist(), strict=True)
        self._before = dict(zip(same, chips, strict=True))
        self._before_frame = frame

    def _moment(self, frame: int, person: str, reason: MomentReason, measured: float, badness: float) -> Moment:
        pts = int(self._index.pts[frame])
        time_s = float((pts - int(self._index.pts[0])) * self._index.time_base)
        return Moment(frame, pts, time_s, person, reason, measured, badness)
