"""The vocabulary: the nouns that flow between stages. Frozen, checked at birth, arrays read-only.

Conventions that hold everywhere:
- Time is an integer `pts` in a `Fraction` time base (seconds a tick); never float seconds.
- Ranges are half-open: `[first, end)`.
- A frame's *ordinal* is its rank in presentation order over the whole film, from 0.
- Pixel coordinates are (x, y) in the coded frame (never rotated), x right, y down, with pixel centres at
  integer coordinates; boxes are x0, y0, x1, y1.
- Units are in the names (`_s`, `_px`, `pts_`).
"""

from core.records.arrays import BoolArray, Float32Array, Int32Array, Int64Array
from core.records.cast import (
    NOBODY,
    Analysis,
    Ban,
    CastPlan,
    Person,
    PersonPlan,
    RoleSpec,
    Span,
    TrackTable,
)
from core.records.faces import EYE_OUTER, MESH_POINTS, FaceTable, SourceIdentity
from core.records.film import (
    Chapter,
    Colour,
    Damage,
    EncoderSettings,
    Mastering,
    MediaIndex,
    Program,
    Segment,
    StreamInfo,
    Transport,
    VideoInfo,
)
from core.records.job import (
    ColourKind,
    EncodeSpec,
    JobSpec,
    MaskKind,
    OnDamage,
    PasteKind,
    Select,
    SourceSpec,
    SwapOptions,
)
from core.records.models import ModelUse, Precision
from core.records.quality import (
    Doubt,
    DoubtReason,
    FaceSeries,
    Moment,
    MomentReason,
    Outside,
    OutsideSeries,
    PersonQuality,
    QualityReport,
    Spread,
)
from core.records.status import LETTERS, JobState, JobStatus, SegmentState, SegmentStatus
from core.records.work import (
    AnalysisOrder,
    AnalysisReceipt,
    AnalysisReport,
    Check,
    FileStamp,
    JobReport,
    Role,
    RoleUse,
    SegmentReceipt,
    VerifyReport,
    WorkOrder,
)

__all__ = [
    "EYE_OUTER",
    "LETTERS",
    "MESH_POINTS",
    "NOBODY",
    "Analysis",
    "AnalysisOrder",
    "AnalysisReceipt",
    "AnalysisReport",
    "Ban",
    "BoolArray",
    "CastPlan",
    "Chapter",
    "Check",
    "Colour",
    "ColourKind",
    "Damage",
    "Doubt",
    "DoubtReason",
    "EncodeSpec",
    "EncoderSettings",
    "FaceSeries",
    "FaceTable",
    "FileStamp",
    "Float32Array",
    "Int32Array",
    "Int64Array",
    "JobReport",
    "JobSpec",
    "JobState",
    "JobStatus",
    "MaskKind",
    "Mastering",
    "MediaIndex",
    "ModelUse",
    "Moment",
    "MomentReason",
    "OnDamage",
    "Outside",
    "OutsideSeries",
    "PasteKind",
    "Person",
    "PersonPlan",
    "PersonQuality",
    "Precision",
    "Program",
    "QualityReport",
    "Role",
    "RoleSpec",
    "RoleUse",
    "Segment",
    "SegmentReceipt",
    "SegmentState",
    "SegmentStatus",
    "Select",
    "SourceIdentity",
    "SourceSpec",
    "Span",
    "Spread",
    "StreamInfo",
    "SwapOptions",
    "TrackTable",
    "Transport",
    "VerifyReport",
    "VideoInfo",
    "WorkOrder",
]
