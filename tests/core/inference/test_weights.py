"""Pulling weights out of packages that pip fetches: here from a local folder, with small packages made on the spot."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from core.errors import ModelError, StorageError
from core.inference.archives import read_member
from core.inference.convert_onnx import convert_centerface
from core.inference.manifest import ArchiveSpec, ModelManifest, TensorSpec
from core.inference.providers import DeviceSpec
from core.inference.sessions import Session, Sessions
from core.inference.weights import check, model_file, model_path, pull

MEMBER = "tinyweights/model.onnx"


def open_session(manifest: ModelManifest, cache: Path) -> Session:
    return Sessions(cache, DeviceSpec(wish="cpu")).open(manifest)


def small_model(*, domain: str = "", op: str = "Relu") -> bytes:
    """One node in the shape CenterFace is published in: all dimensions fixed."""
    dims = [1, 3, 32, 32]
    graph = helper.make_graph(
        [helper.make_node(op, ["input.1"], ["537"], domain=domain)],
        "tiny",
        [helper.make_tensor_value_info("input.1", TensorProto.FLOAT, dims)],
        [helper.make_tensor_value_info("537", TensorProto.FLOAT, dims)],
    )
    opsets = [helper.make_opsetid("", 17)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())


def manifest(kind: str, data: bytes) -> ModelManifest:
    converted = convert_centerface(data)
    return ModelManifest(
        id="tiny",
        role="detector",
        title="a test's model",
        licence="MIT",
        commercial_use=True,
        licence_note="",
        converter="centerface",
        sha256=hashlib.sha256(converted).hexdigest(),
        size_bytes=len(converted),
        archive=ArchiveSpec("tinyweights", "1.0", kind, 1000, MEMBER, hashlib.sha256(data).hexdigest()),  # type: ignore[arg-type]
        inputs=(TensorSpec("input.1", "float32", (1, 3, 32, 32), ""),),
        outputs=(TensorSpec("537", "float32", (1, 3, 32, 32), ""),),
    )


def make_wheel(folder: Path, data: bytes) -> Path:
    path = folder / "tinyweights-1.0-py3-none-any.whl"
    info = "tinyweights-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(MEMBER, data)
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tinyweights\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


def make_sdist(folder: Path, data: bytes) -> Path:
    """An sdist whose setup.py leaves a mark when it runs."""
    path = folder / "tinyweights-1.0.tar.gz"
    files = {
        "PKG-INFO": b"Metadata-Version: 1.1\nName: tinyweights\nVersion: 1.0\n",
        "setup.py": f"open({str(folder / 'it-ran')!r}, 'w').close()\nfrom setuptools import setup\nsetup()\n".encode(),
        MEMBER: data,
    }
    with tarfile.open(path, "w:gz") as sdist:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"tinyweights-1.0/{name}")
            entry.size = len(content)
            sdist.addfile(entry, io.BytesIO(content))
    return path


MAKERS: dict[str, Callable[[Path, bytes], Path]] = {"wheel": make_wheel, "sdist": make_sdist}


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes packages from, and from nowhere else."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return folder


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_pull_fetches_checks_converts_and_caches(kind: str, shelf: Path, tmp_path: Path) -> None:
    data = small_model()
    one = manifest(kind, data)
    MAKERS[kind](shelf, data)
    cache = tmp_path / "cache"
    said: list[str] = []
    assert "run: farm models pull" in str(check(one, cache))
    path = pull(one, cache, said.append)
    assert check(one, cache) is None
    assert model_path(one, cache) == path
    assert [child.name for child in cache.iterdir()] == [path.name]  # no leftovers
    assert any("licence MIT" in line for line in said)
    assert not (shelf / "it-ran").exists()  # the package's own code did not run
    dims = onnx.load(path).graph.input[0].type.tensor_type.shape.dim
    assert [dim.dim_param or dim.dim_value for dim in dims] == ["batch", 3, "height", "width"]

    said.clear()
    assert pull(one, cache, said.append) == path
    assert said == []  # nothing to do

    path.write_bytes(path.read_bytes()[:-1])
    assert "altered" in str(check(one, cache))
    with pytest.raises(ModelError, match="altered"):
        open_session(one, cache)
    pull(one, cache, said.append)
    assert check(one, cache) is None


def test_another_file_than_the_known_one_is_refused(shelf: Path, tmp_path: Path) -> None:
    make_wheel(shelf, small_model(op="Sigmoid"))
    with pytest.raises(ModelError, match=r"has sha256 .* expected") as caught:
        pull(manifest("wheel", small_model()), tmp_path / "cache", lambda _: None)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "cache").iterdir())


def test_conversion_that_gives_something_else_is_refused(shelf: Path, tmp_path: Path) -> None:
    make_wheel(shelf, small_model())
    other = replace(manifest("wheel", small_model()), sha256="0" * 64)
    with pytest.raises(ModelError, match="after conversion"):
        pull(other, tmp_path / "cache", lambda _: None)


def test_missing_package_is_one_line(shelf: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match=r"tinyweights 1\.0: pip could not fetch it: .*run: farm models pull"
    ) as caught:
        pull(manifest("wheel", small_model()), tmp_path / "cache", lambda _: None)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_broken_archives_are_one_line(kind: str, tmp_path: Path) -> None:
    archive = manifest(kind, small_model()).archive
    whole = MAKERS[kind](tmp_path, small_model())
    with pytest.raises(ModelError, match="does not hold nothere"):
        read_member(replace(archive, member="nothere"), whole)
    torn = tmp_path / "torn"
    torn.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(ModelError, match="torn: archive cannot be read"):
        read_member(archive, torn)


def test_cache_that_cannot_be_written(shelf: Path, tmp_path: Path) -> None:
    make_wheel(shelf, small_model())
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(StorageError, match="model cache cannot be written"):
        pull(manifest("wheel", small_model()), blocked / "cache", lambda _: None)


def cached(cache: Path, data: bytes) -> ModelManifest:
    """A manifest for `data` as it is, put into the cache."""
    one = replace(manifest("wheel", small_model()), sha256=hashlib.sha256(data).hexdigest())
    cache.mkdir(exist_ok=True)
    model_file(one, cache).write_bytes(data)
    return one


def test_models_that_reach_out_or_do_not_load_are_refused(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with pytest.raises(ModelError, match=r"operators outside the standard: some\.vendor"):
        open_session(cached(cache, small_model(domain="some.vendor")), cache)
    outside = onnx.load_model_from_string(small_model())
    tensor = outside.graph.initializer.add(name="w", data_type=TensorProto.FLOAT, dims=[1])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="secrets.bin")
    with pytest.raises(ModelError, match="weights in another file"):
        open_session(cached(cache, outside.SerializeToString()), cache)
    with pytest.raises(ModelError, match="not an ONNX file"):
        open_session(cached(cache, b"hello"), cache)
    with pytest.raises(ModelError, match="model tiny"):
        open_session(cached(cache, small_model(op="NoSuchOperator")), cache)
    other_names = small_model().replace(b"input.1", b"input.2")
    with pytest.raises(ModelError, match=r"expected input\.1 float32"):
        open_session(cached(cache, other_names), cache)
