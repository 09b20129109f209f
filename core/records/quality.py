"""How good a film with replaced faces is, and which faces may turn out badly before one is made."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

import numpy as np

from core.records.arrays import BoolArray, Float32Array, Int32Array, Int64Array, freeze

DoubtReason = Literal["tiny", "turned", "occluded", "blurred", "lost", "cut off"]
MomentReason = Literal["not replaced", "identity", "pose", "expression", "flicker", "outside"]


@dataclass(frozen=True)
class Doubt:
    """A run of frames `[first, end)` in which a face is likely to look bad when it is replaced, and why.

    tiny: few pixels to work on. turned: seen from the side, or so far that no mesh was found. occluded: something is
    before it. blurred: out of focus or in fast motion. lost: the detector missed it and its place was filled in. cut
    off: it reaches out of the picture. `severity` is that of the worst frame, from 0 (just worth a look) to 1, and
    `measured` what was measured there, in the unit of core.faces.scan. `person` is "" where nobody was told apart.
    """

    reason: DoubtReason
    person: str
    track: int
    first: int
    end: int
    worst_frame: int
    severity: float
    measured: float


@dataclass(frozen=True)
class Spread:
    """The sizes of a series of numbers: how many there are, their mean, median, 95th percentile, the greatest, and its
    frame. Differences that have a sign are taken without it."""

    count: int
    mean: float
    median: float
    high: float
    worst: float
    worst_frame: int


@dataclass(frozen=True)
class FaceSeries:
    """One person's faces in two films, one row a face in order of frames; all arrays are [n], NaN where not measured.

    "Original" is the film as it was, "output" the film compared with it, "source" the face that was put in.
    Distances are the recogniser's: `to_source` of the output's face to the source, `to_original` to the same face in
    the original, `before` of the original's face to the source. The head's pose in the output less that in the
    original: `yaw_deg` (positive to the picture's right), `pitch_deg` (down), `roll_deg` (clockwise), `shift` (in
    parts of the distance between the outer corners of the eyes) and `growth` (scale less 1). `residual` is the root
    mean square of what is left between the meshes then, in the same parts; so are the openings of mouth and eyes.
    `change` is how much the face's pixels differ between the films without their finest detail, `moved_original` and
    `moved_output` how much they differ from the frame before, all in levels of 0..255. `replaced` says that the face
    differs as a replaced one does. `turn_deg` and `size_px` are the original's turn and extent (displayed pixels).
    """

    frame: Int64Array
    track: Int32Array
    role: Int32Array
    replaced: BoolArray
    to_source: Float32Array
    to_original: Float32Array
    before: Float32Array
    yaw_deg: Float32Array
    pitch_deg: Float32Array
    roll_deg: Float32Array
    shift: Float32Array
    growth: Float32Array
    residual: Float32Array
    mouth_original: Float32Array
    mouth_output: Float32Array
    eyes_original: Float32Array
    eyes_output: Float32Array
    change: Float32Array
    moved_original: Float32Array
    moved_output: Float32Array
    turn_deg: Float32Array
    size_px: Float32Array

    def __post_init__(self) -> None:
        freeze(self, "frame", np.int64, (None,))
        n = len(self.frame)
        kinds: dict[str, type[np.generic]] = {"frame": np.int64, "track": np.int32, "role": np.int32}
        for name in self.__dataclass_fields__:
            freeze(self, name, np.bool_ if name == "replaced" else kinds.get(name, np.float32), (n,))

    def __len__(self) -> int:
        return len(self.frame)


@dataclass(frozen=True)
class PersonQuality:
    """What became of one person; `name` is "" where nobody gave one.

    Numbers are over the faces that were replaced, or over all where none was. `present` counts frames measured in which
    the person is seen, `wanted` those in which the person was to be replaced (None where nobody says), `replaced` those
    in which that is seen; `coverage` is replaced / wanted, or replaced / present. `sources` are the names of the faces
    put in. Similarities are 1 at distance 0, 0.5 at the recogniser's threshold and 0 from twice the threshold on.
    `expression` is what is left of FaceSeries.residual without its mean over the film, which is the two faces'
    difference in shape. `mouth_follows` is the correlation of the openings of the mouth in both films, None where it
    hardly moves. `flicker` is the sum of moved_output over that of moved_original; 1 is as steady as the original, None
    where the original stands still.
    """

    id: str
    name: str
    sources: tuple[str, ...]
    tracks: int
    present: int
    wanted: int | None
    replaced: int
    coverage: float | None
    to_source: Spread | None
    source_similarity: float | None
    to_original: Spread | None
    original_similarity: float | None
    before: Spread | None
    before_similarity: float | None
    yaw_deg: Spread | None
    pitch_deg: Spread | None
    roll_deg: Spread | None
    shift: Spread | None
    growth: Spread | None
    residual: Spread | None
    expression: float | None
    mouth: Spread | None
    mouth_follows: float | None
    eyes: Spread | None
    change: Spread | None
    flicker: float | None
    series: FaceSeries


@dataclass(frozen=True)
class OutsideSeries:
    """How far the films differ outside the faces and the label, one row a frame.

    `samples` of all planes that were compared, 0 where the faces cover the picture; mean and greatest difference in
    code values of the format compared in; `psnr_db` is infinite where nothing differs, NaN where nothing was compared.
    """

    samples: Int64Array
    mean: Float32Array
    most: Float32Array
    psnr_db: Float32Array

    def __post_init__(self) -> None:
        freeze(self, "samples", np.int64, (None,))
        for name in ("mean", "most", "psnr_db"):
            freeze(self, name, np.float32, (len(self.samples),))


@dataclass(frozen=True)
class Outside:
    """The same over the film: `psnr_db` of all samples together, None where nothing differs or nothing was compared.

    `format` is the pixel format compared in, `peak` its greatest code value, `worst_frame` the one of least PSNR.
    """

    format: str
    peak: int
    samples: int
    mean: float
    most: float
    psnr_db: float | None
    worst_frame: int | None
    frames_identical: int
    series: OutsideSeries


@dataclass(frozen=True)
class Moment:
    """A frame that a person should look at: `badness` is 1 where `reason` begins to count and grows from there."""

    frame: int
    pts: int
    time_s: float  # from the film's first frame
    person: str  # "" for the picture as a whole
    reason: MomentReason
    measured: float
    badness: float


@dataclass(frozen=True)
class QualityReport:
    """Two films compared. Faces are measured in frames whose ordinal is a multiple of `every`, vectors of
    `vector_every`; what is outside the faces in all. `pts` and `time_base` are the original's."""

    original: str
    original_sha256: str
    output: str
    output_sha256: str
    frames: int
    width: int
    height: int
    time_base: Fraction
    pts: Int64Array
    end_pts: int
    recogniser: str
    same_person: float
    every: int
    vector_every: int
    people: tuple[PersonQuality, ...]
    outside: Outside
    moments: tuple[Moment, ...]
    doubts: tuple[Doubt, ...] = ()
    notes: tuple[str, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        freeze(self, "pts", np.int64, (self.frames,))
