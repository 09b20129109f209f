"""`make chaos`: every step of every kind of job, seeds of kills at random, the monkey on a real Ray, and coordinators.

    python -m tests.chaos steps [--scene NAME] [--share 1/4]   kill before and after every step (or a share of them)
                                [--all]                        each time that it is done, not only the first and last
    python -m tests.chaos stops [--scene NAME] [--share 1/4]   stop there, let another driver take over, go on
    python -m tests.chaos seeds --seeds N [--first S]          kill runs of one job again and again; duels of drivers
    python -m tests.chaos monkey --seeds N [--first S]         kill processes of a job on a real Ray
    python -m tests.chaos renderers                            end a renderer on a real Ray at steps of its own
    python -m tests.chaos service --seeds N [--first S]        kill coordinators of the service, and its PostgreSQL

Each line of the log build/chaos/HUNT.jsonl tells one hunt; what failed is told on stderr and makes the exit code 1. So
does a hunt that met nobody, in `TRIES` tries, and a command that killed less than it is there for: what is not killed
proves nothing.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from itertools import count
from pathlib import Path
from typing import TextIO

from tests.actors.films import make_film
from tests.chaos.hunts import Ground, duel, ground, kill_often, kill_once, stop_once
from tests.chaos.monkey import FALLS, FAR_VICTIMS, Forest, forest, plan_of
from tests.chaos.points import Point, that_matter
from tests.chaos.scenes import SCENES, Scene, Story
from tests.farm.service.running import Farm
from tests.farm.service.test_deaths import farm_at, finish_all
from tests.postgres import Postgres

TRIES = 4
MONKEY_S = 24
MONKEY_KILLS = 8
FALL_S = 6
SERVICE_JOBS, SERVICE_KILLS = 20, 9
SEEDS_FOR_ALL = 5  # of so many, every kind of victim has died at least once
Hunt = tuple[str, Callable[[], Story]]
Chosen = Callable[[list[Point]], list[Point]]
House = tuple[Farm, str, Postgres | None]  # a service without HTTP, and the address and server of its table


@dataclass
class Tally:
    """What became of the hunts of one command."""

    hunts: int = 0
    failed: int = 0
    unmet: int = 0
    died: Counter[str] = field(default_factory=Counter)

    def faults(self, needed: Collection[str]) -> list[str]:
        """Why the command has not shown what it is there for; `needed` are the kinds of which some must have died."""
        found = [f"{self.failed} failed"] if self.failed else []
        found += [f"{self.unmet} met nobody, or too few, in {TRIES} tries"] if self.unmet else []
        found += [] if self.hunts else ["nothing was hunted"]
        # each hunt that met somebody ended one run at least
        found += [f"only {self.died.total()} died"] if self.died.total() < self.hunts else []
        missing = [kind for kind in needed if not self.died[kind]]
        return found + ([f"none died of: {', '.join(missing)}"] if missing else [])


def steps(place: Ground, scenes: list[Scene], chosen: Chosen) -> Iterator[Hunt]:
    for scene in scenes:
        for point in chosen(place.points(scene)):
            yield f"kill {scene.name} {point}", partial(kill_once, place, scene, point)


def stops(place: Ground, scenes: list[Scene], chosen: Chosen) -> Iterator[Hunt]:
    for scene in scenes:
        for point in chosen(place.points(scene)):
            yield f"stop {scene.name} {point}", partial(stop_once, place, scene, point)


def chosen(wanted: argparse.Namespace) -> Chosen:
    """Every `1/share`-th point that matters, or of all, from the `first`-th on."""
    every = max(1, round(1 / wanted.share))
    return lambda points: (points if wanted.all else that_matter(points))[wanted.first % every :: every]


def seeds(place: Ground, scenes: list[Scene], first: int, count: int) -> Iterator[Hunt]:
    for seed in range(first, first + count):
        for scene in scenes:
            yield f"seed {seed} {scene.name}", partial(kill_often, place, scene, seed)
            if scene.state == "s3":
                yield f"duel {seed} {scene.name}", partial(duel, place, scene, seed)


def monkeys(trees: Forest, first: int, count: int) -> Iterator[Hunt]:
    for seed in range(first, first + count):
        for far in (False, True):
            name = f"{seed}-{'far' if far else 'near'}"
            yield f"monkey {name}", partial(trees.hunt, name, plan_of(seed, MONKEY_KILLS, far=far), far=far)


def renderers(trees: Forest) -> Iterator[Hunt]:
    for number, (far, pattern) in enumerate(FALLS):
        yield f"renderer {pattern}", partial(trees.fall, f"fall-{number}", pattern, far=far)


def service(
    houses: Callable[[str], AbstractContextManager[House]], film: Path, first: int, count: int
) -> Iterator[Hunt]:
    for seed in range(first, first + count):
        for kind in ("sqlite", "postgresql"):
            yield f"service {seed} {kind}", partial(end_coordinators, houses, film, seed, kind)


def end_coordinators(houses: Callable[[str], AbstractContextManager[House]], film: Path, seed: int, kind: str) -> Story:
    """Jobs of a service whose coordinators die, and the server of its table where there is one."""
    with houses(kind) as (farm, url, server):
        died = finish_all(farm, url, film, count=SERVICE_JOBS, kills=SERVICE_KILLS, seed=seed, server=server)
    return Story(tuple(died.elements()), deaths=died)


@contextmanager
def village(folder: Path) -> Iterator[Callable[[str], AbstractContextManager[House]]]:
    """Where services live: each has a folder and a table of its own; those on PostgreSQL share a server."""
    folder.mkdir(parents=True)
    server = Postgres()
    built = count(1)

    @contextmanager
    def build(kind: str) -> Iterator[House]:
        place = folder / f"{kind}-{next(built)}"
        place.mkdir()
        url = f"sqlite:///{place}/farm.db" if kind == "sqlite" else server.new_database()
        with farm_at(url, place / "farm") as farm:
            yield farm, url, server if kind == "postgresql" else None
        shutil.rmtree(place)

    try:
        yield build
    finally:
        server.close()


def follow(todo: Iterator[Hunt], log: TextIO) -> Tally:
    """Hunt and log. One that meets nobody is tried again: threads do things in another order each time."""
    tally = Tally()
    for name, hunt in todo:
        tally.hunts += 1
        told: dict[str, object] = {"hunt": name}
        begun_s = time.monotonic()
        try:
            stories = [hunt()]
            while not stories[-1].met and len(stories) < TRIES:
                stories.append(hunt())
            died = sum((story.died() for story in stories), Counter[str]())
            tally.died += died
            told |= {"ended": stories[-1].ended, "met": stories[-1].met, "tries": len(stories), "died": died}
            if not stories[-1].met:
                tally.unmet += 1
                sys.stderr.write(f"{name}: not met in {TRIES} tries\n")
        except Exception:
            tally.failed += 1
            told["error"] = traceback.format_exc()
            sys.stderr.write(f"{name}\n{told['error']}\n")
        told["seconds"] = round(time.monotonic() - begun_s, 1)
        log.write(json.dumps(told) + "\n")
        log.flush()
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("hunt", choices=["steps", "stops", "seeds", "monkey", "renderers", "service"])
    parser.add_argument("--scene", action="append", choices=[scene.name for scene in SCENES])
    parser.add_argument("--share", type=Fraction, default=Fraction(1))
    parser.add_argument("--all", action="store_true", help="every time that a step is done, and after reading too")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("build/chaos"))
    parser.add_argument("--elsewhere", type=Path, default=Path("/dev/shm"), help="a folder of another file system")
    wanted = parser.parse_args()
    scenes = [scene for scene in SCENES if wanted.scene is None or scene.name in wanted.scene]
    if wanted.hunt == "stops":
        scenes = [scene for scene in scenes if scene.state == "s3"]
    wanted.folder.mkdir(parents=True, exist_ok=True)
    log = (wanted.folder / f"{wanted.hunt}.jsonl").open("a")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # the S3 server's words
    started_s = time.monotonic()
    folder = (wanted.folder / f"{wanted.hunt}-{time.time_ns()}").absolute()
    tally, needed = carry_out(wanted, scenes, folder, log)
    faults = tally.faults(needed if wanted.seeds >= SEEDS_FOR_ALL else ())
    died = ", ".join(f"{number} {kind}" for kind, number in sorted(tally.died.items()))
    seconds = time.monotonic() - started_s
    print(f"{wanted.hunt}: {tally.hunts} hunts, died: {died or 'nobody'}; {seconds:.0f} s; {log.name}")
    for fault in faults:
        print(f"{wanted.hunt}: {fault}", file=sys.stderr)
    return 1 if faults else 0


def carry_out(
    wanted: argparse.Namespace, scenes: list[Scene], folder: Path, log: TextIO
) -> tuple[Tally, Collection[str]]:
    """The hunts that are wanted, and the kinds of victims of which some must have died after enough of them."""
    if wanted.hunt == "monkey":
        with forest(folder, MONKEY_S) as trees:
            return follow(monkeys(trees, wanted.first, wanted.seeds), log), FAR_VICTIMS
    if wanted.hunt == "renderers":
        with forest(folder, FALL_S) as trees:
            return follow(renderers(trees), log), ("renderer",)
    if wanted.hunt == "service":
        with village(folder) as houses:
            film = make_film(folder / "film.mp4", seconds=3)
            return follow(service(houses, film, wanted.first, wanted.seeds), log), ("coordinator", "postgresql")
    with ground(folder, wanted.elsewhere) as place:
        if wanted.hunt == "seeds":
            todo = seeds(place, scenes, wanted.first, wanted.seeds)
        else:
            todo = (steps if wanted.hunt == "steps" else stops)(place, scenes, chosen(wanted))
        return follow(todo, log), ("run",)


if __name__ == "__main__":
    sys.exit(main())
