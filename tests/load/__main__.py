"""`make load`: many clients of one service, what they wait, and what memory it takes.

    python -m tests.load [--seconds 120] [--way farm|serve] [--database sqlite|postgres] [--replicas 1]
        [--upload-mb 2048]

200 clients poll (150 the state of a job every 2 s, 50 a page of 50 jobs every 3 s), 50 watch events, one submits and
erases twice a second, one pauses and resumes what is watched; 1,000 jobs are queued, of a tenant that may run none.
Then one upload of 2 GB. The floor is what one client alone sees of the same call on the same service just before.
All of it is one more process on the same machine. The exit code is 1 where a goal is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from farm.api.parting import PART_BYTES
from tests.load.crowd import Crowd, alone, queue, rush
from tests.load.house import Served, served
from tests.load.upload import AT_ONCE, send_film, send_padded

READ_S, SUBMIT_S = 0.050, 0.100
FLAT_MIB = 16.0  # what the memory may differ between the second fifth of the time and the last one
UPLOAD_MIB = 64.0
ON_RAY_MIB = 2 * AT_ONCE * (PART_BYTES >> 20)  # more: the parts on their way, in Serve's proxy and in the replica
WARM_S = 10.0
LOOK_S = 1.0
ALONE = 100
MORE_S = 1800  # beside --seconds: coming up, filling the table, the upload, going


def ended(number: int, frame: object) -> None:
    """A signal ends the load as an error does: everything that was started is ended."""
    raise SystemExit(f"ended by signal {number}")


def p(values: Sequence[float], share: float) -> float:
    """The value below which `share` of them lie."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def ms(seconds: float) -> float:
    return round(1000 * seconds, 1)


async def measured(house: Served, wanted: argparse.Namespace, film: Path) -> dict[str, Any]:
    """The floor, the load, and the memory meanwhile."""
    upload = await asyncio.to_thread(send_film, house.port, house.key, film)
    crowd = Crowd(house.port, house.keys, upload, [])
    await queue(crowd, wanted.queued)
    floor = await alone(crowd, ALONE)
    async with rush(crowd, clients=wanted.clients, watchers=wanted.watchers):
        await asyncio.sleep(WARM_S)
        crowd.seconds.clear()
        crowd.lag_s.clear()
        crowd.told = 0
        house.trace.clear()
        looking = asyncio.create_task(looks(house))
        began_s, spent_s, waited_s = time.perf_counter(), house.spent_s(), house.waited_s()
        await asyncio.sleep(wanted.seconds)
        took_s = time.perf_counter() - began_s
        used_s, waited_s = house.spent_s() - spent_s, house.waited_s() - waited_s
        looking.cancel()
    rows = {
        kind: {
            "calls": len(values),
            "per_s": round(len(values) / took_s, 1),
            "floor_ms": ms(statistics.median(floor[kind])) if kind in floor else None,
            "p50_ms": ms(p(values, 0.5)),
            "p95_ms": ms(p(values, 0.95)),
            "p99_ms": ms(p(values, 0.99)),
        }
        for kind, values in sorted(crowd.seconds.items())
    }
    early, late = fifths([taken for _, taken in house.trace])
    return {
        "seconds": round(took_s, 1),
        "calls": rows,
        "events": crowd.told,
        "wrong": crowd.wrong,
        "late_ms": ms(p(crowd.lag_s, 0.95)),
        "server_cores": round(used_s / took_s, 2),
        "server_waited": round(waited_s / took_s, 2),
        "memory_mib": {"early": early, "late": late, "most": round(max(taken for _, taken in house.trace), 1)},
        "load_average": round(psutil.getloadavg()[0], 1),
    }


async def looks(house: Served) -> None:
    while True:
        house.look()
        await asyncio.sleep(LOOK_S)


def fifths(values: Sequence[float]) -> tuple[float, float]:
    """The medians of the second fifth and of the last one: the first one is the warming up."""
    fifth = max(1, len(values) // 5)
    return round(statistics.median(values[fifth : 2 * fifth]), 1), round(statistics.median(values[-fifth:]), 1)


def upload_mib(way: str) -> float:
    """What an upload may take of memory, however large it is."""
    return UPLOAD_MIB + (ON_RAY_MIB if way == "serve" else 0)


def missed(told: dict[str, Any]) -> list[str]:
    """The goals that were not met."""
    found = [f"{what}: {count}" for what, count in told.get("wrong", {}).items()]
    for kind in ("status", "list"):
        row = told["calls"][kind]
        over = row["p95_ms"] - row["floor_ms"]
        if over > 1000 * READ_S:
            found.append(f"{kind}: p95 is {over:.1f} ms over the floor")
    if told["calls"]["submit"]["p95_ms"] > 1000 * SUBMIT_S:
        found.append(f"submit: p95 is {told['calls']['submit']['p95_ms']} ms")
    memory = told["memory_mib"]
    if memory["late"] - memory["early"] > FLAT_MIB:
        found.append(f"memory grew from {memory['early']} to {memory['late']} MiB")
    if (big := told.get("upload")) is not None and big["grew_mib"] > upload_mib(told["way"]):
        found.append(f"the upload took {big['grew_mib']} MiB")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.load")
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--way", choices=["farm", "serve"], default="farm")
    parser.add_argument("--database", choices=["sqlite", "postgres"], default="sqlite")
    parser.add_argument("--replicas", type=int, default=1, help="with --way serve; several need --database postgres")
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--watchers", type=int, default=50)
    parser.add_argument("--queued", type=int, default=1000)
    parser.add_argument("--upload-mb", type=int, default=2048, help="0: without")
    parser.add_argument("--log", type=Path, default=Path("build/load.jsonl"))
    wanted = parser.parse_args()
    wanted.log.parent.mkdir(parents=True, exist_ok=True)
    for number in (signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, ended)
    signal.alarm(int(wanted.seconds) + MORE_S)
    told: dict[str, Any] = {"way": wanted.way, "database": wanted.database, "replicas": wanted.replicas}
    with tempfile.TemporaryDirectory(prefix="farm-load-") as name:
        folder = Path(name)
        with served(folder, wanted.way, wanted.database, wanted.replicas) as house:
            film = folder / "film.mp4"
            make(film)
            told |= asyncio.run(measured(house, wanted, film))
            if wanted.upload_mb:
                told["upload"] = send_padded(house, film, wanted.upload_mb << 20)
    told["missed"] = missed(told)
    with wanted.log.open("a") as log:
        log.write(json.dumps(told) + "\n")
    print(json.dumps(told, indent=1))
    return 1 if told["missed"] else 0


def make(film: Path) -> None:
    from tests.actors.films import make_film  # noqa: PLC0415 - loads FFmpeg

    make_film(film, seconds=2)


if __name__ == "__main__":
    sys.exit(main())
