"""Engines shared through a bucket, against an S3 server on this machine; the builder writes small files."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest

from core.errors import InputError, ModelError, StorageError
from core.inference.engines import RECORD, build_engine, find_engine
from core.inference.providers import EngineFiles
from core.inference.shelf import FolderShelf
from farm.desk import worker_settings
from farm.settings import RunOptions, load_settings
from farm.shelves import BucketShelf, open_shelf
from tests.core.inference.test_engines import KEY, quiet, write
from tests.system.runs import farm_here

POLL_S = 0.05


@pytest.fixture
def bucket(s3: str) -> Iterator[Any]:
    made = boto3.resource("s3").Bucket("engines")
    made.create()
    yield made
    made.objects.all().delete()


@pytest.fixture
def shelf(bucket: Any) -> BucketShelf:
    return BucketShelf(bucket.name, "farm/trt", poll_s=POLL_S)


def keys(bucket: Any) -> set[str]:
    return {each.key for each in bucket.objects.all()}


def test_built_on_one_machine_and_fetched_by_another(bucket: Any, shelf: BucketShelf, tmp_path: Path) -> None:
    assert find_engine(KEY, tmp_path / "there", shelf) is None
    here = build_engine(KEY, tmp_path / "here", write, quiet, shelf)
    assert keys(bucket) == {
        f"farm/trt/{KEY.name}/{name}" for name in (here.wrapper.name, f"{KEY.name}_0_sm90.engine", RECORD)
    }, "and the lock is gone"
    there = find_engine(KEY, tmp_path / "there", pickle.loads(pickle.dumps(shelf)))
    assert there is not None
    assert there.wrapper.is_relative_to(tmp_path / "there")
    for file in here.wrapper.parent.iterdir():
        assert (there.wrapper.parent / file.name).read_bytes() == file.read_bytes()
    build_engine(KEY, tmp_path / "third", lambda _: pytest.fail("built again"), quiet, shelf)
    assert find_engine(replace(KEY, driver="1"), tmp_path / "there", shelf) is None


@pytest.mark.parametrize("harm", ["altered", "gone", "record"])
def test_what_does_not_fit_its_record_is_refused(harm: str, bucket: Any, shelf: BucketShelf, tmp_path: Path) -> None:
    build_engine(KEY, tmp_path / "here", write, quiet, shelf)
    engine = f"farm/trt/{KEY.name}/{KEY.name}_0_sm90.engine"
    if harm == "altered":
        bucket.put_object(Key=engine, Body=b"Engine" * 100)
    elif harm == "gone":
        bucket.Object(engine).delete()
    else:
        bucket.put_object(Key=f"farm/trt/{KEY.name}/{RECORD}", Body=b"{}")
    with pytest.raises(ModelError, match=f"s3://engines/farm/trt: the engine {KEY.name} is altered; delete it there"):
        find_engine(KEY, tmp_path / "there", shelf)
    assert find_engine(KEY, tmp_path / "there") is None


@pytest.mark.heavy
def test_several_machines_build_once(shelf: BucketShelf, tmp_path: Path) -> None:
    """The first builder holds the lock until all others have met it."""
    built: list[int] = []
    said: list[str] = []
    waiting = threading.Semaphore(0)
    failures: list[BaseException] = []

    def build(files: EngineFiles) -> None:
        built.append(1)
        assert waiting.acquire(timeout=60)
        assert waiting.acquire(timeout=60)
        write(files)

    def tell(line: str) -> None:
        said.append(line)
        if "waiting for it" in line:
            waiting.release()

    def machine(number: int) -> None:
        try:
            made = build_engine(KEY, tmp_path / str(number), build, tell, shelf)
            assert made.wrapper.read_bytes() == b"wrapper"
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=machine, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert built == [1]
    assert sum("another process builds its engine, waiting for it" in line for line in said) == 2


@pytest.mark.heavy
def test_the_lock_of_a_machine_that_died_is_taken_over(bucket: Any, shelf: BucketShelf, tmp_path: Path) -> None:
    bucket.put_object(Key=f"farm/trt/{KEY.name}/lock", Body=b"of the dead")
    build_engine(KEY, tmp_path, write, quiet, replace(shelf, lease_s=0.0))
    assert f"farm/trt/{KEY.name}/lock" not in keys(bucket)


def test_a_lock_that_another_took_is_left_to_him(bucket: Any, shelf: BucketShelf) -> None:
    with shelf.lock("name", lambda: None):
        bucket.put_object(Key="farm/trt/name/lock", Body=b"another's")
    assert "farm/trt/name/lock" in keys(bucket)


def test_a_bucket_that_does_not_answer_is_one_line(
    shelf: BucketShelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = replace(shelf, bucket="nowhere")
    for call in (
        lambda: build_engine(KEY, tmp_path / "a", write, quiet, nowhere),
        lambda: nowhere.put(Path(__file__), "file"),
    ):
        with pytest.raises(StorageError, match="s3://nowhere/farm/trt") as caught:
            call()
        assert "\n" not in str(caught.value)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(StorageError, match="no keys for S3"):
        find_engine(KEY, tmp_path / "b", shelf)


def test_addresses() -> None:
    assert open_shelf(None) is None
    assert open_shelf("/shared") == FolderShelf(Path("/shared"))
    assert open_shelf("s3://bucket") == BucketShelf("bucket", "")
    assert open_shelf("s3://bucket/a/b/") == BucketShelf("bucket", "a/b")
    assert BucketShelf("bucket", "").where == "s3://bucket"
    for wrong in ("s3://", "https://host/engines", "s3:///prefix"):
        with pytest.raises(InputError, match="engines cannot be shared there; name a folder or s3://BUCKET/PREFIX"):
            open_shelf(wrong)
    settings = load_settings({"HOME": "/h", "FARM_ENGINE_CACHE": "s3://bucket/a"})
    spec = worker_settings(RunOptions(), settings).device_spec()
    assert spec.shelf == BucketShelf("bucket", "a")
    ran = farm_here("models", "build", "centerface", "--device", "cpu", "--shared", "ftp://host")
    assert ran.code == 2
    assert "ftp://host: engines cannot be shared there" in ran.error_line
