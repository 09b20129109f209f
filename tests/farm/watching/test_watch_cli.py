"""`farm watch` beside a job that runs: on a terminal, in a pipe, as JSON, on a bucket, and when the job dies."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import boto3
import pytest

from core import codec
from core.errors import StorageError
from core.records import JobStatus
from farm.artifacts import DiskStore, open_store
from farm.cli import watch as watching
from farm.cli.watch import Json, Lines
from farm.paths import place
from farm.store.s3path import place_of
from farm.watching import follow as following
from farm.watching.status import Status
from tests.farm.watching.test_follow import STATUS
from tests.media_clips import make_clip
from tests.system.runs import ROOT, farm_here, finish, finished_segments, start, wait_for

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


class Terminal:
    """`farm watch` on a terminal of 100 by 30; `text` is all that was written there, without its escapes."""

    def __init__(self, *arguments: str | Path) -> None:
        mine, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "farm.cli.main", "watch", *map(str, arguments)],
            cwd=ROOT,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"},  # they go before the ioctl
        )
        os.close(theirs)
        self.written = b""
        self._thread = threading.Thread(target=self._read, args=(mine,))
        self._thread.start()

    def _read(self, mine: int) -> None:
        while True:
            try:
                data = os.read(mine, 1 << 16)
            except OSError:  # nobody writes there any more
                data = b""
            if not data:
                os.close(mine)
                return
            self.written += data

    def finish(self) -> tuple[int, str]:
        code = self.process.wait(60)
        self._thread.join()
        return code, ESCAPES.sub("", self.written.decode())


def test_a_job_is_watched_from_begin_to_end(clips: Path, tmp_path: Path) -> None:
    film, out = make_clip("h264_mov", clips), tmp_path / "out.mov"
    terminal = Terminal(out, "--wait")
    lines, stream = start("watch", out, "--wait"), start("watch", out, "--wait", "--json")
    assert lines.stderr is not None
    assert lines.stderr.readline() == f"farm: {out}: waiting for a run to begin here\n"  # before there is one
    job = start("render", film, "-o", out, "--swapper", "none", "--local", "--segment-seconds", "0.2")
    assert finish(job).code == 0
    code, text = terminal.finish()
    assert code == 0
    assert str(out) in text
    assert f"farm: {out}: finished" in text
    told, seen = finish(lines), finish(stream)
    assert (told.code, seen.code) == (0, 0)
    assert told.err.splitlines()[-1] == f"farm: {out}: finished"
    assert "\x1b" not in told.out
    statuses = [codec.decode(line.encode(), JobStatus) for line in seen.out.splitlines()]
    assert len({status.run for status in statuses}) == 1
    numbers = [status.sequence for status in statuses]
    assert numbers == sorted(set(numbers))
    assert (statuses[-1].state, statuses[-1].exit_code) == ("finished", 0)


def test_a_grid_on_a_terminal(tmp_path: Path) -> None:
    store = DiskStore(str(tmp_path / "out.mp4.farm"))
    running = replace(STATUS, output=str(tmp_path / "out.mp4"), grid="##=>.!", notes=("a note",))
    store.replace(store.status_name, codec.encode(running))
    terminal = Terminal(tmp_path / "out.mp4")
    while b"a note" not in terminal.written:
        assert terminal.process.poll() is None
    failed = replace(running, sequence=2, state="failed", error="the disk is full", exit_code=4, grid="##=X.!")
    store.replace(store.status_name, codec.encode(failed))
    code, text = terminal.finish()
    assert code == 4
    assert "##=>.!" in text
    rows = [row.rstrip() for row in text.splitlines()]
    assert "##=X.!" in rows
    assert ". 1 waiting   > 1-9 0 running   # 2 done   = 1 there before   ! 1 lost, again   X 1 failed" in rows
    assert rows[-1] == f"farm: {running.output}: failed: the disk is full"


def test_a_driver_that_is_killed_and_a_run_that_resumes(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film, out = make_clip("h264_mov", clips), tmp_path / "out.mov"
    command = ["render", film, "-o", out, "--swapper", "none", "--local", "--segment-seconds", "0.2"]
    store = tmp_path / "out.mov.farm"
    job = start(*command)
    wait_for(lambda: bool(finished_segments(store)), job)
    os.killpg(job.pid, signal.SIGKILL)
    job.communicate()
    status = codec.decode((store / "jobs/output/status.json").read_bytes(), JobStatus)
    assert status.state == "running"
    monkeypatch.setattr(following, "QUIET_S", 0.2)
    monkeypatch.setattr(following, "QUIET_WRITES", 0)
    monkeypatch.setattr(following, "CONFIRM_S", 0.1)
    ran = farm_here("watch", out)
    assert ran.code == 4
    assert "run the same command again to resume" in ran.error_line
    assert farm_here(*command).code == 0
    assert farm_here("watch", out).code == 2


@pytest.mark.parametrize("far", [False, True])
def test_a_driver_that_has_begun_is_waited_for(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, far: bool
) -> None:
    """What lies there is the failure of the run before; the new one tells of itself when it is waited for."""
    del s3
    if far:
        boto3.resource("s3").Bucket("begun").create()
    out = "s3://begun/out.mp4" if far else str(tmp_path / "out.mp4")
    said: list[str] = []
    with open_store(place(f"{out}.farm")) as store:
        failed = Status("in.mp4", out).end(StorageError("the disk is full"))
        store.replace(store.status_name, codec.encode(failed))

        def say(text: str) -> None:
            said.append(text)
            new = Status("in.mp4", out, run=store.run)
            store.replace(store.status_name, codec.encode(new.end(None)))

        monkeypatch.setattr(watching, "say", say)
        monkeypatch.setattr(watching, "FAR_S", 0.1)
        verdict = watching.follow(out, None, False, lambda *_: None)
        store.replace(store.status_name, codec.encode(failed))
    assert verdict == following.Verdict(0, f"{out}: finished")
    begun = "waiting for the first word of a run that has begun here"
    assert said == [f"{out}: {begun}; the last one ended with: failed: the disk is full"]
    assert watching.follow(out, None, False, lambda *_: None).code == 4, "nobody works there any more"


@pytest.mark.heavy
def test_in_a_bucket(s3: str, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "local").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "local"))
    boto3.resource("s3").Bucket("watched").create()
    film = make_clip("h264_mov", clips)
    out = "s3://watched/films/out.mov"
    assert farm_here("render", film, "-o", out, "--swapper", "none", "--local", "--keep").code == 0
    for named in (out, f"{out}.farm"):
        ran = farm_here("watch", named, "--json")
        assert (ran.code, ran.err) == (0, f"farm: {out}: finished\n")
        assert codec.decode(ran.out.encode(), JobStatus).output == out
    assert farm_here("watch", "s3://watched/films/other.mov").code == 2
    missing = farm_here("watch", "s3://no-such-bucket/out.mov")
    assert missing.code == 2
    assert "no-such-bucket" in missing.error_line
    with open_store(place_of("s3://watched/state"), "one") as store:
        store.replace(store.status_name, codec.encode(Status("in", "s3://watched/a.mov").end(KeyboardInterrupt())))
    assert farm_here("watch", "s3://watched/state").code == 130


@pytest.mark.parametrize(
    ("job", "words"),
    [("nothing.mp4", "no job tells of itself here"), ("bad\udcff.mp4", "UTF-8"), ("s3://", "not an address")],
)
def test_what_is_no_job(tmp_path: Path, job: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ran = farm_here("watch", job)
    assert ran.code == 2
    assert words in ran.error_line
    assert list(tmp_path.iterdir()) == []


def said(show: Callable[[], object], capsys: pytest.CaptureFixture[str]) -> list[str]:
    show()
    return capsys.readouterr().out.splitlines()


def test_lines_for_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    time = [0.0]
    lines = Lines(lambda: time[0])
    began = replace(STATUS, stage="index", grid="", map="")
    assert said(lambda: lines.show(began, 0.0), capsys) == ["index"]
    assert said(lambda: lines.show(began, 0.0), capsys) == []
    (first,) = said(lambda: lines.show(STATUS, 0.0), capsys)
    assert first.startswith("render: 50 %, 250/500 frames, ")
    later = replace(STATUS, frames_done=300, notes=("look",), sequence=2)
    assert said(lambda: lines.show(later, 0.0), capsys) == ["note: look"]
    time[0] = 5.0
    (second,) = said(lambda: lines.show(later, 0.0), capsys)
    assert second.startswith("render: 60 %, 300/500 frames, ")
    time[0] = 9.9
    assert said(lambda: lines.show(later, 11.0), capsys) == []
    time[0] = 15.0
    assert said(lambda: lines.show(later, 16.0), capsys) == ["nothing heard of the driver for 16 s"]


def test_json_for_a_program(capsys: pytest.CaptureFixture[str]) -> None:
    stream = Json()
    (line,) = said(lambda: stream.show(STATUS, 0.0), capsys)
    assert json.loads(line)["grid"] == STATUS.grid
    assert said(lambda: stream.show(STATUS, 1.0), capsys) == []
    assert len(said(lambda: stream.show(replace(STATUS, sequence=2), 0.0), capsys)) == 1
