"""Swappers of each kind through the whole job, on twins: what an operator does with the real files.

Every family renders the demo in test_families_demo.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

from core.inference.providers import POLICY, try_provider
from core.records import JobReport
from tests.faces_assets import astronaut, carphone_clip
from tests.system.runs import farm, farm_here

# One for each kind of identity: the vector itself, through emap, through a converter, a picture.
KINDS = ("hyperswap_1a_256", "inswapper_128", "simswap_256", "uniface_256")
QUICK = ("--preset", "ultrafast", "--segment-seconds", "0", "--json")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("families")
    Image.fromarray(astronaut()).save(made / "astronaut.png")
    Image.fromarray(astronaut()[:, ::-1]).save(made / "mirrored.png")
    return made


@pytest.fixture(scope="module")
def film(folder: Path) -> Path:
    return carphone_clip(folder, frames=24)


@pytest.fixture(autouse=True)
def models(twins: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FARM_MODEL_CACHE", str(twins))
    return twins


def used(report: JobReport) -> set[str]:
    return {use.id for use in report.models}


@pytest.mark.parametrize("swapper", [KINDS[0], *(pytest.param(name, marks=pytest.mark.heavy) for name in KINDS[1:])])
def test_a_film_with_each_kind_of_identity(swapper: str, film: Path, folder: Path, tmp_path: Path) -> None:
    command = ("render", film, "--source", folder / "astronaut.png", "--swapper", swapper, "--local", *QUICK)
    report = farm_here(*command, "-o", tmp_path / "out.mp4").report
    assert report.frames == 24
    assert report.faces == report.frames_replaced >= 22
    assert report.labelled
    assert swapper in used(report)
    (use,) = [use for use in report.models if use.id == swapper]
    assert (use.listed, use.precision) == (False, "fp32")
    assert farm_here("verify", film, tmp_path / "out.mp4").code == 0


@pytest.mark.heavy
def test_all_options_at_once_and_the_same_film_on_ray(film: Path, folder: Path, tmp_path: Path) -> None:
    options = ("--swapper", "inswapper_128", "--detector", "centerface", "--select", "all")
    options += ("--boost", "2", "--strength", "0.7", "--masks", "box,hull,occlusion,region", "--mask-blur", "0.2")
    options += ("--mask-padding", "0.05,0.02,0.05,0.02", "--paste", "multiband", "--colour", "light")
    options += ("--enhancer", "gpen_256", "--enhancer-blend", "0.5")
    sources = ("--source", folder / "astronaut.png", "--source", folder / "mirrored.png")
    command = ("render", film, *sources, *options, *QUICK)
    local = farm_here(*command, "--local", "-o", tmp_path / "local.mp4").report
    assert local.faces >= 22
    rendering = {"inswapper_128", "w600k_r50", "xseg", "bisenet", "gpen_256"}
    assert used(local) == {"centerface", "face_landmark", "dlib_resnet", *rendering}
    ray = farm(*command, "--workers", "2", "-o", tmp_path / "ray.mp4").report
    assert ray.output_sha256 == local.output_sha256
    assert used(ray) == used(local)


@pytest.mark.heavy
def test_a_precision_that_falls_back_says_why_once(film: Path, folder: Path, tmp_path: Path) -> None:
    """GHOST 3's twin is refused in half floats, the enhancer's is not; every segment's renderer had the same to say."""
    command = ("render", film, "--source", folder / "astronaut.png", "--local", "--precision", "fp16", *QUICK)
    command += ("--swapper", "ghost_3_256", "--enhancer", "gpen_256", "-o", tmp_path / "out.mp4")
    report = farm_here(*command).report
    assert report.segments > 1
    ran = {use.id: use.precision for use in report.models}
    assert (ran["ghost_3_256"], ran["gpen_256"]) == ("fp32", "fp16")
    (note,) = [note for note in report.notes if "fp16" in note]
    assert note.startswith("model ghost_3_256: batch any in fp16 differs from the published file by ")
    assert note.endswith("; fp32 is used")
    absent = {reason for name in POLICY if (reason := try_provider(name)) is not None}
    told = [note for note in report.notes if note.startswith("models run on ")]
    assert len(told) == len(absent)
    assert all(any(note.endswith(f": {reason}") for note in told) for reason in absent)


def test_a_model_that_is_missing_is_said_before_any_work(film: Path, folder: Path, tmp_path: Path, twins: Path) -> None:
    cache = tmp_path / "models"
    cache.mkdir()
    for path in twins.iterdir():
        if not path.name.startswith("inswapper_128"):
            (cache / path.name).symlink_to(path)
    command = ("render", film, "--source", folder / "astronaut.png", "--local", "--swapper", "inswapper_128", *QUICK)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FARM_MODEL_CACHE", str(cache))
        ran = farm_here(*command, "-o", tmp_path / "out.mp4")
    assert ran.code == 2
    assert "inswapper_128" in ran.error_line
    assert "farm models add" in ran.error_line
    shutil.rmtree(cache)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--swapper", "magic"), ("magic", "inswapper_128")),
        (("--detector", "magic"), ("magic", "centerface")),
        (("--swapper", "inswapper_128", "--enhancer", "xseg"), ("xseg", "gfpgan_1.4")),
        (("--swapper", "inswapper_128", "--masks", "box,halo"), ("halo", "occlusion")),
        (("--swapper", "inswapper_128", "--occlusion-model", "mine"), ("--occlusion-model", "--masks")),
        (("--swapper", "inswapper_128", "--masks", "region", "--region-model", "xseg"), ("xseg", "bisenet")),
        (("--swapper", "inswapper_128", "--mask-padding", "2"), ("--mask-padding",)),
        (("--swapper", "inswapper_128", "--boost", "9"), ("--boost",)),
        (("--swapper", "inswapper_128", "--enhancer-weight", "0.7"), ("--enhancer-weight", "--enhancer")),
        (("--enhancer", "gfpgan_1.4", "--enhancer-weight", "0.7"), ("gfpgan_1.4", "--enhancer-weight", "codeformer")),
        (("--swapper", "simswap_512", "--boost", "8"), ("simswap_512", "1 to 4")),
        (("--boost", "2"), ("mesh", "--boost")),
        (("--swapper", "none", "--enhancer", "gfpgan_1.4"), ("none", "--enhancer")),
        (("--swapper", "inswapper_128", "--device", "cuda"), ("CUDA",)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_options_that_cannot_be(
    options: tuple[str, ...], words: tuple[str, ...], film: Path, folder: Path, tmp_path: Path
) -> None:
    command = ("render", film, "--source", folder / "astronaut.png", "-o", tmp_path / "out.mp4", "--local")
    ran = farm_here(*command, *options)
    assert ran.code == 2, ran.err
    for word in words:
        assert word in ran.error_line
    assert list(tmp_path.iterdir()) == []
