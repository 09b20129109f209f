"""`farm doctor --need`: how a node is kept out of a cluster when its GPU does not work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from farm.cli.doctor import Need
from farm.cli.main import main
from farm.doctor import NEEDS, DoctorReport, Finding, examine

GPU_LESS = (
    Finding("provider", "CUDAExecutionProvider", "absent", "no driver"),
    Finding("provider", "TensorrtExecutionProvider", "absent", "no library"),
    Finding("provider", "CPUExecutionProvider", "works", "computed the probe graph"),
    Finding("encoder", "h264_nvenc yuv420p", "works", "encoded a frame"),
)


def test_what_is_needed_and_absent_is_broken_and_nothing_else_changes() -> None:
    report = DoctorReport(GPU_LESS)
    assert report.ok
    needing = report.needing(["cuda", "nvenc"])
    assert not needing.ok
    assert (needing.findings[0].state, needing.findings[0].detail) == ("broken", "needed here, but: no driver")
    assert needing.findings[1:] == report.findings[1:]
    assert report.needing([]) == report
    assert report.needing(["nvenc"]).ok


def test_the_options_words_are_those_of_the_table() -> None:
    assert [one.value for one in Need] == list(NEEDS)


@pytest.mark.heavy
def test_every_need_is_a_finding_of_a_real_look_and_the_command_tells_by_its_code(tmp_path: Path, capsys: Any) -> None:
    looked = examine(tmp_path, tmp_path / "none", with_ray=False)
    assert set(NEEDS.values()) <= {(one.group, one.name) for one in looked.findings}
    absent = [name for name, key in NEEDS.items() for one in looked.findings if (one.group, one.name) == key]
    wanted = [word for name in absent for word in ("--need", name)]
    expected = 0 if looked.needing(absent).ok else 4
    assert main(["doctor", "--no-ray", "--folder", str(tmp_path), *wanted]) == expected
    assert ("needed here, but:" in capsys.readouterr().out) == (expected == 4)
