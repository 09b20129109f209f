"""The bodies that come in and go out. Unknown fields are refused by name; numbers are numbers and texts are texts."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import Query
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, StringConstraints, model_validator

from core.records import ColourKind, JobSpec, MaskKind, OnDamage, PasteKind, Precision, Select, SwapOptions
from farm.service.guard import CALLED
from farm.service.records import JobState, Scope, SegmentStage, SegmentState, UploadPurpose, UploadState

TEXT, NAME = r"^[^\x00-\x1f\x7f]*$", r"^[^\x00-\x1f\x7f/\\]*$"
ID, MODEL = r"^[A-Za-z0-9_-]+$", r"^[A-Za-z0-9_.+-]+$"
IN_BUCKET, SHA256 = r"^s3://", r"^[0-9a-f]{64}$"
# farm.seconds: 0 to 9999 seconds, or a fraction; what is more than an hour is refused by its value.
SEGMENT = r"^([0-9]{1,4}(\.[0-9]{0,9})?|\.[0-9]{1,9}|[0-9]{1,9}/[1-9][0-9]{0,8})$"
EVENT = r"^[0-9]{0,18}$"
CURSOR = r"^[A-Za-z0-9_-]{14,500}$"  # farm.service.ids.make_cursor
Text = Annotated[str, StringConstraints(max_length=200, pattern=TEXT)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=NAME)]
Id = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=ID)]
ModelName = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=MODEL)]
Cursor = Annotated[str | None, Query(pattern=CURSOR, description="`next` of the page before.")]
Unit = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
MOST_IMAGES = 16
MOST_LABELS = 32


def whole(value: object) -> object:
    """461.0 is 461: an integer of JSON Schema is a number without a fraction, however it is written."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(whole)


def keyed(most_letters: int) -> dict[str, JsonValue]:
    """What pydantic leaves out of the schema of a dict: keys of another form, or another length, are refused."""
    return {"additionalProperties": False, "propertyNames": {"minLength": 1, "maxLength": most_letters}}


class Body(BaseModel):
    """What comes in."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class View(BaseModel):
    """What goes out."""

    model_config = ConfigDict(frozen=True)


# ---------------------------------------------------------------- in


class Place(Body):
    """A file: one that was uploaded, or an object of a bucket that the operator allows."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": [one], "properties": {one: {"type": "string"}, other: {"type": "null"}}}
                for one, other in (("upload", "url"), ("url", "upload"))
            ]
        }
    )

    upload: Id | None = None
    url: Annotated[str, StringConstraints(max_length=2000, pattern=IN_BUCKET)] | None = None

    @model_validator(mode="after")
    def one(self) -> Place:
        if (self.upload is None) == (self.url is None):
            raise ValueError("give either an upload or a url")
        return self


class Source(Body):
    """The person to put in: the first image, which face of it from the left; more images of the same person."""

    images: Annotated[list[Place], Field(min_length=1, max_length=MOST_IMAGES)]
    face: Annotated[int, Field(ge=1, le=1000), WHOLE] | None = None


class Swap(Body):
    """How a face is replaced, beside by which model; see docs/models.md."""

    boost: Annotated[int, Field(ge=1, le=8), WHOLE] = 1
    strength: Unit = 1.0
    masks: Annotated[list[MaskKind], Field(min_length=1, max_length=4)] = ["box"]
    mask_blur: Unit = 0.3
    mask_padding: Annotated[list[Annotated[float, Field(ge=0, lt=1)]], Field(min_length=4, max_length=4)] = [0, 0, 0, 0]
    occlusion_model: ModelName = SwapOptions.occlusion_model
    region_model: ModelName = SwapOptions.region_model
    paste: PasteKind = "feather"
    colour: ColourKind = "none"
    enhancer: ModelName | None = None
    enhancer_blend: Unit = 0.8
    enhancer_may_go: bool = False
    enhancer_weight: Unit = SwapOptions.enhancer_weight
    precision: Precision = "fp32"


class Encode(Body):
    """Encoder wishes; null means the film's own codec and the encoder's default."""

    codec: ModelName | None = None
    crf: Annotated[int, Field(ge=-1, le=255), WHOLE] | None = None
    preset: ModelName | None = None


class NewJob(Body):
    """A film to make: the options of `farm render`."""

    target: Place
    source: Source | None = None
    select: Select = "largest"
    reference: Place | None = None
    swapper: ModelName = JobSpec.swapper
    swap: Swap = Swap()
    detector: ModelName = JobSpec.detector
    recogniser: ModelName = JobSpec.recogniser
    detect_every: Annotated[int, Field(ge=1, le=10_000), WHOLE] = 1
    min_face: Annotated[float, Field(ge=0, le=100_000, allow_inf_nan=False)] = 0.0
    smart: bool = True
    encode: Encode = Encode()
    segment_seconds: Annotated[str, StringConstraints(pattern=SEGMENT)] = "10"
    on_damage: OnDamage = "fail"
    output: Name | None = Field(None, description="The result's file name; its ending says the container.")
    title: Text = ""
    wait_for_cast: bool = Field(False, description="Stop after the analysis until a cast is put.")
    quality: bool = Field(False, description="Measure how good the faces are.")
    priority: Annotated[int, Field(ge=-100, le=100), WHOLE] = 0
    labels: Annotated[dict[Name, Text], Field(max_length=MOST_LABELS, json_schema_extra=keyed(200))] = {}


class NewUpload(Body):
    """A file to come: what it is for, how it is called, how long it is."""

    purpose: UploadPurpose
    name: Name
    size_bytes: Annotated[int, Field(ge=1, le=1 << 45), WHOLE]


class EndOfUpload(Body):
    """All parts are put. With the file's SHA-256 what came is compared with what was sent."""

    sha256: Annotated[str, StringConstraints(pattern=SHA256)] | None = None


class CastEntry(Body):
    """What becomes of a person; without a source nothing does, whatever face was given before. A name or a swapper that
    is null is as it was."""

    source: Source | None = None
    name: Text | None = None
    swapper: ModelName | None = None
    same_as: Id | None = None


class NewCast(Body):
    """All of who becomes whom, by the ids of the people that `GET .../cast` lists. Who is not named stays: a face that
    an earlier cast gave them is taken back."""

    people: Annotated[dict[Id, CastEntry], Field(min_length=1, max_length=10_000, json_schema_extra=keyed(64))]


class NewWebhook(Body):
    url: Annotated[str, StringConstraints(max_length=2000, pattern=CALLED)]
    job: Id | None = None
    states: Annotated[list[Annotated[JobState, Field(strict=False)]], Field(max_length=20)] = []  # JSON has texts


class NewKey(Body):
    name: Text
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=5)]
    expires_in_s: Annotated[int, Field(ge=1, le=10 * 366 * 86400), WHOLE] | None = None


# ---------------------------------------------------------------- out


class ProblemView(View):
    """Why a job or an upload came to nothing, and what to do."""

    kind: str
    detail: str
    next_step: str


class ProgressView(View):
    stage: str
    frames_done: int
    frames_total: int
    segments_done: int
    segments_total: int
    segments_running: int
    faces_done: int
    frames_per_s: float
    eta_low_s: float | None
    eta_high_s: float | None


class SpentView(View):
    """What the job has used so far, lost work included. `cost` is null where no price is known."""

    gpu_s: float
    core_s: float
    cost: float | None
    currency: str


class ResultView(View):
    name: str
    sha256: str
    size_bytes: int


class ResultLink(View):
    """Where the finished film can be had without a key; relative to the service where it is the service's own."""

    url: str
    expires_in_s: int


class JobView(View):
    id: str
    state: JobState
    wish: str
    attempt: int
    version: int
    title: str
    priority: int
    labels: dict[str, str]
    target: str
    swapper: str
    wait_for_cast: bool
    has_cast: bool
    progress: ProgressView
    spent: SpentView
    problem: ProblemView | None
    result: ResultView | None
    created: datetime
    changed: datetime
    started: datetime | None
    finished: datetime | None
    last_event: int
    links: dict[str, str]


class JobList(View):
    items: list[JobView]
    next: str | None = Field(description="Ask with it for what comes after; null at the end.")


class SegmentView(View):
    stage: SegmentStage
    index: int
    state: SegmentState
    frames: int
    frames_done: int
    faces: int
    attempt: int
    slot: str
    node: str


class SegmentList(View):
    items: list[SegmentView]
    next: str | None


class UploadView(View):
    id: str
    state: UploadState
    purpose: UploadPurpose
    name: str
    size_bytes: int
    received_bytes: int
    sha256: str
    media: dict[str, object]
    problem: ProblemView | None
    created: datetime
    links: dict[str, str] = Field(
        description="`data`: where to send the file. In its place, where files go into a bucket, or large ones through "
        "a proxy that keeps them in memory: `head` takes the file's first bytes, `parts` lists then what is to be put "
        "where, and `finish` ends the upload."
    )
    part_bytes: int | None = Field(None, description="The length of the parts, where the file is sent in such.")
    head_bytes: int | None = Field(None, description="How many of the first bytes `head` takes, where it is there.")


class PartView(View):
    number: int
    first_byte: int
    size_bytes: int
    url: str = Field(
        description="Where to PUT these bytes: an address of a bucket, without a key, for an hour; or a path of the "
        "service, which begins with /, with the key."
    )


class PartList(View):
    """The parts of an upload that are not there yet."""

    items: list[PartView]
    next: str | None = Field(description="Ask with it for what comes after; null at the end.")
    received_bytes: int
    size_bytes: int


class UploadList(View):
    items: list[UploadView]
    next: str | None


class PersonView(View):
    id: str
    name: str
    thumbnail: str | None
    screen_time_s: float
    frames: int
    first: str
    last: str
    source: str = Field(description="`sources` in one text.")
    sources: list[str] = Field(description="The pictures of whom they become: `upload:ID` and addresses.")
    source_face: int | None = Field(description="Which face of the first picture, from the left.")
    same_as: str


class CastView(View):
    people: list[PersonView]
    toml: str


class WebhookView(View):
    id: str
    url: str
    job: str
    states: list[JobState]
    created: datetime
    off: datetime | None
    secret: str | None = Field(None, repr=False, description="Signs what is sent; shown once.")


class DeliveryView(View):
    id: str
    webhook: str
    job: str
    event: int
    state: str
    tries: int
    next: datetime
    last_status: int | None
    last_error: str


class KeyView(View):
    id: str
    name: str
    scopes: list[Scope]
    created: datetime
    expires: datetime | None
    revoked: datetime | None
    used: datetime | None
    secret: str | None = Field(None, repr=False, description="The whole key; shown once.")


class UseView(View):
    """What counts against the tenant's quota, and the quota; null is without limit."""

    segments: int
    jobs_running: int
    jobs_waiting: int
    gpu_s: float
    stored_bytes: int
    quota: dict[str, int | None]


class Me(View):
    """Whose key this is."""

    tenant: str
    key: str
    scopes: list[Scope]
    use: UseView


class Health(View):
    status: Literal["ok"]
