"""The monkey: a job on a real Ray cluster, and whatever it hangs on is killed, in an order that a seed draws.

What is killed: a renderer, a node's raylet, the driver, the head's GCS, the way to the store's server. After each
death the operator does what operators do: starts the same command again when it has ended, and brings nodes, head and
server up again. Or one renderer ends itself at a step that is named exactly, of its own work with the store. In the
end the film is byte for byte the undisturbed one's, and nothing was rendered twice: no driver gave a segment away whose
receipt had been seen (its log says what it gave away), and no renderer rendered one that was published when it got it.

Driver and nodes have folders for temporary files of their own, as separate machines have: nobody finds in a cache what
another put there.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import moto.s3.models
import psutil
from moto.server import ThreadedMotoServer

from tests.actors.films import make_film
from tests.chaos import armed
from tests.chaos.begins import begun_again
from tests.chaos.cluster import SETTINGS, RayCluster
from tests.chaos.relay import Relay
from tests.chaos.scenes import BUCKET, Assets, Story
from tests.system.runs import Ran, farm, finish, leftovers, start

VICTIMS = {"renderer": 5, "driver": 3, "node": 2, "head": 1}
FAR_VICTIMS = VICTIMS | {"server": 3}
OPTIONS = ("--swapper", "none", "--segment-seconds", "1", "--preset", "slower", "--crf", "24", "--json")
WORKERS = 2
MOST_S = 600.0
LOOK_S = 0.05
PART_BYTES = 16 << 10  # of uploads of renderers that end themselves, so that a segment has several
SEGMENT = r"segments/[0-9a-f]{8}"
# Where a renderer ends itself: whether its store is in a bucket, and the step.
FALLS = (
    (True, rf"after create_multipart_upload S3/{SEGMENT}/.*\.mp4"),
    (True, rf"after upload_part S3/{SEGMENT}/.*\.mp4 part 2"),
    (True, rf"before complete_multipart_upload S3/{SEGMENT}/.*\.mp4"),
    (True, rf"after complete_multipart_upload S3/{SEGMENT}/.*\.mp4"),
    (True, rf"before put_object S3/{SEGMENT}/DONE\.json"),
    (True, rf"after put_object S3/{SEGMENT}/DONE\.json"),
    (False, rf"before link OUT/.*/{SEGMENT}/.*\.mp4"),
    (False, rf"after link OUT/.*/{SEGMENT}/.*\.mp4"),
    (False, rf"after link OUT/.*/{SEGMENT}/DONE\.json"),
)


@dataclass(frozen=True)
class Kill:
    """`victim` dies `after_s` seconds after the last kill, counted while renderers work; `which` of its kind."""

    victim: str
    after_s: float
    which: int


def plan_of(seed: int, kills: int, *, far: bool) -> list[Kill]:
    """What the seed says; the same list for ever."""
    draw = random.Random(f"monkey {seed}")
    victims = FAR_VICTIMS if far else VICTIMS
    names = draw.choices(list(victims), list(victims.values()), k=kills)
    return [Kill(name, round(draw.uniform(0.0, 2.5), 2), draw.randrange(8)) for name in names]


@dataclass
class Job:
    """One film being made on `cluster`, with its state beside it or in a bucket behind `relay`."""

    target: Path
    folder: Path
    cluster: RayCluster
    film: str  # sha256 of the undisturbed run's
    assets: Assets | None = None
    relay: Relay | None = None
    arms: Path = Path()  # of the cluster's renderers, see tests.chaos.armed
    seen: dict[str, float] = field(default_factory=dict)  # when a receipt was seen, by order
    film_ns: float = float("inf")  # when a driver was started although the film was there
    again: list[str] = field(default_factory=list)  # what drivers gave away again
    told: list[str] = field(default_factory=list)
    deaths: Counter[str] = field(default_factory=Counter)
    drivers: int = 0

    @property
    def output(self) -> Path:
        return self.folder / "out.mp4"

    @property
    def temporary(self) -> Path:
        """The driver's folder for temporary files."""
        return self.arms / f"driver-{self.folder.name}"

    @property
    def log(self) -> Path:
        """What the last driver said."""
        return self.arms / f"{self.folder.name}-{self.drivers}.err"

    def driver(self) -> subprocess.Popen[str]:
        self.drivers += 1
        self.temporary.mkdir(exist_ok=True)
        if self.output.exists():
            self.seen.clear()  # whoever starts a job again whose film is there gets it made anew
            self.film_ns = min(self.film_ns, time.monotonic_ns())
        command: list[Any] = ["render", self.target, "-o", self.output, *OPTIONS, "--workers", WORKERS]
        command += ["--address", self.cluster.address, "--log-json"]
        if self.assets is not None and self.relay is not None:
            command += ["--store", f"s3://{BUCKET}/{self.folder.name}"]
        with self.log.open("w") as log:
            return start(*command, env=dict(os.environ) | SETTINGS | {"TMPDIR": str(self.temporary)}, stderr=log)

    def ended(self, driver: subprocess.Popen[str]) -> Ran:
        """How a driver ended, and what it gave away that it should not have."""
        ran = finish(driver)
        ran = Ran(ran.code, ran.out, self.log.read_text())
        self.again += begun_again(ran.err, self.seen)
        return ran

    def look(self) -> None:
        """Remember the receipts that are there."""
        if self.output.exists():
            return  # the film is published, and its state is taken away
        found = self._receipts()
        for order in found:
            self.seen.setdefault(order, time.time())

    def _receipts(self) -> list[str]:
        if self.assets is not None:
            found = self.assets.bucket().objects.filter(Prefix=f"{self.folder.name}/segments/")
            return [entry.key.split("/")[-2] for entry in found if entry.key.endswith("/DONE.json")]
        return [path.parent.name for path in (self.folder / "out.mp4.farm").glob("segments/*/DONE.json")]

    def kill(self, kill: Kill, driver: subprocess.Popen[str]) -> bool:
        """Whether there was somebody to kill."""
        match kill.victim:
            case "renderer":
                working = self.cluster.renderers()
                if not working:
                    return False
                try:
                    working[kill.which % len(working)].kill()
                except psutil.NoSuchProcess:
                    return False
            case "driver":
                if driver.poll() is not None:
                    return False
                driver.send_signal(signal.SIGKILL)
            case "node":
                return self.cluster.kill_node(kill.which)
            case "head":
                return self.cluster.kill_head()
            case "server":
                assert self.relay is not None
                self.relay.kill()
        return True


def hunt(job: Job, plan: list[Kill]) -> Ran:
    """Kill what `plan` says, mend, and go on until the film is there; what the last driver said."""
    begun_s = time.monotonic()
    todo = list(plan)
    driver = job.driver()
    while time.monotonic() - begun_s < MOST_S:
        ended = wait_for_work(job, driver, todo[0].after_s if todo else MOST_S)
        if ended:
            ran = job.ended(driver)
            job.told.append(f"{time.monotonic() - begun_s:.1f} s: driver ended with {ran.code}: {ran.err[-300:]}")
            if ran.code == 0:
                return ran
            assert ran.code in {4, -signal.SIGKILL}, ran.err
            mend(job)
            job.look()
            driver = job.driver()
            continue
        kill = todo[0]
        job.look()
        if not job.kill(kill, driver):
            time.sleep(LOOK_S)  # nobody of that kind is there now
            continue
        del todo[0]
        job.told.append(f"{time.monotonic() - begun_s:.1f} s: {kill}")
        job.deaths[kill.victim] += 1
        if kill.victim == "server":
            time.sleep(1.0)
            mend(job)
        elif kill.victim == "node":
            mend(job)
    raise AssertionError("the film was not finished in time:\n" + "\n".join(job.told))


def mend(job: Job) -> None:
    """What an operator would do: head, nodes and server are there again."""
    if job.relay is not None and not job.relay.alive:
        job.relay.start()
    if not job.cluster.alive:
        job.cluster.end()
    job.cluster.start()


def wait_for_work(job: Job, driver: subprocess.Popen[str], seconds: float) -> bool:
    """Wait until renderers have worked for `seconds`; True when the driver ended before."""
    worked_s, last_s = 0.0, time.monotonic()
    while worked_s < seconds:
        if driver.poll() is not None:
            return True
        now_s = time.monotonic()
        if job.cluster.renderers():
            worked_s += now_s - last_s
        last_s = now_s
        job.look()
        time.sleep(LOOK_S)
    return False


def check(job: Job, ran: Ran) -> None:
    """What must be true in the end."""
    report = ran.report
    assert report.output_sha256 == job.film, "another film than the undisturbed run's"
    assert hashlib.sha256(job.output.read_bytes()).hexdigest() == job.film
    assert leftovers(job.folder, ["out.mp4"]) == []
    assert list(job.temporary.glob("farm-*")) == [], "the cache of a store that is gone"
    if job.assets is not None:
        bucket, prefix = job.assets.bucket(), f"{job.folder.name}/"
        assert [entry.key for entry in bucket.objects.filter(Prefix=prefix)] == []
        assert "Uploads" not in bucket.meta.client.list_multipart_uploads(Bucket=BUCKET, Prefix=prefix)
    job.cluster.wait_without_renderers()
    assert job.again == [], "given away again although it was done"
    passed = armed.passed_by(job.arms, job.folder.name)
    assert sum(one.point.name.startswith(armed.RENDER) for one in passed) >= report.segments_rendered, "not seen"
    assert armed.rendered_again(passed, job.film_ns) == []


@dataclass(frozen=True)
class Forest:
    """What the monkey's jobs share: the film, what becomes of it, a cluster, and a store's server behind a relay."""

    folder: Path
    target: Path
    film: str
    cluster: RayCluster
    assets: Assets
    relay: Relay
    arms: Path

    def fall(self, name: str, pattern: str, *, far: bool) -> Story:
        """One job, of which the first renderer that comes to the step `pattern` ends itself there."""
        self.hunt(name, [], far=far, pattern=pattern)
        fell = armed.ended_itself(self.arms)
        return Story((pattern,) if fell else (), met=fell, deaths={"renderer": int(fell)})

    def hunt(self, name: str, plan: list[Kill], *, far: bool, pattern: str = "") -> Story:
        """One job through all kills of `plan`; with `far` its state is in a bucket."""
        folder = self.folder / f"job-{name}"
        folder.mkdir()
        job = Job(self.target, folder, self.cluster, self.film, arms=self.arms)
        armed.instruct(self.arms, folder.name, folder, pattern, PART_BYTES if pattern else 0)
        if far:
            job.assets, job.relay = self.assets, self.relay
        try:
            check(job, hunt(job, plan))
        except BaseException as error:
            error.add_note("\n".join(job.told))
            raise
        shutil.rmtree(folder)
        shutil.rmtree(job.temporary)
        enough = 2 * job.deaths.total() >= len(plan)  # the film may be finished before the last of them
        return Story(tuple(line for line in job.told if "Kill(" in line), met=enough, deaths=job.deaths)


@contextmanager
def forest(folder: Path, seconds: int, special: Mapping[str, str] | None = None) -> Iterator[Forest]:
    """A forest with a film of `seconds`, a segment each; `special` is for one node's environment."""
    folder.mkdir(parents=True, exist_ok=True)
    target = make_film(folder / "film.mp4", seconds=seconds, size="384x288")
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    assets = Assets(target, target, target, folder, f"http://{host}:{port}")
    assets.bucket()
    moto.s3.models.S3_UPLOAD_PART_MIN_SIZE = 1  # S3's is five MiB, more than these segments have
    relay = Relay(port)
    # As on a farm: nodes know the way to the bucket, and have keys of their own.
    os.environ.update(assets.env() | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{relay.port}"})
    arms = (folder / "arms").absolute()
    (arms / armed.LOGS).mkdir(parents=True)
    os.environ.update(armed.environment(arms))
    cluster = RayCluster(WORKERS, special)
    try:
        film = undisturbed(target, folder)
        yield Forest(folder, target, film, cluster, assets, relay, arms)
    finally:
        cluster.end()
        relay.kill()
        server.stop()


def undisturbed(target: Path, folder: Path) -> str:
    """The sha256 of the film that a run in one process makes."""
    return farm("render", target, "-o", folder / "plain.mp4", "--local", *OPTIONS).report.output_sha256
