"""The vocabulary: the nouns that flow between stages. Frozen, checked at birth, arrays read-only.

Conventions that hold everywhere:
- Time is an integer `pts` in a `Fraction` time base (seconds a tick); never float seconds.
- Ranges are half-open: `[first, end)`.
- A frame's *ordinal* is its rank in presentation order over the whole film, from 0.
- Pixel coordinates are (x, y) in the coded frame (never rotated), x right, y down, with pixel centres at
  integer coordinates; boxes are x0, y0, x1, y1.
- Units are in the names (`_s`, `_px`, `pts_`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Int64Array = np.ndarray[Any, np.dtype[np.int64]]
Int32Array = np.ndarray[Any, np.dtype[np.int32]]
Float32Array = np.ndarray[Any, np.dtype[np.float32]]
BoolArray = np.ndarray[Any, np.dtype[np.bool_]]

OnDamage = Literal["fail", "keep"]
MESH_POINTS = 468


def _freeze(owner: object, name: str, dtype: type[np.generic], shape: tuple[int | None, ...]) -> None:
    """Replace a field by a read-only, contiguous view of the right dtype; refuse another shape."""
    array = np.ascontiguousarray(getattr(owner, name), dtype=dtype)
    want = tuple(array.shape[axis] if size is None and axis < array.ndim else size for axis, size in enumerate(shape))
    if array.shape != want:
        raise ValueError(f"{type(owner).__name__}.{name}: expected shape {shape}, got {array.shape}")
    view = array.view()
    view.setflags(write=False)
    object.__setattr__(owner, name, view)


# ---------------------------------------------------------------- what the user asks for


@dataclass(frozen=True)
class SourceSpec:
    """An image with the face to put in; `face` picks one of several, numbered from 1 at the left."""

    path: str
    face: int | None = None


@dataclass(frozen=True)
class EncodeSpec:
    """Encoder wishes; None means the source's codec family and that encoder's own sensible default."""

    codec: str | None = None
    crf: int | None = None
    preset: str | None = None


@dataclass(frozen=True)
class JobSpec:
    """One film to make. What it says determines the output; how it is run (workers, Ray, store) is not here."""

    target: str
    output: str
    source: SourceSpec | None = None
    swapper: str = "mesh"
    select: Literal["largest", "all"] = "largest"
    encode: EncodeSpec = EncodeSpec()
    segment_s: Fraction = Fraction(10)
    on_damage: OnDamage = "fail"


# ---------------------------------------------------------------- what a film is


@dataclass(frozen=True)
class Colour:
    """Colour description as the integers of ISO/IEC 23091-2 (H.273); range 0 unknown, 1 limited, 2 full.

    `chroma_location` uses FFmpeg's AVChromaLocation numbers (0 unspecified, 1 left, 2 centre, 3 top left).
    """

    primaries: int = 2
    transfer: int = 2
    matrix: int = 2
    range: int = 0
    chroma_location: int = 0


@dataclass(frozen=True)
class Mastering:
    """SMPTE ST 2086 mastering display and CTA-861.3 light levels, where the film states them.

    Chromaticities are exact fractions x, y for red, green, blue, white; luminances in cd/m2.
    """

    red: tuple[Fraction, Fraction] | None = None
    green: tuple[Fraction, Fraction] | None = None
    blue: tuple[Fraction, Fraction] | None = None
    white: tuple[Fraction, Fraction] | None = None
    min_luminance: Fraction | None = None
    max_luminance: Fraction | None = None
    max_content_light: int | None = None
    max_frame_average_light: int | None = None


@dataclass(frozen=True)
class StreamInfo:
    """One stream of the container, as found."""

    index: int
    kind: str  # video | audio | subtitle | data | attachment | unknown
    codec: str  # FFmpeg's name; "" where it has none
    codec_tag: str
    time_base: Fraction
    disposition: int  # AVDisposition bits
    tags: dict[str, str]
    packets: int = 0
    attached_pic: bool = False


@dataclass(frozen=True)
class VideoInfo:
    """Everything about the film's picture that must survive."""

    stream_index: int
    codec: str
    width: int
    height: int
    pix_fmt: str  # the decoder's own
    sample_aspect_ratio: Fraction  # 0 where unknown
    display_matrix: tuple[int, ...] | None  # nine integers, 16.16 and 2.30 fixed point, as in the container
    rotation: int  # degrees counter-clockwise, as FFmpeg reports it: 0, 90, -90, 180
    field_order: int  # AVFieldOrder: 0 unknown, 1 progressive, 2 tt, 3 bb, 4 tb, 5 bt
    frame_rate: Fraction  # average, 0 where unknown
    colour: Colour
    mastering: Mastering | None
    profile: str | None
    reorder_depth: int


@dataclass(frozen=True)
class Chapter:
    id: int
    time_base: Fraction
    start: int
    end: int
    tags: dict[str, str]


@dataclass(frozen=True)
class Damage:
    """A frame that is not whole: its ordinal, pts, and what is wrong with it."""

    frame: int
    pts: int
    reason: str


@dataclass(frozen=True)
class MediaIndex:
    """The film's table of frames and inventory of streams; made once, by demuxing. All arrays are [N].

    `pts` strictly increases. `packet` is the decode-order rank of the packet that holds the frame, counted over
    the video stream's packets from the start of the file. `key` marks places to start decoding.
    `indexed_by` is "decode" where packets had no usable pts and one sequential decode numbered the frames.
    """

    sha256: str
    size_bytes: int
    format: str  # libavformat's demuxer name, e.g. "mov,mp4,m4a,3gp,3g2,mj2"
    video: VideoInfo
    time_base: Fraction
    pts: Int64Array
    duration: Int64Array
    key: BoolArray
    packet: Int64Array
    streams: tuple[StreamInfo, ...]
    chapters: tuple[Chapter, ...]
    tags: dict[str, str]
    damage: tuple[Damage, ...] = ()
    missing_s: Fraction = Fraction(0)  # how much the header promises beyond the last frame found
    indexed_by: Literal["demux", "decode"] = "demux"
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _freeze(self, "pts", np.int64, (None,))
        count = len(self.pts)
        for name, dtype in (("duration", np.int64), ("key", np.bool_), ("packet", np.int64)):
            _freeze(self, name, dtype, (count,))
        if count == 0:
            raise ValueError("MediaIndex: no frames")
        if count > 1 and not bool(np.all(np.diff(self.pts) > 0)):
            raise ValueError("MediaIndex.pts: not strictly increasing")
        if not bool(self.key[0]):
            raise ValueError("MediaIndex.key: the first frame must be a place to start decoding")

    @property
    def frames(self) -> int:
        return len(self.pts)

    @property
    def end_pts(self) -> int:
        """The pts at which the last frame stops being shown."""
        return int(self.pts[-1] + self.duration[-1])


@dataclass(frozen=True)
class Segment:
    """A run of frames `[first, end)`; decoding starts at the keyframe with ordinal `seek`, at or before `first`."""

    index: int
    first: int
    end: int
    seek: int
    pts_first: int
    pts_end: int  # pts of frame `end`, or the film's end_pts for the last segment
    pts_seek: int

    def __post_init__(self) -> None:
        if not 0 <= self.seek <= self.first < self.end:
            raise ValueError(f"Segment: expected 0 <= seek <= first < end, got {self.seek}, {self.first}, {self.end}")

    @property
    def frames(self) -> int:
        return self.end - self.first


@dataclass(frozen=True)
class EncoderSettings:
    """What the encoder of every segment is given, resolved once for the film, so that all segments match."""

    encoder: str  # FFmpeg encoder name, e.g. "libx264"
    codec: str  # family: h264, hevc, av1, vp9, prores, ffv1
    pix_fmt: str
    options: dict[str, str]
    frame_rate: Fraction
    notes: tuple[str, ...] = ()  # what the report must say, e.g. that the codec family changed


# ---------------------------------------------------------------- faces


@dataclass(frozen=True)
class FaceTable:
    """Faces found, one row a face, sorted by frame then by descending box area. Coordinates in coded pixels.

    points are left eye, right eye, nose, left mouth corner, right mouth corner as seen in the picture ([n,5,2]);
    mesh is MediaPipe's 468 points ([n,468,2], NaN where no mesh was found); presence is the mesh model's logit;
    track is -1 before casting; source is the index of the identity to put in, -1 for nobody.
    """

    frame: Int64Array
    box: Float32Array
    score: Float32Array
    points: Float32Array
    mesh: Float32Array
    presence: Float32Array
    track: Int32Array
    source: Int32Array

    def __post_init__(self) -> None:
        _freeze(self, "frame", np.int64, (None,))
        n = len(self.frame)
        _freeze(self, "box", np.float32, (n, 4))
        _freeze(self, "score", np.float32, (n,))
        _freeze(self, "points", np.float32, (n, 5, 2))
        _freeze(self, "mesh", np.float32, (n, MESH_POINTS, 2))
        _freeze(self, "presence", np.float32, (n,))
        _freeze(self, "track", np.int32, (n,))
        _freeze(self, "source", np.int32, (n,))

    def __len__(self) -> int:
        return len(self.frame)

    def take(self, rows: NDArray[Any]) -> FaceTable:
        """The rows selected by an index or boolean array, as a table."""
        return FaceTable(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    @staticmethod
    def empty() -> FaceTable:
        return FaceTable(
            frame=np.zeros(0, np.int64),
            box=np.zeros((0, 4), np.float32),
            score=np.zeros(0, np.float32),
            points=np.zeros((0, 5, 2), np.float32),
            mesh=np.zeros((0, MESH_POINTS, 2), np.float32),
            presence=np.zeros(0, np.float32),
            track=np.zeros(0, np.int32),
            source=np.zeros(0, np.int32),
        )

    @staticmethod
    def concat(tables: list[FaceTable]) -> FaceTable:
        if not tables:
            return FaceTable.empty()
        names = FaceTable.__dataclass_fields__
        return FaceTable(*(np.concatenate([getattr(t, name) for t in tables]) for name in names))


@dataclass(frozen=True)
class SourceIdentity:
    """A face to put in: a square RGB crop with its mesh, and its embedding.

    image is uint8 RGB [S,S,3] (full range, sRGB); mesh is [468,2] in that crop's pixels; embedding is the
    embedder's float32 vector [D] as it comes; sha256 is of the image file; face is which face of that file, from 1 at
    the left.
    """

    id: str
    sha256: str
    face: int
    image: np.ndarray[Any, np.dtype[np.uint8]]
    mesh: Float32Array
    embedding: Float32Array
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _freeze(self, "image", np.uint8, (None, None, 3))
        _freeze(self, "mesh", np.float32, (MESH_POINTS, 2))
        _freeze(self, "embedding", np.float32, (None,))


# ---------------------------------------------------------------- work and its results


@dataclass(frozen=True)
class AnalysisOrder:
    """One segment in which to look for faces; `id` is the hash of the film, the segment and the models' hashes."""

    id: str
    segment: Segment
    target: str
    target_sha256: str
    index: str
    on_damage: OnDamage


@dataclass(frozen=True)
class AnalysisReceipt:
    """The faces of one segment: `file` names a FaceTable in the job's store."""

    order_id: str
    segment: int
    file: str
    sha256: str
    size_bytes: int
    frames: int
    faces: int
    seconds: dict[str, float]
    provider: str
    device: str
    attempt: int
    damage: tuple[Damage, ...] = ()


@dataclass(frozen=True)
class WorkOrder:
    """All one segment needs, movable to any node (about 1 kB); `id` is the hash of everything that decides its pixels.

    `target` is where the film is; `index`, `faces` and `identity` are names in the job's store whose contents are
    pinned by the hashes beside them.
    """

    id: str
    segment: Segment
    target: str
    target_sha256: str
    index: str
    swapper: str
    encoder: EncoderSettings
    on_damage: OnDamage
    faces: str | None = None
    faces_sha256: str | None = None
    identity: str | None = None
    identity_sha256: str | None = None
    face_count: int = 0


@dataclass(frozen=True)
class SegmentReceipt:
    """What one rendered segment is: proof of work, and the state to resume from."""

    order_id: str
    segment: int
    file: str  # name in the job's store
    sha256: str
    size_bytes: int
    frames: int
    pts_first: int
    pts_last: int
    faces_replaced: int
    faces_skipped: dict[str, int]
    seconds: dict[str, float]
    provider: str
    device: str
    attempt: int
    damage: tuple[Damage, ...] = ()
    frames_replaced: int = 0  # frames in which at least one face was replaced


@dataclass(frozen=True)
class Check:
    name: str
    expected: str
    got: str
    ok: bool


@dataclass(frozen=True)
class VerifyReport:
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        return all(check.ok for check in self.checks)


@dataclass(frozen=True)
class JobReport:
    """What was done, for a person and for a program (`farm render --json`)."""

    target: str
    output: str
    swapper: str
    source: str | None
    codec: str
    encoder: str
    frames: int
    frames_replaced: int  # frames in which at least one face was replaced
    faces: int  # faces replaced
    faces_skipped: dict[str, int]
    segments: int
    segments_rendered: int
    segments_reused: int
    seconds_by_stage: dict[str, float]
    seconds: float
    frames_per_second: float
    workers: int
    workers_lost: int
    provider: str
    device: str
    checks_passed: int
    checks: tuple[Check, ...]
    damage: tuple[Damage, ...]
    output_sha256: str
    output_bytes: int
    labelled: bool
    notes: tuple[str, ...]
    versions: dict[str, str] = field(default_factory=dict)
