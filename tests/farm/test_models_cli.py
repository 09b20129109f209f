"""`farm models` from the command line, on twins of operators' models."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from core.inference.manifest import load_manifests, manifest_folder
from core.inference.twins import build_twin
from farm.cli.main import main
from tests.faces_assets import model_cache
from tests.web import Site, serve


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with the embedded models."""
    folder = tmp_path_factory.mktemp("models")
    for file in model_cache().glob("*.onnx"):
        (folder / file.name).symlink_to(file)
    return folder


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("twins") / "det_500m.onnx"
    path.write_bytes(build_twin(load_manifests(manifest_folder())["det_500m"]))
    return path


def listed(cache: Path, capsys: pytest.CaptureFixture[str], command: str = "list") -> dict[str, Any]:
    capsys.readouterr()
    main(["models", command, "--json", "--cache", str(cache)])
    found = json.loads(capsys.readouterr().out)
    assert found["cache"] == str(cache)
    return {row["id"]: row for row in found["models"]}


def test_list_names_licences_and_what_is_there(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list", "--cache", str(cache)]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "ready    MIT (commercial use)" in lines["centerface"]
    assert "absent   non-commercial research (no commercial use)" in lines["inswapper_128"]
    assert lines["inswapper_128"].split()[1] == "swapper"
    assert main(["models", "check", "--cache", str(cache)]) == 0  # operators' models may be absent


def test_add_list_check_and_alter(cache: Path, twin: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    for file in cache.iterdir():
        (folder / file.name).symlink_to(file.resolve())
    add = ["models", "add", "det_500m", str(twin), "--cache", str(folder)]
    assert main(add) == 3  # the licence
    assert "run again with --accept-licence" in capsys.readouterr().err
    assert main([*add, "--accept-licence"]) == 2
    assert "or accept a variant with: farm models add det_500m FILE --unlisted" in capsys.readouterr().err
    assert not listed(folder, capsys)["det_500m"]["ready"]
    assert main([*add, "--accept-licence", "--unlisted"]) == 0
    said = capsys.readouterr()
    assert "det_500m: ready, not the published file: sha256 " in said.err
    assert said.out == ""
    row = listed(folder, capsys)["det_500m"]
    assert row["ready"]
    assert row["licence_accepted"]
    assert row["installed"]["listed"] is False
    assert row["installed"]["sha256"] != row["sha256"]
    assert main(["models", "list", "--cache", str(folder)]) == 0
    assert f"not the published file: sha256 {row['installed']['sha256']}" in capsys.readouterr().out
    assert main(["models", "check", "--cache", str(folder)]) == 0
    path = Path(row["installed"]["path"])
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert listed(folder, capsys)["det_500m"]["ready"]  # list goes by size
    assert listed(folder, capsys, "check")["det_500m"]["state"] == "altered"
    assert main(["models", "check", "--cache", str(folder)]) == 2
    assert "not ready: det_500m; the first: " in capsys.readouterr().err


def test_pull_says_what_is_wrong_with_a_pack(twin: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pack = tmp_path / "buffalo_s.zip"
    with zipfile.ZipFile(pack, "w") as made:
        made.write(twin, "buffalo_s/det_500m.onnx")
    pull = ["models", "pull", "--cache", str(tmp_path / "cache"), "--accept-licence", "--from"]
    # the pack's model is found by its name, and is a twin, not the published file
    assert main([*pull, str(pack)]) == 2
    assert "buffalo_s.zip as det_500m: it has sha256" in capsys.readouterr().err
    with serve(Site({"/buffalo_s.zip": pack.read_bytes()})) as site:
        assert main([*pull, f"{site.url}/buffalo_s.zip"]) == 2
        assert "det_500m.onnx in http" in capsys.readouterr().err
    assert main([*pull, str(twin.parent), "w600k_r50"]) == 2
    assert "holds no w600k_r50.onnx; the file must have its published name" in capsys.readouterr().err
    assert main([*pull, str(tmp_path / "cache")]) == 2
    assert "holds no model that is known here" in capsys.readouterr().err
    assert main(["models", "pull", "nobody"]) == 2
    assert "no model called 'nobody'; one of: bisenet, " in capsys.readouterr().err


def test_pull_without_names_is_the_embedded_set(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "pull", "--cache", str(cache)]) == 0
    assert sorted(capsys.readouterr().err.splitlines()) == [
        "farm: centerface: ready",
        "farm: dlib_resnet: ready",
        "farm: face_landmark: ready",
    ]


def test_pull_takes_a_model_without_known_hash_from_a_folder(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = load_manifests(manifest_folder())["crossface_ghost"]
    assert manifest.sha256 is None
    (tmp_path / "crossface_ghost.onnx").write_bytes(build_twin(manifest))
    arguments = ["models", "pull", "--from", str(tmp_path), "--accept-licence", "--cache", str(tmp_path / "cache")]
    assert main(arguments) == 0
    assert "crossface_ghost: ready, licence unknown" in capsys.readouterr().err
    row = listed(tmp_path / "cache", capsys)["crossface_ghost"]
    assert row["ready"]
    assert not row["installed"]["listed"]


def test_add_takes_the_one_file_that_fits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As with `farm models add det_500m buffalo_s/*.onnx`."""
    manifests = load_manifests(manifest_folder())
    pack = tmp_path / "buffalo_s"
    pack.mkdir()
    for name in ("det_500m", "w600k_mbf", "crossface_ghost"):
        (pack / f"{name}.onnx").write_bytes(build_twin(manifests[name], width=8))
    add = ["models", "add", "det_500m", *map(str, sorted(pack.iterdir())), "--accept-licence", "--cache", str(tmp_path)]
    assert main(add) == 2
    assert "it has sha256" in capsys.readouterr().err
    assert main([*add, "--unlisted"]) == 0
    *others, last = capsys.readouterr().err.splitlines()
    assert [Path(line.split(": ")[1]).stem for line in others] == ["crossface_ghost", "w600k_mbf"]
    assert f"det_500m: ready from {pack / 'det_500m.onnx'}, not the published file" in last
    (pack / "another.onnx").write_bytes(build_twin(manifests["det_500m"], width=8, seed=1))
    assert main(["models", "add", "det_500m", *map(str, sorted(pack.iterdir())), "--cache", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert "model det_500m: several files fit: " in err
    assert err.count("\n") == 1
