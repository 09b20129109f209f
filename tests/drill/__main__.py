"""`make drill`: parts of a service on a real Ray Serve die in the middle of twenty jobs.

    python -m tests.drill --seeds N [--first S] [--jobs 20]

What dies: every replica of the calls, the coordinator, both at once, Serve's controller, its proxy, PostgreSQL (SIGKILL
and a new start). Each line of build/drill.jsonl tells one drill; what failed is told on stderr too, and the exit code
is 1 then.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import signal
import sys
import tempfile
import traceback
from pathlib import Path

from tests.actors.films import make_film
from tests.drill.story import describe, drill
from tests.drill.world import world

SEED_S = 1200  # a drill and what comes before and after it
FILM_S = 8


def ended(number: int, frame: object) -> None:
    """A signal ends the drills as an error does: everything that was started is ended."""
    raise SystemExit(f"ended by signal {number}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.drill")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=20)
    parser.add_argument("--log", type=Path, default=Path("build/drill.jsonl"))
    wanted = parser.parse_args()
    wanted.log.parent.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(level=logging.ERROR)
    for number in (signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, ended)
    signal.alarm(SEED_S * (wanted.seeds + 1))
    failed = 0
    with tempfile.TemporaryDirectory(prefix="farm-film-") as folder, world() as here, wanted.log.open("a") as log:
        film = make_film(Path(folder) / "film.mp4", seconds=FILM_S, size="320x240")
        for seed in range(wanted.first, wanted.first + wanted.seeds):
            told: dict[str, object] = {"seed": seed}
            try:
                told = describe(asyncio.run(drill(here, film, seed, count=wanted.jobs)))
            except Exception:
                failed += 1
                told["error"] = traceback.format_exc()
                sys.stderr.write(f"drill {seed}\n{told['error']}\n")
            log.write(json.dumps(told) + "\n")
            log.flush()
            print(json.dumps(told), flush=True)
    print(f"{wanted.seeds} drills, {failed} failed; {wanted.log}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
