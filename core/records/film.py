"""What a film is, how it is cut, and how it is encoded."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

import numpy as np

from core.records.arrays import BoolArray, Int64Array, freeze


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
    pid: int = 0  # of a transport stream; 0 in other containers


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
    captions: bool = False  # CEA-608/708 captions stored with the frames (ATSC A/53)
    extras: dict[str, str] = field(default_factory=dict)  # how the picture is to be shown: core.media.extras
    frame_packing: int = 0  # AVStereo3DType in the coded picture itself; 0 for none, and where `extras` tell it
    hidden_alpha: bool = False  # an alpha plane is stored beside the frames, which the decoder does not give


@dataclass(frozen=True)
class Chapter:
    id: int
    time_base: Fraction
    start: int
    end: int
    tags: dict[str, str]


@dataclass(frozen=True)
class Program:
    """A program (service) of a transport stream; texts and type are 0 and empty where no table states them."""

    number: int
    pmt_pid: int
    pids: tuple[int, ...]  # of its streams
    service_type: int  # EN 300 468, table 87
    provider: bytes  # texts as stored, with the mark of their character table (EN 300 468, annex A)
    name: bytes


@dataclass(frozen=True)
class Transport:
    """What the tables of a transport stream say of it; `network_id` is None where nothing states it."""

    id: int
    network_id: int | None
    programs: tuple[Program, ...]
    packet_bytes: int = 188  # 192 with a time code before each packet (Blu-ray, AVCHD), 204 with parity behind it


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
    transport: Transport | None = None  # programs of which the file holds a stream

    def __post_init__(self) -> None:
        freeze(self, "pts", np.int64, (None,))
        count = len(self.pts)
        for name, dtype in (("duration", np.int64), ("key", np.bool_), ("packet", np.int64)):
            freeze(self, name, dtype, (count,))
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


@dataclass(frozen=True, slots=True)
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
