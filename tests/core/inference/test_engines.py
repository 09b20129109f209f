"""Engines on disk: built once whoever asks, named by all they depend on, shared, never half there.

The builder here writes small files where TensorRT writes its own; all else is what runs on a GPU.
"""

from __future__ import annotations

import multiprocessing
import re
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import ModelError, StorageError
from core.inference.engines import RECORD, EngineKey, build_engine, engines_folder, find_engine
from core.inference.providers import EngineFiles
from core.inference.shelf import FolderShelf

KEY = EngineKey(
    model="restoreformer++",
    sha256="ab" * 32,
    batch=4,
    precision="fp16",
    onnxruntime="1.31.1",
    tensorrt="10.16.1",
    capability="9.0",
    driver="580.95.05",
)


def write(files: EngineFiles) -> None:
    files.wrapper.write_bytes(b"wrapper")
    (files.wrapper.parent / f"{files.prefix}_0_sm90.engine").write_bytes(b"engine" * 100)


def quiet(_: str) -> None:
    pass


def test_the_name_changes_with_everything_an_engine_depends_on() -> None:
    others = [
        replace(KEY, sha256="cd" * 32),
        replace(KEY, batch=1),
        replace(KEY, precision="fp32"),
        replace(KEY, onnxruntime="1.32.0"),
        replace(KEY, tensorrt="10.17.0"),
        replace(KEY, capability="8.9"),
        replace(KEY, driver="590.1"),
        replace(KEY, model="gfpgan_1.4"),
    ]
    assert len({key.name for key in (KEY, *others)}) == len(others) + 1
    assert KEY.name.startswith("restoreformer__-")
    assert "/" not in replace(KEY, model="a/b").name


def test_built_once_then_found(tmp_path: Path) -> None:
    said: list[str] = []
    assert find_engine(KEY, tmp_path) is None
    files = build_engine(KEY, tmp_path, write, said.append)
    assert files.wrapper.read_bytes() == b"wrapper"
    assert files.wrapper.parent == engines_folder(tmp_path) / KEY.name
    assert files.timing.is_dir()
    assert str(files.wrapper.parent) in said[0]
    assert "engine built" in said[-1]
    said.clear()
    assert build_engine(KEY, tmp_path, lambda _: pytest.fail("built again"), said.append) == files
    assert said == []
    assert find_engine(KEY, tmp_path) == files
    assert find_engine(replace(KEY, driver="1"), tmp_path) is None


def test_a_build_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail(files: EngineFiles) -> None:
        files.wrapper.write_bytes(b"half")
        raise ModelError("no kernel")

    with pytest.raises(ModelError, match="no kernel"):
        build_engine(KEY, tmp_path, fail, quiet)
    assert [path for path in engines_folder(tmp_path).iterdir() if path.name.startswith(f"{KEY.name}.part")] == []
    assert find_engine(KEY, tmp_path) is None
    with pytest.raises(ModelError, match="left no engine"):
        build_engine(KEY, tmp_path, lambda _: None, quiet)
    assert build_engine(KEY, tmp_path, write, quiet).wrapper.exists()


def test_what_a_killed_builder_left_is_swept_and_damage_is_built_anew(tmp_path: Path) -> None:
    left = engines_folder(tmp_path) / f"{KEY.name}.part-0123"
    left.mkdir(parents=True)
    files = build_engine(KEY, tmp_path, write, quiet)
    assert not left.exists()
    files.wrapper.write_bytes(b"cut")
    assert find_engine(KEY, tmp_path) is None
    assert build_engine(KEY, tmp_path, write, quiet).wrapper.read_bytes() == b"wrapper"


def _build_in_process(cache: str, mark: str, gate: threading.Barrier) -> None:
    def slow(files: EngineFiles) -> None:
        with Path(mark).open("a") as file:
            file.write("built\n")
        write(files)

    gate.wait(20)
    assert build_engine(KEY, Path(cache), slow, quiet).wrapper.read_bytes() == b"wrapper"


def test_many_processes_one_build(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    gate = context.Barrier(2)
    mark = tmp_path / "mark"
    processes = [
        context.Process(target=_build_in_process, args=(str(tmp_path / "cache"), str(mark), gate)) for _ in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert mark.read_text() == "built\n"


def test_engines_travel_through_the_shared_folder(tmp_path: Path) -> None:
    here, there, folder = tmp_path / "here", tmp_path / "there", tmp_path / "shared"
    shared = FolderShelf(folder)
    build_engine(KEY, here, write, quiet, shared)
    assert (folder / KEY.name / RECORD).is_file()
    fetched = find_engine(KEY, there, shared)
    assert fetched is not None
    assert fetched.wrapper.is_relative_to(there)
    assert fetched.wrapper.read_bytes() == b"wrapper"
    elsewhere = build_engine(KEY, tmp_path / "third", lambda _: pytest.fail("built again"), quiet, shared)
    assert elsewhere.wrapper.exists()


def test_an_altered_shared_engine_is_refused(tmp_path: Path) -> None:
    shared = FolderShelf(tmp_path / "shared")
    build_engine(KEY, tmp_path / "here", write, quiet, shared)
    engine = next((shared.folder / KEY.name).glob("*.engine"))
    engine.write_bytes(b"Engine" * 100)  # same size
    with pytest.raises(ModelError, match="altered"):
        find_engine(KEY, tmp_path / "there", shared)
    assert find_engine(KEY, tmp_path / "there") is None
    engine.unlink()
    with pytest.raises(ModelError, match="altered"):
        find_engine(KEY, tmp_path / "there", shared)
    (shared.folder / KEY.name).rename(shared.folder / replace(KEY, driver="1").name)
    with pytest.raises(ModelError, match="altered"):
        find_engine(replace(KEY, driver="1"), tmp_path / "there", shared)
    assert [path.name for path in engines_folder(tmp_path / "there").iterdir() if path.is_dir()] == []


def test_who_waits_says_so_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the builder is done: a renderer that says nothing new for ten minutes is taken for dead."""
    monkeypatch.setattr("core.inference.engines.SAY_EVERY_S", 0.01)
    said: list[str] = []
    enough, building = threading.Event(), threading.Event()

    def slow(files: EngineFiles) -> None:
        building.set()
        assert enough.wait(60)
        write(files)

    def tell(line: str) -> None:
        said.append(line)
        if len(said) >= 3:
            enough.set()

    first = threading.Thread(target=build_engine, args=(KEY, tmp_path, slow, quiet))
    first.start()
    assert building.wait(60)
    build_engine(KEY, tmp_path, lambda _: pytest.fail("built again"), tell)
    first.join()
    assert said[0].endswith("another process builds its engine, waiting for it")
    assert all(re.search(r"waiting for it, \d+ s so far$", line) for line in said[1:3])
    count = len(said)
    assert not any(thread.name == "engine build" for thread in threading.enumerate())
    assert len(said) == count


def test_an_engine_that_was_built_alone_is_shared_later(tmp_path: Path) -> None:
    build_engine(KEY, tmp_path / "here", write, quiet)
    shared = FolderShelf(tmp_path / "shared")
    build_engine(KEY, tmp_path / "here", lambda _: pytest.fail("built again"), quiet, shared)
    assert find_engine(KEY, tmp_path / "there", shared) is not None


def test_timings_travel_with_engines(tmp_path: Path) -> None:
    """A builder elsewhere starts with the timings of the first one, of its own kind of GPU, TensorRT and driver."""

    def timed(files: EngineFiles) -> None:
        write(files)
        with (files.timing / "sm90.timing").open("ab") as file:
            file.write(b"more")

    shared = FolderShelf(tmp_path / "shared")
    build_engine(KEY, tmp_path / "here", timed, quiet, shared)
    other = build_engine(replace(KEY, model="gfpgan_1.4"), tmp_path / "there", timed, quiet, shared)
    assert (other.timing / "sm90.timing").read_bytes() == b"moremore"
    elsewhere = build_engine(replace(KEY, driver="590.1"), tmp_path / "third", timed, quiet, shared)
    assert (elsewhere.timing / "sm90.timing").read_bytes() == b"more"
    (kept,) = (tmp_path / "shared" / "timing").glob("9.0-10.16.1-580*/sm90.timing")
    kept.write_bytes(b"torn")
    another = build_engine(replace(KEY, batch=1), tmp_path / "fourth", timed, quiet, shared)
    assert (another.timing / "sm90.timing").read_bytes() == b"more", "what does not fit its record is not taken"


def test_a_shared_folder_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="the shared folder cannot be used") as caught:
        build_engine(KEY, tmp_path / "here", write, quiet, FolderShelf(tmp_path / "file"))
    assert "\n" not in str(caught.value)


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "engines").write_text("in the way")
    with pytest.raises(StorageError, match="engines cannot be kept") as caught:
        build_engine(KEY, tmp_path, write, quiet)
    assert "\n" not in str(caught.value)
