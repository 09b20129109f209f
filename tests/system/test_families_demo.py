"""Every family of swappers renders the demo on Ray with its twin: the film of `python -m farm.demo --film-only`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import av
import pytest

from core.inference.manifest import load_manifests, manifest_folder
from tests.system.runs import ROOT, farm

SWAPPERS = sorted(m.id for m in load_manifests(manifest_folder()).values() if m.role == "swapper")
EVERY = 8  # frames of the demo of which one is kept, so that a family takes seconds
pytestmark = pytest.mark.heavy


def shortened(film: Path, short: Path) -> int:
    """One in EVERY frames of `film` with its own time, and all of its sound; how many frames that are."""
    count = 0
    with av.open(str(film)) as whole, av.open(str(short), "w") as made:
        (picture,), (sound,) = whole.streams.video, whole.streams.audio
        video = made.add_stream("libx264", rate=picture.average_rate)
        video.width, video.height, video.pix_fmt = picture.width, picture.height, "yuv420p"
        video.time_base = video.codec_context.time_base = picture.time_base
        video.codec_context.options = {"crf": "18", "preset": "veryfast", "g": "12"}
        audio = made.add_stream_from_template(sound)
        for packet in whole.demux(picture, sound):
            if packet.stream is sound and packet.dts is not None:
                packet.stream = audio
                made.mux(packet)
                continue
            for number, frame in enumerate(packet.decode(), start=count):
                if number % EVERY == 0:
                    frame.pict_type = 0
                    made.mux(video.encode(frame))
                count = number + 1
        made.mux(video.encode(None))
    return -(-count // EVERY)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, int]:
    """The demo's folder, its film made shorter, and the number of frames."""
    folder = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "-m", "farm.demo", "--film-only", "--out", str(folder)]
    subprocess.run(command, check=True, cwd=ROOT, capture_output=True)
    short = folder / "short.mp4"
    return folder, short, shortened(folder / "demo-target.mp4", short)


@pytest.mark.parametrize("swapper", SWAPPERS)
def test_the_demo_on_ray(
    swapper: str, demo: tuple[Path, Path, int], twins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The faces are looked for once: the families share a store."""
    monkeypatch.setenv("FARM_MODEL_CACHE", str(twins))
    folder, film, frames = demo
    out = tmp_path / "out.mp4"
    command = ("render", film, "--source", folder / "astronaut.png", "--swapper", swapper, "--select", "all")
    command += ("--workers", "2", "--segment-seconds", "1.5", "--preset", "veryfast", "--json")
    report = farm(*command, "--store", folder / "store", "--keep", "-o", out).report
    assert report.frames == frames
    assert report.segments > 2
    assert 0.6 * frames < report.frames_replaced < 0.95 * frames, "two seconds of it show nobody"
    assert report.faces > 1.8 * report.frames_replaced, "two people, but for a frame or so"
    assert report.labelled
    assert report.workers == 2
    (use,) = [use for use in report.models if use.id == swapper]
    assert use.precision == "fp32"
    assert farm("verify", film, out).code == 0
