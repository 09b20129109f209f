"""`make chaos`: every step of every kind of job, then seeds of kills at random, then the monkey on a real Ray.

    python -m tests.chaos steps [--scene NAME] [--share 1/4]   kill before and after every step (or a share of them)
    python -m tests.chaos stops [--scene NAME] [--share 1/4]   stop there, let another driver take over, go on
    python -m tests.chaos seeds --seeds N [--first S]          kill runs of one job again and again; duels of drivers
    python -m tests.chaos monkey --seeds N [--first S]         kill processes of a job on a real Ray

Each line of the log build/chaos/HUNT.jsonl tells one hunt; what failed is told on stderr and makes the exit code 1.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TextIO

from tests.chaos.hunts import Ground, duel, ground, kill_often, kill_once, stop_once
from tests.chaos.monkey import Forest, forest, plan_of
from tests.chaos.points import Point
from tests.chaos.scenes import SCENES, Scene, Story

MONKEY_S = 24
MONKEY_KILLS = 8
Hunt = tuple[str, Callable[[], Story]]


def steps(place: Ground, scenes: list[Scene], share: Fraction, first: int) -> Iterator[Hunt]:
    for scene in scenes:
        for point in shared(place, scene, share, first):
            yield f"kill {scene.name} {point}", partial(kill_once, place, scene, point)


def stops(place: Ground, scenes: list[Scene], share: Fraction, first: int) -> Iterator[Hunt]:
    for scene in scenes:
        for point in shared(place, scene, share, first):
            yield f"stop {scene.name} {point}", partial(stop_once, place, scene, point)


def shared(place: Ground, scene: Scene, share: Fraction, first: int) -> list[Point]:
    """Every `1/share`-th point, from the `first`-th on."""
    every = max(1, round(1 / share))
    return place.points(scene)[first % every :: every]


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


def follow(todo: Iterator[Hunt], log: TextIO) -> tuple[int, int, int]:
    """Hunt and log; how many hunts there were, how many runs they ended, and how many of them failed."""
    done, kills, failed = 0, 0, 0
    for name, hunt in todo:
        done += 1
        told: dict[str, object] = {"hunt": name}
        try:
            story = hunt()
            told |= {"ended": story.ended, "met": story.met}
            kills += len(story.ended)
        except Exception:
            failed += 1
            told["error"] = traceback.format_exc()
            sys.stderr.write(f"{name}\n{told['error']}\n")
        log.write(json.dumps(told) + "\n")
        log.flush()
    return done, kills, failed


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("hunt", choices=["steps", "stops", "seeds", "monkey"])
    parser.add_argument("--scene", action="append", choices=[scene.name for scene in SCENES])
    parser.add_argument("--share", type=Fraction, default=Fraction(1))
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
    if wanted.hunt == "monkey":
        with forest(folder, MONKEY_S) as trees:
            done, kills, failed = follow(monkeys(trees, wanted.first, wanted.seeds), log)
    else:
        with ground(folder, wanted.elsewhere) as place:
            if wanted.hunt == "seeds":
                todo = seeds(place, scenes, wanted.first, wanted.seeds)
            else:
                todo = (steps if wanted.hunt == "steps" else stops)(place, scenes, wanted.share, wanted.first)
            done, kills, failed = follow(todo, log)
    seconds = time.monotonic() - started_s
    print(f"{wanted.hunt}: {done} hunts, {kills} runs ended, {failed} failed, {seconds:.0f} s; {log.name}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
