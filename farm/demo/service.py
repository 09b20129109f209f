"""The demo through the service: brought up in a folder of its own, the job asked for with farm.client.

Twice: `farm serve`, and an application of Ray Serve that `serve deploy deploy/serve.yaml` made (farm.demo.onserve).
The two people of the demo's film are looked for by the service, each is given the other one's face, and the film is
fetched and compared with its source by the checks of `farm verify`. Both ways make the same film, byte for byte.

python -m farm.demo.service --out out [--way farm] [--way serve] [--way local]
"""

from __future__ import annotations

import argparse
import hashlib
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from core.errors import FarmError, InputError, StorageError
from core.media.verify import verify_film
from core.records import JobSpec
from farm.client import Farm
from farm.client.calls import JobView
from farm.demo.__main__ import main as demo
from farm.demo.onserve import on_serve
from farm.demo.sheet import contact_sheet
from farm.settings import load_settings
from farm.sources import Eyes

START_S = 300.0
STOP_S = 120.0
STOPPED = 130  # the exit code of a command that was interrupted
ADDRESS = "the service is at "
CORES = 2  # of the Ray below Ray Serve: two renderers
WAYS = {"farm": "farm serve", "serve": "Ray Serve", "local": "farm serve --local"}
Faces = Mapping[str, Path]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m farm.demo.service", description="The demo through the service.")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for demo-service.mp4 and .png")
    parser.add_argument("--way", action="append", choices=list(WAYS), help="how (default: farm, then serve)")
    options = parser.parse_args(arguments)
    out: Path = options.out
    if code := demo(["--out", str(out), "--film-only"]):
        return code
    faces = {"astronaut": out / "astronaut.png", "carphone": out / "carphone.png"}
    target, result = out / "demo-target.mp4", out / "demo-service.mp4"
    made = set()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(STOPPED))  # what was started is ended then too
    try:
        for way in options.way or ["farm", "serve"]:
            say(f"through {WAYS[way]}")
            through(way, target, faces, result)
            with result.open("rb") as film:
                made.add(hashlib.file_digest(film, "sha256").hexdigest())
        if len(made) != 1:
            raise StorageError("the ways made different films", where=str(result), hint="tell the project")
    except FarmError as error:
        say(str(error))
        return 4
    contact_sheet(target, result, out / "demo-service.png")
    print(f"film: {result}\nbefore and after: {out / 'demo-service.png'}")
    return 0


def through(way: str, target: Path, faces: Faces, result: Path) -> None:
    """Make the film with a service that comes up for it and goes."""
    with tempfile.TemporaryDirectory(prefix="farm-service-") as name:
        folder = Path(name)
        up: AbstractContextManager[tuple[str, str]]
        up = on_serve(folder, CORES) if way == "serve" else service(folder, local=way == "local")
        with up as (url, key), Farm(url, key) as farm:
            made = exchanged(farm, target, faces, folder)
            farm.download(made.id, result)
            told = farm.report(made.id)
            farm.erase(made.id)
        say("the service has stopped")
    checked(target, result, told)


@contextmanager
def service(folder: Path, *, local: bool) -> Iterator[tuple[str, str]]:
    """`farm serve` with everything in `folder`, at a free port: its address and its first key. It is stopped at the
    end as by Ctrl-C; `StorageError` where it does not start, or does not stop as it should."""
    words = ["serve", "--data", str(folder / "data"), "--port", "0", *(["--local"] if local else ["--workers", "2"])]
    command = [sys.executable, "-m", "farm.cli.main", *words]
    # A group of its own: Ctrl-C in a terminal reaches this process alone, which then stops the service.
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stderr is not None
    said: queue.Queue[str] = queue.Queue()
    threading.Thread(target=listen, args=(process.stderr, said), daemon=True).start()
    try:
        url = address(said)
        yield url, (folder / "data" / "first-key").read_text().strip()
        process.send_signal(signal.SIGINT)
        code = process.wait(STOP_S)
        if code != STOPPED:
            raise StorageError(f"farm serve ended with {code}", hint="see what it said above")
    except subprocess.TimeoutExpired:
        raise StorageError(f"farm serve did not stop within {STOP_S:g} s", hint="see what it said above") from None
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def listen(stream: IO[str], said: queue.Queue[str]) -> None:
    """Pass on what the service says, all of it to the terminal; an empty line is its end."""
    for line in stream:
        if "a key for it is in" not in line:
            sys.stderr.write(line)
            sys.stderr.flush()
        said.put(line)
    said.put("")


def address(said: queue.Queue[str]) -> str:
    """Where the service is, as it says itself."""
    end_s = time.monotonic() + START_S
    while True:
        try:
            line = said.get(timeout=max(0.0, end_s - time.monotonic()))
        except queue.Empty:
            raise StorageError(f"farm serve did not start within {START_S:g} s", hint="is the machine busy?") from None
        if not line:
            raise StorageError("farm serve ended before it was there", hint="see what it said above")
        if ADDRESS in line:
            return line.partition(ADDRESS)[2].strip()


def exchanged(farm: Farm, target: Path, faces: Faces, folder: Path) -> JobView:
    """The job in which each of the two has the other one's face, when it has succeeded."""
    job = farm.submit(target, swapper="mesh", title="The demo", segment_seconds="1.5", wait_for_cast=True)
    say(f"{job.id} is submitted")
    waits = followed(farm, job.id, until="casting")
    if waits.state != "casting":
        raise failure(waits)
    other = dict(zip(faces, list(faces)[::-1], strict=True))
    images = {name: farm.upload(path, "source").id for name, path in faces.items()}
    people = {
        person: {"name": name, "source": {"images": [{"upload": images[other[name]]}]}}
        for person, name in who(farm, job.id, faces, folder).items()
    }
    if {entry["name"] for entry in people.values()} != set(faces):
        raise InputError(f"the film's people were taken for {people}", hint="tell the project")
    farm.put_cast(job.id, {"people": people})
    done = followed(farm, job.id, until="succeeded")
    if done.state != "succeeded":
        raise failure(done)
    return done


def who(farm: Farm, job: str, faces: Faces, folder: Path) -> dict[str, str]:
    """Person -> name of the picture that is most like theirs, by the vectors of the recogniser."""
    settings = load_settings()
    eyes = Eyes(settings.model_cache, settings.cores, JobSpec.detector)
    known = {name: eyes.reference(str(path), JobSpec.recogniser) for name, path in faces.items()}
    found = {}
    for person in farm.cast(job).people:
        if person.thumbnail is None:
            continue
        file = folder / Path(person.thumbnail).name
        file.write_bytes(farm.cast_picture(job, file.name))
        seen = eyes.reference(str(file), JobSpec.recogniser)
        found[person.id] = max(known, key=lambda name: float(np.dot(known[name], seen)))
        say(f"{person.id} is {found[person.id]}, {person.screen_time_s:.1f} s on screen")
    return found


def followed(farm: Farm, job: str, until: str) -> JobView:
    """The job as soon as it is in the state `until`, or has ended; how it goes is told."""
    before = ""
    for now in farm.watch(job):
        progress = now.progress
        share = 10 * (10 * progress.frames_done // progress.frames_total) if progress.frames_total else 0
        line = f"{now.state}, {share} %" if progress.stage else now.state
        if line != before:
            before = line
            say(line)
        if now.state == until:
            return now
    return farm.job(job)


def failure(job: JobView) -> FarmError:
    problem = job.problem
    return FarmError(
        problem.detail if problem else f"the job is {job.state}",
        where=job.id,
        hint=problem.next_step if problem else "see its log",
    )


def checked(target: Path, result: Path, told: Mapping[str, object]) -> None:
    """`StorageError` where the film that came is not its source with other faces, labelled."""
    report = verify_film(target, result)
    wrong = [f"{check.name}: expected {check.expected}, got {check.got}" for check in report.checks if not check.ok]
    if not told["labelled"]:
        wrong.append("it is not labelled")
    if wrong:
        raise StorageError("; ".join(wrong), where=str(result), hint="tell the project")
    say(f"{len(report.checks)} checks passed, {told['faces']} faces replaced in {told['frames_replaced']} frames")


def say(text: str) -> None:
    sys.stderr.write(f"demo: {text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
