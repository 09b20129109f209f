"""Orders that travel to the renderers, receipts that come back, and the report at the end."""

from __future__ import annotations

from dataclasses import dataclass, field

from core.records.cost import CostReport
from core.records.film import Damage, EncoderSettings, Segment
from core.records.job import SwapOptions
from core.records.models import ModelUse

# Machines that share a folder may state the time of change in whole seconds.
COARSE_NS = 1_000_000_000


@dataclass(frozen=True)
class FileStamp:
    """Which file a film is, as the machine `node` sees it; a file of another stamp is another film."""

    size_bytes: int
    mtime_ns: int
    inode: int
    node: str

    def same_file(self, other: FileStamp) -> bool:
        """Whether two stamps are of one file.

        Another machine gives the same file another inode and may round its time: there size and second decide.
        """
        if self.node == other.node:
            return self == other
        return self.size_bytes == other.size_bytes and abs(self.mtime_ns - other.mtime_ns) < COARSE_NS


@dataclass(frozen=True, slots=True)
class AnalysisOrder:
    """One segment in which to look for faces; `id` is the hash of the film, the segment and the models' hashes.

    Faces are looked for in frames whose ordinal is a multiple of `detect_every`; `recogniser` makes their vectors.
    """

    id: str
    segment: Segment
    target: str
    target_sha256: str
    index: str
    detector: str = "centerface"
    models: tuple[tuple[str, str], ...] = ()  # (id, sha256) of every model that looks
    recogniser: str = "dlib_resnet"
    detect_every: int = 1
    stamp: FileStamp | None = None  # None: the file at `target` is taken as it is


@dataclass(frozen=True, slots=True)
class AnalysisReceipt:
    """The faces of one segment: `file` names a FaceTable in the job's store, `shots` how much its frames differ."""

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
    models: tuple[ModelUse, ...] = ()
    shots: str = ""
    shots_sha256: str = ""
    frames_with_faces: int = 0
    notes: tuple[str, ...] = ()  # what the models of the renderer told: see core.inference.sessions


@dataclass(frozen=True)
class Role:
    """What becomes of a face: whose face is put in, by which swapper, and how.

    `identity` names a SourceIdentity in the job's store, pinned by `identity_sha256`.
    """

    identity: str
    identity_sha256: str
    swapper: str
    options: SwapOptions = field(default_factory=SwapOptions)
    models: tuple[tuple[str, str], ...] = ()  # (id, sha256) of every model that decides pixels


@dataclass(frozen=True, slots=True)
class WorkOrder:
    """All one segment needs, movable to any node; `id` is the hash of everything that decides its pixels.

    About 1 kB, and half of one a role. `target` is where the film is, `stamp` which file it was when the job began;
    `index` (pinned by `target_sha256`) and `faces` are names in the job's store whose contents are pinned by the
    hashes beside them. `roles` are those that FaceTable.role of `faces` counts, none where nobody is replaced.
    """

    id: str
    segment: Segment
    target: str
    target_sha256: str
    index: str
    encoder: EncoderSettings
    faces: str | None = None
    faces_sha256: str | None = None
    face_count: int = 0
    roles: tuple[Role, ...] = ()
    stamp: FileStamp | None = None  # None: the file at `target` is taken as it is
    copy: bool = False  # the source's packets are the result

    @property
    def models(self) -> tuple[tuple[str, str], ...]:
        """(id, sha256) of every model that decides pixels, once."""
        return tuple(dict.fromkeys(model for role in self.roles for model in role.models))


@dataclass(frozen=True, slots=True)
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
    models: tuple[ModelUse, ...] = ()
    faces_by_role: tuple[int, ...] = ()  # faces replaced, one number for each of the order's roles
    copied: bool = False  # its packets are the source's
    notes: tuple[str, ...] = ()  # what the models of the renderer told: see core.inference.sessions


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
class RoleUse:
    """What became of people: their ids in the cast, the source's path, the swapper, and how many faces it was."""

    people: tuple[str, ...]
    source: str
    swapper: str
    faces: int


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
    models: tuple[ModelUse, ...] = ()
    cast: str | None = None
    roles: tuple[RoleUse, ...] = ()
    segments_analysed: int = 0  # in this run; the others' faces were known
    segments_copied: int = 0  # whose packets are the source's, in this run or before
    quality: str | None = None  # the page that says how good the film is
    cost: CostReport | None = None
    film_seconds: float | None = None  # from the first frame's time to the last one's end


@dataclass(frozen=True)
class AnalysisReport:
    """What `farm analyse` did, for a program (`--json`); `faces` and `frames_with_faces` are of the film."""

    target: str
    folder: str
    film_sha256: str
    detector: str
    recogniser: str
    detect_every: int
    frames: int
    frames_with_faces: int
    faces: int
    segments: int
    segments_analysed: int
    segments_reused: int
    seconds_by_stage: dict[str, float]
    seconds: float
    frames_per_second: float
    workers: int
    workers_lost: int
    provider: str
    device: str
    damage: tuple[Damage, ...]
    notes: tuple[str, ...]
    versions: dict[str, str] = field(default_factory=dict)
    models: tuple[ModelUse, ...] = ()
