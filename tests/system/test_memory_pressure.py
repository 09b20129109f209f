"""A whole job whose networks run out of memory for real: ONNX Runtime's own arena, given no more than so much."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.faces_assets import astronaut, carphone_clip
from tests.system.runs import ROOT, Ran

# Every session of the process takes its memory from the arena that is registered first (session.use_env_allocators).
STARVED = """
import sys
import onnxruntime as ort
info = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
config = ort.OrtArenaCfg({"max_mem": int(sys.argv[1]), "arena_extend_strategy": 1})
ort.create_and_register_allocator(info, config)
from farm.cli.main import main
sys.exit(main(sys.argv[2:]))
"""
ENOUGH_MIB, SHORT_MIB = 2000, 150  # gpen_1024 at an eighth of its channels needs more than 200 for one face
FRAMES = 6


@pytest.fixture
def command(tmp_path: Path, twins: Path, monkeypatch: pytest.MonkeyPatch) -> list[str | Path]:
    monkeypatch.setenv("FARM_MODEL_CACHE", str(twins))
    Image.fromarray(astronaut()).save(tmp_path / "face.png")
    film = carphone_clip(tmp_path, frames=FRAMES)
    made: list[str | Path] = ["render", film, "--source", tmp_path / "face.png", "--swapper", "hyperswap_1a_256"]
    return [*made, "--local", "--preset", "ultrafast", "--json"]


def starved(mib: int, *arguments: str | Path) -> Ran:
    command = [sys.executable, "-c", STARVED, str(mib << 20), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    return Ran(done.returncode, done.stdout, done.stderr)


def pictures(film: Path) -> NDArray[np.int16]:
    with av.open(str(film)) as opened:
        return np.stack([frame.to_ndarray(format="gray") for frame in opened.decode(video=0)]).astype(np.int16)


@pytest.mark.heavy
def test_the_enhancer_goes_at_last_and_only_where_it_may(command: list[str | Path], tmp_path: Path) -> None:
    enhance = ("--enhancer", "gpen_1024")
    refused = starved(SHORT_MIB, *command, *enhance, "-o", tmp_path / "refused.mp4")
    assert refused.code == 2
    assert "model gpen_1024: too little memory" in refused.error_line
    assert refused.error_line.endswith("or allow gpen_1024 to go with --enhancer-may-go")
    assert not (tmp_path / "refused.mp4").exists()

    went = starved(SHORT_MIB, *command, *enhance, "--enhancer-may-go", "-o", tmp_path / "went.mp4").report
    assert went.faces == FRAMES
    assert went.faces_skipped == {"no memory to enhance": FRAMES}
    said = f"segment 0: {FRAMES} of {FRAMES} faces are without the enhancer, memory was short"
    assert went.notes.count(said) == 1
    assert {use.steps[-1] for use in went.models if use.id == "hyperswap_1a_256"} == {"enhancer off"}

    plain = starved(ENOUGH_MIB, *command, "-o", tmp_path / "plain.mp4").report
    whole = starved(ENOUGH_MIB, *command, *enhance, "--enhancer-may-go", "-o", tmp_path / "whole.mp4").report
    for report in (plain, whole):
        assert report.faces_skipped == {}
        assert not any("memory" in note for note in report.notes)
    shown = {name: pictures(tmp_path / f"{name}.mp4") for name in ("went", "plain", "whole")}
    assert np.abs(shown["went"] - shown["plain"]).max() <= 2, "as without an enhancer, but for rounding"
    assert np.abs(shown["whole"] - shown["plain"]).mean() > 0.5
