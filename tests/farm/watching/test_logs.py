"""Lines for machines: every one is an object with the same names, whatever said it."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from actors.dispatch import (
    Assign,
    Beat,
    Cancel,
    Done,
    Failed,
    Finish,
    GiveUp,
    Kill,
    NodeGone,
    NodeLeaves,
    Quarantine,
    Release,
    Restart,
    Shun,
    SlotDied,
    SlotReady,
)
from core.errors import StorageError
from farm.settings import json_wanted
from farm.watching.jsonlog import ALWAYS, begin_json, end_json, log, speaks_json
from farm.watching.logs import JsonProgress
from tests.farm.watching.jobs import order
from tests.media_clips import make_clip
from tests.system.runs import farm_here

Lines = list[dict[str, Any]]


def read(text: str) -> Lines:
    lines = [json.loads(line) for line in text.splitlines()]
    for line in lines:
        assert set(line) >= {"time", "level", "logger", "message", *ALWAYS}
        assert line["time"].endswith("Z")
    return lines


@pytest.fixture
def spoken() -> Iterator[None]:
    begin_json()
    begin_json()  # a second time changes nothing
    yield
    end_json()
    assert not speaks_json()


@pytest.mark.usefixtures("spoken")
def test_what_happens_to_segments_and_renderers(capsys: pytest.CaptureFixture[str]) -> None:
    time = [0.0]
    progress = JsonProgress("out.mp4", lambda: time[0])
    progress.stage("render")
    orders = [order(number, 100, 3) for number in range(4)]
    hear = progress.watch(orders, orders[1:])
    hear(SlotReady("s", 2, "node-a", "L4"), 0.0)
    for number in (1, 2, 3):
        hear(Assign("s", f"o{number}", 1), 1.0)
    hear(Beat("s", "o1", 1, 40), 3.0)
    hear(Done("s", "o1", 1), 5.0)
    hear(Cancel("s", "o2", 1, "moved to a renderer without work"), 5.5)
    hear(Kill("s", "it hangs"), 6.0)
    hear(SlotDied("s", "killed"), 7.0)
    hear(Restart("s", "killed"), 7.0)
    hear(SlotReady("s", 2, "node-a", "L4"), 8.0)
    hear(Assign("s", "o3", 2), 9.0)
    time[0] = 20.0
    hear(Failed("s", "o3", 2, StorageError("the disk is full", hint="free some")), 20.0)
    hear(NodeLeaves("node-a", 60.0), 21.0)
    hear(NodeGone("node-a", "gone"), 22.0)
    hear(Finish(StorageError("the disk is full")), 23.0)
    hear(Quarantine("t", "died often"), 24.0)
    hear(Shun("node-b", "died often"), 24.0)
    hear(GiveUp("node-b", "died often"), 24.0)
    hear(Release("u", "nothing is queued"), 24.0)
    progress.note("look\nhere")
    progress.close()
    lines = read(capsys.readouterr().err)
    assert {line["job"] for line in lines} == {"out.mp4"}
    told = [(line["event"], line["level"], line["segment"], line["attempt"], line["slot"]) for line in lines]
    assert told == [
        ("stage", "info", None, None, None),
        ("map", "info", None, None, None),
        ("SlotReady", "info", None, None, "s"),
        ("begin", "info", 1, 1, "s"),
        ("begin", "info", 2, 1, "s"),
        ("begin", "info", 3, 1, "s"),
        ("done", "info", 1, 1, "s"),
        ("given up", "info", 2, 1, "s"),
        ("Kill", "warning", None, None, "s"),
        ("SlotDied", "warning", None, None, "s"),
        ("lost", "warning", 3, 1, "s"),
        ("Restart", "info", None, None, "s"),
        ("SlotReady", "info", None, None, "s"),
        ("begin", "info", 3, 2, "s"),
        ("failed", "error", 3, 2, "s"),
        ("progress", "info", None, None, None),
        ("NodeLeaves", "warning", None, None, None),
        ("NodeGone", "warning", None, None, None),
        ("Finish", "error", None, None, None),
        ("Quarantine", "warning", None, None, "t"),
        ("Shun", "warning", None, None, None),
        ("GiveUp", "warning", None, None, None),
        ("Release", "info", None, None, "u"),
        ("note", "info", None, None, None),
    ]
    nodes = [line["node"] for line in lines if line["slot"] == "s" or line["event"].startswith("Node")]
    assert set(nodes) == {"node-a"}
    done, lost, failed = (
        next(line for line in lines if line["event"] == event) for event in ("done", "lost", "failed")
    )
    assert (done["seconds"], done["frames"], done["kind"], done["map"]) == (4.0, 100, "L4", "render")
    assert (lost["cause"], lost["seconds"]) == ("hung", 6.0)
    assert failed["message"] == "segment 3 failed: the disk is full; free some"
    progressed = next(line for line in lines if line["event"] == "progress")
    assert (progressed["frames"], progressed["of_frames"], progressed["segments_done"]) == (200, 400, 2)
    assert progress.told == {"look\nhere"}


@pytest.mark.usefixtures("spoken")
def test_libraries_and_warnings_and_errors(capsys: pytest.CaptureFixture[str]) -> None:
    logging.getLogger("botocore.hooks").warning("odd %s\n%s", 'a "quoted"', object)
    logging.getLogger("botocore.hooks").info("not told")
    warnings.warn("old", stacklevel=1)
    log(logging.ERROR, "bad", error=ValueError("ünïcode"), segment=3, where=Path("a"))
    library, warned, own = read(capsys.readouterr().err)
    assert (library["logger"], library["level"], library["job"]) == ("botocore.hooks", "warning", None)
    assert library["message"].startswith('odd a "quoted"\n')
    assert "old" in warned["message"]
    assert (own["segment"], own["where"], own["traceback"]) == (3, "a", "ValueError: ünïcode\n")


def test_a_command(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film, out = make_clip("h264_mov", clips), tmp_path / "out.mov"
    arguments = ["render", film, "-o", out, "--swapper", "none", "--local"]
    ran = farm_here(*arguments, "--log-json", "--json")
    assert ran.code == 0
    lines = read(ran.err)
    assert [line["stage"] for line in lines if line.get("event") == "stage"][:2] == ["index", "plan"]
    assert {line["job"] for line in lines} == {str(out)}
    assert "checks passed" in lines[-1]["message"]
    assert json.loads(ran.out)["segments_rendered"] == sum(line.get("event") == "done" for line in lines)
    plain = farm_here(*arguments)
    assert plain.err.splitlines()[-1].startswith("farm: ")
    monkeypatch.setenv("FARM_LOG", "json")
    refused = farm_here("render", tmp_path / "none.mp4", "-o", out, "--swapper", "none", "--local", "--debug")
    (last,) = [line for line in read(refused.err) if line["level"] == "error"]
    assert (refused.code, last["exit_code"], last["where"]) == (2, 2, str(tmp_path / "none.mp4"))
    assert "Traceback" in last["traceback"]
    usage = farm_here("render", "--nothing")
    assert (usage.code, read(usage.err)[0]["exit_code"]) == (2, 2)
    monkeypatch.setenv("FARM_LOG", "xml")
    assert farm_here("probe", film).error_line == "farm: FARM_LOG='xml' is no kind of log; write text or json"


def test_who_wants_json() -> None:
    assert json_wanted(["render", "--log-json"], {})
    assert json_wanted([], {"FARM_LOG": "json"})
    assert not json_wanted(["probe", "--", "--log-json"], {"FARM_LOG": "text"})
    assert not json_wanted([], {})
