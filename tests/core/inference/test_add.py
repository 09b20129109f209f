"""Registering an operator's own file: what is checked, what is recorded, and what stays when something is wrong."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from core.errors import ModelError, PolicyError, StorageError
from core.inference.manifest import ModelManifest, load_manifests, manifest_folder
from core.inference.providers import DeviceSpec
from core.inference.sessions import Sessions
from core.inference.twins import build_twin
from core.inference.weights import (
    add,
    check,
    choose,
    installed,
    model_bytes,
    model_file,
    model_path,
    present,
    pull,
    read_record,
)
from tests.operator_models import small_manifest, small_onnx

DATA = small_onnx()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "downloaded.onnx"
    path.write_bytes(DATA)
    return path


def added(manifest: ModelManifest, file: Path, cache: Path) -> None:
    add(manifest, file, cache, unlisted=False, accept_licence=True)


def test_the_published_file_is_listed(file: Path, tmp_path: Path) -> None:
    manifest, cache = small_manifest(DATA), tmp_path / "cache"
    assert "run: farm models add small FILE" in str(check(manifest, cache))
    assert present(manifest, cache) is None
    made = add(manifest, file, cache, unlisted=False, accept_licence=True)
    assert made.listed
    assert made.sha256 == manifest.sha256 == hashlib.sha256(DATA).hexdigest()
    assert made == installed(manifest, cache) == present(manifest, cache)
    assert model_bytes(manifest, cache) == DATA
    assert model_path(manifest, cache) == model_file(manifest, cache) == made.path
    record = read_record(manifest, cache)
    assert record is not None
    assert (record.sha256, record.listed, record.licence, record.licence_accepted) == (
        manifest.sha256,
        True,
        "for tests",
        True,
    )
    assert record.added.endswith("+00:00")
    assert sorted(child.name for child in cache.iterdir()) == sorted([made.path.name, "small.json"])  # no leftovers
    assert file.read_bytes() == DATA


def test_a_variant_needs_to_be_called_unlisted(file: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    manifest = small_manifest(small_onnx(seed=1))  # published is another
    with pytest.raises(
        ModelError, match=r"it has sha256 \w{64}, the published file has \w{64}; .*--unlisted"
    ) as caught:
        added(manifest, file, cache)
    assert "\n" not in str(caught.value)
    assert not cache.exists()
    made = add(manifest, file, cache, unlisted=True, accept_licence=True)
    assert not made.listed
    assert not installed(manifest, cache).listed
    record = read_record(manifest, cache)
    assert record is not None
    assert not record.listed


def test_where_no_hash_is_known_the_file_counts_as_unlisted(file: Path, tmp_path: Path) -> None:
    manifest = small_manifest()
    added(manifest, file, tmp_path / "cache")
    assert not installed(manifest, tmp_path / "cache").listed


def test_a_hash_published_later_makes_the_file_listed(file: Path, tmp_path: Path) -> None:
    added(small_manifest(), file, tmp_path / "cache")
    assert installed(small_manifest(DATA), tmp_path / "cache").listed


def test_licences_without_commercial_use_are_acknowledged_once(file: Path, tmp_path: Path) -> None:
    manifest, cache = small_manifest(), tmp_path / "cache"
    with pytest.raises(PolicyError, match=r"its licence is for tests, no commercial use: tests only; if .*--accept"):
        add(manifest, file, cache, unlisted=False, accept_licence=False)
    assert not cache.exists()
    added(manifest, file, cache)
    file.write_bytes(small_onnx(seed=2))
    add(manifest, file, cache, unlisted=False, accept_licence=False)  # not asked again
    record = read_record(manifest, cache)
    assert record is not None
    assert record.licence_accepted
    with pytest.raises(PolicyError, match="its licence is another"):
        add(replace(manifest, licence="another"), file, cache, unlisted=False, accept_licence=False)


def test_free_licences_are_not_asked_for(file: Path, tmp_path: Path) -> None:
    manifest = small_manifest(commercial=True)
    add(manifest, file, tmp_path, unlisted=False, accept_licence=False)
    record = read_record(manifest, tmp_path)
    assert record is not None
    assert not record.licence_accepted


def test_another_file_replaces_the_former(file: Path, tmp_path: Path) -> None:
    manifest, cache = small_manifest(), tmp_path / "cache"
    added(manifest, file, cache)
    former = model_file(manifest, cache)
    file.write_bytes(small_onnx(seed=3))
    added(manifest, file, cache)
    assert model_bytes(manifest, cache) == file.read_bytes()
    assert not former.exists()
    assert len(list(cache.iterdir())) == 2


def test_a_wrong_file_changes_nothing(file: Path, tmp_path: Path) -> None:
    manifest, cache = small_manifest(), tmp_path / "cache"
    added(manifest, file, cache)
    before = {child.name: child.read_bytes() for child in cache.iterdir()}
    for data in (DATA[: len(DATA) // 2], b"", small_onnx(source="embedding")):
        file.write_bytes(data)
        with pytest.raises(ModelError, match=r"downloaded\.onnx as small: "):
            add(manifest, file, cache, unlisted=True, accept_licence=True)
    large = tmp_path / "film.mkv"
    with large.open("wb") as film:
        film.truncate(3 << 30)  # takes no room
    for path, message in (
        (tmp_path / "nowhere", "nowhere: cannot be read: No such file or directory; name a file"),
        (tmp_path, "not a file"),
        (large, "larger than an ONNX file may be"),
    ):
        with pytest.raises(ModelError, match=message):
            added(manifest, path, cache)
    assert {child.name: child.read_bytes() for child in cache.iterdir()} == before


def test_altered_and_removed_files_are_noticed(file: Path, tmp_path: Path) -> None:
    manifest, cache = small_manifest(), tmp_path / "cache"
    added(manifest, file, cache)
    path = model_file(manifest, cache)
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert present(manifest, cache) is not None  # the size is the same
    with pytest.raises(ModelError, match="model small is altered: its hash differs; run: farm models add small FILE"):
        installed(manifest, cache)
    path.write_bytes(data[:-1])
    with pytest.raises(ModelError, match=f"altered: {len(data) - 1} bytes, not {len(data)}"):
        present(manifest, cache)
    path.unlink()
    assert present(manifest, cache) is None
    with pytest.raises(ModelError, match="not in the cache"):
        model_bytes(manifest, cache)
    (cache / "small.json").write_text("{")
    assert "record cannot be read; remove it" in str(check(manifest, cache))
    added(manifest, file, cache)
    assert check(manifest, cache) is None


def test_a_file_without_a_record_was_never_added(file: Path, tmp_path: Path) -> None:
    manifest = small_manifest(DATA)
    model_file(manifest, tmp_path).write_bytes(DATA)
    assert "not in the cache" in str(check(manifest, tmp_path))


def test_another_exporters_names_of_outputs_compute_the_same(tmp_path: Path) -> None:
    manifest = load_manifests(manifest_folder())["crossface_ghost"]
    vectors = np.random.default_rng(0).standard_normal((3, 512)).astype(np.float32)
    results = []
    for name in ("output", "781"):
        model = onnx.load_model_from_string(build_twin(manifest, width=16))
        for node in model.graph.node:
            node.output[:] = [name if made == model.graph.output[0].name else made for made in node.output]
        model.graph.output[0].name = name
        file, cache = tmp_path / f"{name}.onnx", tmp_path / name
        file.write_bytes(model.SerializeToString())
        added(manifest, file, cache)
        results += Sessions(cache, DeviceSpec(wish="cpu")).open(manifest).run({"input": vectors})
    np.testing.assert_array_equal(results[0], results[1])
    assert results[0].shape == (3, 512)


def test_embedded_models_are_not_added(file: Path, tmp_path: Path) -> None:
    manifest = load_manifests(manifest_folder())["centerface"]
    with pytest.raises(ModelError, match="model centerface comes out of a package, not from a file; run: farm models"):
        added(manifest, file, tmp_path)


def test_a_cache_that_cannot_be_written(file: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(StorageError, match="model cache cannot be written"):
        added(small_manifest(), file, blocked / "cache")


def test_pull_takes_a_folder_and_says_what_it_does(file: Path, tmp_path: Path) -> None:
    manifest, cache = small_manifest(DATA), tmp_path / "cache"
    file.rename(tmp_path / "small.onnx")  # the published name
    said: list[str] = []
    with pytest.raises(PolicyError, match="accept-licence"):
        pull(manifest, cache, said.append, source=str(tmp_path))
    assert said == []
    path = pull(manifest, cache, said.append, source=str(tmp_path), accept_licence=True)
    assert path == model_file(manifest, cache)
    assert said == [f"small: from {tmp_path}", "small: ready, licence for tests"]
    said.clear()
    assert pull(manifest, cache, said.append) == path
    assert said == []  # nothing to do


def test_pull_from_somewhere_replaces_a_variant(file: Path, tmp_path: Path) -> None:
    manifest, cache = small_manifest(DATA), tmp_path / "cache"
    variant = tmp_path / "variant.onnx"
    variant.write_bytes(small_onnx(seed=5))
    add(manifest, variant, cache, unlisted=True, accept_licence=True)
    file.rename(tmp_path / "small.onnx")
    pull(manifest, cache, lambda _: None)  # nothing to do: there is a whole file
    assert not installed(manifest, cache).listed
    pull(manifest, cache, lambda _: None, source=str(tmp_path))
    assert installed(manifest, cache).listed


def test_pull_without_an_address(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="model small has no public address; run: farm models add small FILE"):
        pull(small_manifest(), tmp_path, lambda _: None)


def test_one_of_several_files_is_the_model(tmp_path: Path) -> None:
    """The published one; else the only one that fits; a file that fits twice is one file."""
    made = {
        "right.onnx": DATA,
        "copy.onnx": DATA,
        "tuned.onnx": small_onnx(seed=1),
        "wide.onnx": small_onnx(side=32),
        "notes.txt": b"not a model",
    }
    files = {name: tmp_path / name for name in made}
    for name, data in made.items():
        files[name].write_bytes(data)
    manifest = small_manifest(DATA)
    taken, others = choose(manifest, list(files.values()))
    assert taken == files["right.onnx"]
    assert others[files["copy.onnx"]] == f"the same as {taken}"
    assert others[files["tuned.onnx"]] == "not the published file"
    assert set(others) == set(files.values()) - {taken}
    some = [files[name] for name in ("wide.onnx", "tuned.onnx", "notes.txt")]
    assert choose(manifest, some)[0] == files["tuned.onnx"], "to be taken with --unlisted"
    unknown = replace(manifest, sha256=None)
    assert choose(unknown, some)[0] == files["tuned.onnx"]
    with pytest.raises(ModelError, match=r"several files fit: .*right.onnx, .*tuned.onnx; name the one to use"):
        choose(unknown, list(files.values()))
    with pytest.raises(ModelError, match=r"none of the files is it: .*wide.onnx: .*; .*notes.txt: ") as caught:
        choose(manifest, [files["wide.onnx"], files["notes.txt"], tmp_path / "absent.onnx"])
    assert "\n" not in str(caught.value)
