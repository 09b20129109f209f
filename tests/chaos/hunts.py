"""What is done to a job: each hunt disturbs runs of one trial, lets it end well, and checks what must be true then."""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from moto.server import ThreadedMotoServer
from PIL import Image

from core.errors import InputError, StorageError
from tests.actors.films import make_film
from tests.chaos.nursery import Nursery, nursery, wait_stopped
from tests.chaos.points import Point, of_steps_done
from tests.chaos.scenes import Assets, Scene, Story, Trial, Undisturbed, check_between, check_end
from tests.faces_assets import astronaut, slow_carphone
from tests.system.runs import Ran

MOST_KILLS = 12
LEAST_POINTS = 50  # of any kind of job; an undisturbed run of the shortest passes twice as many
KILLED = -signal.SIGKILL


@dataclass
class Ground:
    """Where hunts take place; what undisturbed runs make is looked at once a scene."""

    folder: Path
    assets: Assets
    nursery: Nursery
    trials: int = 0
    usual: dict[Scene, Undisturbed] = field(default_factory=dict)

    def trial(self, scene: Scene) -> Trial:
        self.trials += 1
        return Trial(scene, self.assets, self.nursery, self.folder / f"{scene.name}-{self.trials}")

    def undisturbed(self, scene: Scene) -> Undisturbed:
        if scene not in self.usual:
            trial = self.trial(scene)
            self.usual[scene] = Undisturbed.of(trial)
            trial.clear()
        return self.usual[scene]

    def points(self, scene: Scene) -> list[Point]:
        """Where a run of `scene` can be ended, each point once."""
        found = of_steps_done(self.undisturbed(scene).points)
        assert len(found) >= LEAST_POINTS, f"{scene.name}: {len(found)} steps: its steps are not seen"
        return found


@contextmanager
def ground(folder: Path, elsewhere: Path) -> Iterator[Ground]:
    """A ground with films, an S3 server and a nursery of its own; `elsewhere` is on another file system."""
    folder.mkdir(parents=True, exist_ok=True)
    assert folder.stat().st_dev != elsewhere.stat().st_dev, f"{elsewhere} is on the file system of {folder}"
    shared = elsewhere / f"farm-chaos-{os.getpid()}"
    Image.fromarray(astronaut()).save(folder / "person.png")
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    assets = Assets(
        make_film(folder / "plain.mp4", seconds=3),
        slow_carphone(folder / "faces.mp4", seconds=9, rate=1),
        folder / "person.png",
        shared,
        f"http://{host}:{port}",
    )
    assets.bucket()
    try:
        with nursery() as born:
            yield Ground(folder, assets, born)
    finally:
        server.stop()
        shutil.rmtree(shared, ignore_errors=True)


def kill_once(ground: Ground, scene: Scene, point: Point) -> Story:
    """Kill a run at `point`; the same command then finishes."""
    usual = ground.undisturbed(scene)
    trial = ground.trial(scene)
    ran = trial.run(point)
    if ran.code == 0:  # the threads did something in another order, or less often, and the point was not met
        check_end(trial, usual, ran)
        before = last_before(trial.points(), point)
        trial.clear()
        return kill_once(ground, scene, before) if before is not None else Story((), met=False)
    assert ran.code == KILLED, ran.err
    check_between(trial, usual)
    check_end(trial, usual, trial.run())
    trial.clear()
    return Story((str(point),))


def last_before(passed: Sequence[Point], point: Point) -> Point | None:
    """The last time that a run did the step of `point`, where that was less often than `point` says: what the books
    write, and a lease renews, hangs on how long a run takes."""
    counts = [one.count for one in passed if (one.side, one.name) == (point.side, point.name)]
    return replace(point, count=max(counts)) if counts and max(counts) < point.count else None


def kill_often(ground: Ground, scene: Scene, seed: int, most: int = 0) -> Story:
    """Kill run after run, each at a step drawn by `seed`, until one gets through. `most`: how many steps a run has, by
    default as many as the undisturbed one; how often the books are written hangs on how long one takes."""
    draw = random.Random(f"{scene.name} {seed}")
    usual = ground.undisturbed(scene)
    most = most or len(usual.points)
    trial = ground.trial(scene)
    ended = []
    for _ in range(MOST_KILLS):
        # Early and late: a run that goes on where others were killed has fewer steps.
        ran = trial.run(number=1 + int(most * draw.random() ** 2))
        if ran.code == 0:
            break
        assert ran.code == KILLED, ran.err
        ended.append(str(trial.ended_at()))
        check_between(trial, usual)
    else:
        ran = trial.run()
    check_end(trial, usual, ran)
    passed = len(trial.points())
    trial.clear()
    if not ended and passed < most:
        return kill_often(ground, scene, seed, passed)
    return Story(tuple(ended), met=bool(ended))


def stop_once(ground: Ground, scene: Scene, point: Point) -> Story:
    """Stop a run at `point` for longer than its lease; another driver does the job; then the first goes on.

    On disk the lock stays with the stopped process, so the other driver is refused and the first one finishes.
    """
    usual = ground.undisturbed(scene)
    trial = ground.trial(scene)
    first = trial.start(point, signal=signal.SIGSTOP)
    if not stopped(trial, first.pid):
        check_end(trial, usual, trial.nursery.finish(first))
        before = last_before(trial.points(), point)
        trial.clear()
        return stop_once(ground, scene, before) if before is not None else Story((), met=False)
    second = trial.run()
    if second.code == 0:
        assert second.report.output_sha256 == usual.film
    os.kill(first.pid, signal.SIGCONT)
    ended = trial.nursery.finish(first)
    if second.code == InputError.exit_code:
        assert "another run" in second.error_line
        check_end(trial, usual, ended)
    else:
        after_a_loss(trial, usual, second, ended)
    trial.clear()
    return Story((str(point),))


def duel(ground: Ground, scene: Scene, seed: int) -> Story:
    """Stop a run at a step drawn by `seed`; another takes over and is stopped on its way too; the first goes on and
    ends, then the second does."""
    draw = random.Random(f"{scene.name} duel {seed}")
    usual = ground.undisturbed(scene)
    trial = ground.trial(scene)
    points = ground.points(scene)
    point = draw.choice(points)
    first = trial.start(point, signal=signal.SIGSTOP)
    if not stopped(trial, first.pid):
        check_end(trial, usual, trial.nursery.finish(first))
        before = last_before(trial.points(), point)
        trial.clear()
        return stop_once(ground, scene, before) if before is not None else Story((), met=False)
    second = trial.start(number=1 + int(len(points) * draw.random()), signal=signal.SIGSTOP)
    halfway = stopped(trial, second.pid)
    where = (str(point), str(trial.ended_at()))
    os.kill(first.pid, signal.SIGCONT)
    lost = trial.nursery.finish(first)
    if halfway:
        os.kill(second.pid, signal.SIGCONT)
    after_a_loss(trial, usual, trial.nursery.finish(second), lost)
    trial.clear()
    return Story(where)


def stopped(trial: Trial, pid: int) -> bool:
    """Wait until the run is stopped at its point, or ended; whether it is stopped."""
    while trial.ended_at() is None:
        if trial.nursery.ended(pid):
            return False
    wait_stopped(pid)
    return True


def after_a_loss(trial: Trial, usual: Undisturbed, winner: Ran, loser: Ran) -> None:
    """What must be true when two drivers thought that the job was theirs: one gives up in one line, the film is right,
    and what lies around is gone after another run at the latest."""
    assert 0 in {winner.code, loser.code}, f"nobody finished:\n{winner.err}\n{loser.err}"
    for ran in (winner, loser):
        assert ran.code in {0, InputError.exit_code, StorageError.exit_code}, ran.err
        if ran.code == 0:
            assert ran.report.output_sha256 == usual.film
        else:
            assert ran.error_line
    assert trial.published() == usual.film
    check_end(trial, usual, trial.run(), alone=False)
