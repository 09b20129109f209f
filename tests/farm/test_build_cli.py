"""farm models build, farm doctor and the GPU program, as far as a machine without a GPU goes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from core.errors import InputError
from core.inference.manifest import ModelManifest, load_manifests, manifest_folder
from core.inference.parity import examples
from core.inference.providers import CUDA, try_provider
from core.inference.variants import Variant, prepare
from core.records import Float32Array
from farm.cli.build import refuse_batch
from farm.doctor import look_at_gpu, look_at_models, look_at_providers, look_at_sessions

ROOT = Path(__file__).resolve().parents[2]


def farm(*arguments: str, cache: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "farm.cli.main", *arguments]
    environment = os.environ | {"FARM_MODEL_CACHE": str(cache)}
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)


def test_build_says_where_each_model_runs(twins: Path) -> None:
    done = farm("models", "build", "w600k_mbf", "centerface", "--device", "cpu", "--json", cache=twins)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["models"]
    assert [(row["id"], row["provider"], row["device"], row["batch"], row["engine"]) for row in rows] == [
        ("w600k_mbf", "CPUExecutionProvider", "cpu", None, None),
        ("centerface", "CPUExecutionProvider", "cpu", None, None),
    ]


@pytest.mark.heavy
def test_build_makes_what_a_render_loads(tmp_path: Path, twins: Path) -> None:
    """The precision is for what a job gives it to; INT8 is not made up, and where calibrated its parity is told"""
    cache = tmp_path / "cache"
    cache.mkdir()
    for name in ("gpen_256", "w600k_mbf"):
        for file in twins.glob(f"{name}*"):
            (cache / file.name).symlink_to(file)
    done = farm("models", "build", "--all", "--fp16", "--device", "cpu", "--json", cache=cache)
    assert done.returncode == 0, done.stderr
    rows = {row["id"]: row for row in json.loads(done.stdout)["models"]}
    assert {name: row["precision"] for name, row in rows.items()} == {"gpen_256": "fp16", "w600k_mbf": "fp32"}
    assert rows["gpen_256"]["parity"]["outputs"][0]["psnr_db"] > 40
    missing = farm("models", "build", "gpen_256", "--int8", "--device", "cpu", cache=cache)
    assert missing.returncode == 2
    assert missing.stderr.endswith("run: farm models convert gpen_256 --int8 --calibrate VIDEO\n")
    manifest = load_manifests(manifest_folder())["gpen_256"]
    prepare(manifest, cache, Variant(None, "int8"), calibration=noise(manifest))
    built = farm("models", "build", "gpen_256", "--int8", "--device", "cpu", "--json", cache=cache)
    (row,) = json.loads(built.stdout)["models"]
    assert (row["precision"], row["parity"]["precision"], row["parity"]["passed"]) == ("int8", "int8", True)


def noise(manifest: ModelManifest) -> list[dict[str, Float32Array]]:
    feeds = examples(manifest, {spec.name: spec.shape for spec in manifest.inputs}, 4)
    return [{name: feed[at : at + 1] for name, feed in feeds.items()} for at in range(4)]


def test_batches_that_no_render_loads_are_refused(twins: Path) -> None:
    manifests = load_manifests(manifest_folder())
    for batch in (4, 2, 1):
        refuse_batch(batch, [manifests["inswapper_128"], manifests["gpen_512"]])
    refuse_batch(1, [manifests["gpen_1024"]])
    for batch, name, hint in ((8, "inswapper_128", "4, 2, 1"), (3, "inswapper_128", "4, 2, 1"), (4, "gpen_2048", "1")):
        with pytest.raises(InputError, match=f"no render loads {name} with {batch} faces of one call") as caught:
            refuse_batch(batch, [manifests[name], manifests["w600k_r50"]])
        assert caught.value.hint == f"leave --batch out, or give one of: {hint}"
    done = farm("models", "build", "w600k_mbf", "--device", "cpu", "--batch", "4", cache=twins)
    assert (done.returncode, done.stderr) == (
        2,
        "farm: --batch 4: a CPU takes any number of faces; leave --batch out\n",
    )


def test_build_refuses_in_one_line(twins: Path) -> None:
    none = farm("models", "build", cache=twins)
    assert (none.returncode, none.stdout) == (2, "")
    assert none.stderr == "farm: no model named; name models, or use --all\n"
    other = farm("models", "build", "nobody", cache=twins)
    assert other.returncode == 2
    assert other.stderr.count("\n") == 1
    if try_provider(CUDA) is not None:
        missing = farm("models", "build", "centerface", "--device", "cuda", cache=twins)
        assert missing.returncode == 2
        assert "cuda was asked for, and CUDAExecutionProvider does not work here" in missing.stderr
        assert missing.stderr.count("\n") == 1


def test_doctor_opens_every_model_that_is_there(tmp_path: Path, twins: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    for file in twins.iterdir():
        if file.is_symlink() or file.name.startswith("crossface_ghost"):
            (cache / file.name).symlink_to(file.resolve())
    found = {finding.name: finding for finding in look_at_sessions(cache)}
    assert set(found) == {"centerface", "dlib_resnet", "face_landmark", "crossface_ghost"}
    assert {finding.state for finding in found.values()} == {"works"}
    assert all("fp32" in finding.detail for finding in found.values())
    models = list(look_at_models(cache))
    assert [finding.state for finding in models] == ["works"] * 4 + ["absent"]
    assert models[-1].name.endswith(" more")


def test_doctor_tells_of_the_gpu() -> None:
    (device,) = look_at_gpu()
    working = {finding.name for finding in look_at_providers() if finding.state == "works"}
    assert "CPUExecutionProvider" in working
    assert (device.state == "works") or CUDA not in working
    assert device.detail


def test_the_gpu_program_measures_and_prints_its_table_last(tmp_path: Path) -> None:
    devices = ["cpu", "cuda"]
    rows = tmp_path / "rows.json"
    command = [sys.executable, "-m", "farm.bench.gpu", "--devices", *devices, "--models", "crossface_ghost"]
    command += ["--precisions", "fp32", "--json", str(rows), "--seconds", "0", "--batches", "1", "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    row, *others = json.loads(rows.read_bytes())["rows"]
    assert row["provider"] == "CPUExecutionProvider"
    assert row["error"] < 1e-5
    assert row["mixed"] < 1e-5
    assert set(row["rates"]) == {"1", "3"}
    assert done.stdout.splitlines()[-len(devices)].startswith("crossface_ghost")
    assert done.returncode == (1 if any(other["fault"] for other in others) else 0)
    assert all("\n" not in other["fault"] for other in others)
