"""The jobs that are killed: what is rendered, where its state is, and what must be true after every end of a run.

Between runs: the output is what was there before, or the film, whole. After the run that ends well: the film is byte
for byte that of an undisturbed run; it was published once, as long as the job's state told of it; no segment was
rendered again after its receipt was published, as long as the film was not; nothing lies beside the output, in the
bucket, or in the folder for temporary files that an undisturbed run would not leave there.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.nursery import Child, Nursery
from tests.chaos.points import Passed, Plan, Point, plain, read_log
from tests.system.runs import Ran

OLD = b"the film of last week"
TOLD = {"COST", "status.json"}  # what a run that did little may leave out
SHORT_LEASE_S = 1.2
BUCKET = "chaos"


@dataclass(frozen=True)
class Scene:
    """One way to render: `state` beside the output, shared on another disk, or in a bucket; `far` also puts the film
    and the output there; `faces` replaces some."""

    name: str
    state: str  # beside | shared | s3
    far: bool = False
    faces: bool = False
    kept: bool = False
    old_output: bool = False

    @property
    def on_s3(self) -> bool:
        return self.state == "s3" or self.far


SCENES = (
    Scene("disk", "beside"),
    Scene("disk-faces", "beside", faces=True, old_output=True),
    Scene("shared", "shared", kept=True, old_output=True),
    Scene("s3", "s3"),
    Scene("s3-far", "s3", far=True, old_output=True),
    Scene("s3-faces", "s3", far=True, faces=True, kept=True),
)


@dataclass(frozen=True)
class Assets:
    """What all trials share: the films, a face, a folder on another file system, and the S3 server's address."""

    plain: Path
    faces: Path
    person: Path
    elsewhere: Path
    endpoint: str

    def env(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def bucket(self) -> Any:
        import boto3  # noqa: PLC0415

        made = boto3.resource(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id="key",
            aws_secret_access_key="secret",
        ).Bucket(BUCKET)
        made.create()
        return made


@dataclass(frozen=True)
class Story:
    """What was done to a job: where its runs were ended, and whether that is all that was planned.

    `deaths` counts them by what died, in `ended` order of first deaths; runs of the job itself where it is left out.
    """

    ended: tuple[str, ...]
    met: bool = True
    deaths: Mapping[str, int] = field(default_factory=dict)

    def died(self) -> Counter[str]:
        return Counter(self.deaths) if self.deaths else Counter(run=len(self.ended))


@dataclass
class Trial:
    """One job in a folder of its own, run as often as it takes."""

    scene: Scene
    assets: Assets
    nursery: Nursery
    folder: Path
    env: dict[str, str] = field(default_factory=dict)
    logs: list[Path] = field(default_factory=list)
    settled: object = None  # the stamp of the film that was found there between two runs

    def __post_init__(self) -> None:
        for name in ("out", "tmp", "log"):
            (self.folder / name).mkdir(parents=True)
        self.key = self.folder.name
        self.shared = self.assets.elsewhere / self.key
        film = self.assets.faces if self.scene.faces else self.assets.plain
        if self.scene.far:
            bucket = self.assets.bucket()
            bucket.upload_file(str(film), f"{self.key}/film.mp4")
            if self.scene.old_output:
                bucket.put_object(Key=f"{self.key}/out.mp4", Body=OLD)
            self.target, self.output = f"s3://{BUCKET}/{self.key}/film.mp4", f"s3://{BUCKET}/{self.key}/out.mp4"
        else:
            self.target, self.output = str(film), str(self.folder / "out" / "out.mp4")
            if self.scene.old_output:
                Path(self.output).write_bytes(OLD)

    # ------------------------------------------------------------ running

    def command(self) -> list[str]:
        scene = self.scene
        options = ["--local", "--preset", "ultrafast", "--json", "--segment-seconds", "0" if scene.faces else "1"]
        options += ["--source", str(self.assets.person)] if scene.faces else ["--swapper", "none"]
        if scene.state != "beside":
            options += ["--store", self.store]
        return ["render", self.target, "-o", self.output, *options, *(["--keep"] if scene.kept else [])]

    @property
    def store(self) -> str:
        named = {
            "beside": f"{self.output}.farm",
            "shared": str(self.shared / "store"),
            "s3": f"s3://{BUCKET}/{self.key}/state",
        }
        return named[self.scene.state]

    def start(self, point: Point | None = None, **more: Any) -> Child:
        self.logs.append(self.folder / "log" / f"{len(self.logs)}.points")
        places = {"OUT": str(self.folder / "out"), "TMP": str(self.folder / "tmp"), "SHARED": str(self.shared)}
        plan = Plan(places, f"{self.key}/", str(self.logs[-1]), point, **more)
        env = self.assets.env() | {"TMPDIR": str(self.folder / "tmp"), "CHAOS_LEASE_S": str(SHORT_LEASE_S)} | self.env
        return self.nursery.start(self.command(), plan, self.folder / "log", env)

    def run(self, point: Point | None = None, **more: Any) -> Ran:
        return self.nursery.finish(self.start(point, **more))

    def points(self) -> list[Point]:
        """The points that the last run passed."""
        return [passed.point for passed in read_log(self.logs[-1])]

    def ended_at(self) -> Point | None:
        """The point at which the last run was sent a signal."""
        return next((passed.point for passed in read_log(self.logs[-1]) if passed.ended), None)

    def clear(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(self.shared, ignore_errors=True)
        if self.scene.on_s3:
            self.assets.bucket().objects.filter(Prefix=f"{self.key}/").delete()

    # ------------------------------------------------------------ what is there

    def published(self) -> str | None:
        """The sha256 of what is at the output; None where nothing is, "old" for what was there before."""
        if self.scene.far:
            found = {entry.key for entry in self.assets.bucket().objects.filter(Prefix=f"{self.key}/out.mp4")}
            if f"{self.key}/out.mp4" not in found:
                return None
            data = self.assets.bucket().Object(f"{self.key}/out.mp4").get()["Body"].read()
        elif Path(self.output).exists():
            data = Path(self.output).read_bytes()
        else:
            return None
        return "old" if data == OLD else hashlib.sha256(data).hexdigest()

    def told(self) -> bool:
        """Whether the job's state tells that its film may be published."""
        return any(name.rpartition("/")[2] in {"publishing.json", "published.json"} for name in self.names())

    def stamp(self) -> object:
        """What tells the film at the output from another one that is put there later."""
        if self.scene.far:
            return self.assets.bucket().Object(f"{self.key}/out.mp4").last_modified
        told = Path(self.output).stat()
        return told.st_ino, told.st_mtime_ns

    def names(self) -> list[str]:
        """All that lies in the places of this job, without random parts; uploads under way too."""
        found = []
        for place, root in {"OUT": self.folder / "out", "TMP": self.folder / "tmp", "SHARED": self.shared}.items():
            paths = root.rglob("*") if root.exists() else ()
            found += [f"{place}/{path.relative_to(root)}" for path in paths if not tried_out(place, path)]
        if self.scene.on_s3:
            bucket = self.assets.bucket()
            start = f"{self.key}/"
            found += [f"S3/{entry.key.removeprefix(start)}" for entry in bucket.objects.filter(Prefix=start)]
            uploads = bucket.meta.client.list_multipart_uploads(Bucket=BUCKET, Prefix=start).get("Uploads", [])
            found += [f"UPLOAD/{entry['Key'].removeprefix(start)}" for entry in uploads]
        return sorted(plain(name) for name in found)

    def rendered_again(self) -> list[str]:
        """Orders done again although their receipt was published by then and the film was not."""
        again, receipts = [], set[str]()
        for passed in sorted((one for log in self.logs for one in read_log(log)), key=lambda one: one.at_ns):
            made = published_by(passed)
            folder, _, name = made.rpartition("/")
            if name == "DONE.json":
                receipts.add(folder)
            elif name == "out.mp4":
                receipts.clear()  # whoever starts a job again whose film is there gets it made anew
            elif folder in receipts:
                again.append(made)
        return again


def published_by(passed: Passed) -> str:
    """The name below the store, or the output's, that a step has published; "" for other steps."""
    kind, _, where = passed.point.name.partition(" ")
    if passed.point.side == "before" or kind not in {"link", "replace", "put_object", "complete_multipart_upload"}:
        return ""
    for folder in ("/analysis/", "/segments/"):
        if folder in where:
            return f"{folder}{where.partition(folder)[2]}"
    return "out.mp4" if where in {"OUT/out.mp4", "S3/out.mp4"} else ""


@dataclass(frozen=True)
class Undisturbed:
    """What a run that nobody disturbs makes and leaves, and the points it passes."""

    film: str
    names: list[str]
    points: list[Point]

    @staticmethod
    def of(trial: Trial) -> Undisturbed:
        report = trial.run().report
        film = trial.published()
        assert film == report.output_sha256
        return Undisturbed(film, trial.names(), trial.points())


def check_between(trial: Trial, usual: Undisturbed) -> None:
    """What must be true whenever a run has just ended, however it did."""
    found = trial.published()
    before = "old" if trial.scene.old_output else None
    assert found in {before, usual.film}, f"half a film at the output: {found}"
    check_once(trial, found)


def check_once(trial: Trial, found: str | None) -> None:
    """A film that was published while the job's state tells so is not published again."""
    assert trial.settled is None or trial.stamp() == trial.settled, "the film was published again"
    trial.settled = trial.stamp() if found not in {None, "old"} and trial.told() else None


def check_end(trial: Trial, usual: Undisturbed, ran: Ran, *, alone: bool = True) -> None:
    """What must be true after the run that ended well. Two that run at once may do one order both: not `alone`."""
    report = ran.report
    assert report.output_sha256 == usual.film, "another film than the undisturbed run's"
    assert trial.published() == usual.film
    assert not alone or trial.rendered_again() == []
    if alone:
        check_once(trial, usual.film)
    assert report.segments_reused + report.segments_rendered == report.segments
    left = Counter(trial.names()) - Counter(usual.names)
    lost = Counter(name for name in usual.names if name.rpartition("/")[2] not in TOLD) - Counter(trial.names())
    assert not left, f"left over: {sorted(left)}"
    assert not lost, f"lost: {sorted(lost)}"


def tried_out(place: str, path: Path) -> bool:
    """Whether it is what Python's tempfile writes to try a folder out, and leaves there when it is killed just then: a
    name of eight characters and at most the four bytes "blat"."""
    if place != "TMP" or plain(f"TMP/{path.name}") != "TMP/*" or not path.is_file():
        return False
    return path.read_bytes() in {b"", b"blat"}
