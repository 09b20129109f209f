"""`farm render` with a source face: replaced, labelled, marked; analysed once, rendered again only where it must be."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from core.records import JobReport
from tests.actors.films import make_film
from tests.faces_assets import astronaut, carphone_clip, model_cache
from tests.system.runs import ROOT, farm, farm_here, leftovers

QUICK = ("--preset", "ultrafast", "--segment-seconds", "0", "--json")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model_cache()
    made = tmp_path_factory.mktemp("faces")
    Image.fromarray(astronaut()).save(made / "astronaut.png")
    Image.fromarray(astronaut()[:, ::-1]).save(made / "mirrored.png")
    return made


@pytest.fixture(scope="module")
def film(folder: Path) -> Path:
    """36 frames of a talking head in three segments."""
    return carphone_clip(folder)


def render(film: Path, source: Path, output: Path, *options: str | Path) -> JobReport:
    return farm_here("render", film, "--source", source, "-o", output, *QUICK, *options).report


def tags(film: Path) -> dict[str, str]:
    found: dict[str, str] = farm_here("probe", film, "--json").json["tags"]
    return found


def test_a_face_is_replaced_labelled_and_marked_and_the_work_is_kept(film: Path, folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    keep = ("--local", "--store", store, "--keep")
    first = render(film, folder / "astronaut.png", tmp_path / "first.mp4", *keep)
    assert first.frames == 36
    assert first.frames_replaced >= 34
    assert first.faces == first.frames_replaced
    assert first.labelled
    assert first.segments == first.segments_rendered == 3
    mark = json.loads(tags(tmp_path / "first.mp4")["AIGC"])
    assert mark["Label"] == "1"
    assert farm_here("verify", film, tmp_path / "first.mp4").code == 0

    again = render(film, folder / "astronaut.png", tmp_path / "again.mp4", *keep)
    assert (again.segments_reused, again.segments_rendered) == (3, 0)
    assert again.output_sha256 == first.output_sha256
    # One face a frame: another way to choose comes to the same cast, and to the same work.
    chosen = render(film, folder / "astronaut.png", tmp_path / "all.mp4", "--select", "all", *keep)
    assert chosen.segments_reused == 3
    assert chosen.output_sha256 == first.output_sha256
    # Another source: the film is not analysed again, its segments are.
    analysed = sorted(store.glob("analysis/*/DONE.json"))
    other = render(film, folder / "mirrored.png", tmp_path / "other.mp4", *keep)
    assert other.segments_rendered == 3
    assert other.output_sha256 != first.output_sha256
    assert sorted(store.glob("analysis/*/DONE.json")) == analysed
    assert leftovers(tmp_path, ["store", "first.mp4", "again.mp4", "all.mp4", "other.mp4"]) == []


@pytest.mark.heavy
def test_ray_and_one_process_make_the_same_film(film: Path, folder: Path, tmp_path: Path) -> None:
    local = render(film, folder / "astronaut.png", tmp_path / "local.mp4", "--local")
    source = folder / "astronaut.png"
    actors = farm("render", film, "--source", source, "-o", tmp_path / "ray.mp4", "--workers", "2", *QUICK).report
    assert actors.workers == 2
    assert actors.output_sha256 == local.output_sha256
    assert actors.faces == local.faces


def test_a_film_without_a_face_is_passed_through_and_gets_no_label(folder: Path, tmp_path: Path) -> None:
    film = make_film(tmp_path / "film.mp4", seconds=2)
    report = render(film, folder / "astronaut.png", tmp_path / "out.mp4", "--local", "--no-smart")
    plain = farm_here("render", film, "-o", tmp_path / "plain.mp4", "--swapper", "none", "--local", *QUICK).report
    assert (report.faces, report.frames_replaced, report.labelled) == (0, 0, False)
    assert any("no face" in note for note in report.notes)
    assert "AIGC" not in tags(tmp_path / "out.mp4")
    assert report.output_sha256 == plain.output_sha256


def test_without_faces_the_driver_loads_no_vision_library(tmp_path: Path) -> None:
    film = make_film(tmp_path / "film.mp4", seconds=2)
    program = (
        "import sys; from farm.cli.main import main; code = main(sys.argv[1:]);"
        "print([name for name in ('cv2', 'onnxruntime', 'onnx', 'pyarrow', 'ray') if name in sys.modules], code)"
    )
    arguments = ["render", str(film), "-o", str(tmp_path / "out.mp4"), "--swapper", "none", "--local"]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[] 0\n"


def test_render_py_is_the_same_command(tmp_path: Path) -> None:
    film = make_film(tmp_path / "film.mp4", seconds=2)
    command = [str(film), "-o", str(tmp_path / "out.mp4"), "--swapper", "none", "--local", "--json"]
    done = subprocess.run([sys.executable, ROOT / "render.py", *command], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["frames"] == 50
    assert len((ROOT / "render.py").read_text().splitlines()) < 40
