"""The one name of a store whose content changes: replaced whole, no content, gone with the job."""

from __future__ import annotations

import threading
from pathlib import Path

import boto3
import pytest

from core import codec
from farm.artifacts import Store, open_store
from farm.store.s3path import place_of


@pytest.fixture(params=["disk", "s3"])
def root(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if request.param == "disk":
        return tmp_path / "job.farm"
    request.getfixturevalue("s3")
    (tmp_path / "local").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "local"))
    boto3.resource("s3").Bucket("told").create()
    return place_of(f"s3://told/{tmp_path.name}/job.farm")


def finish(store: Store, order: str) -> None:
    store.claim([f"segments/{order}"])
    store.write(f"segments/{order}/DONE.json", b"{}")


def test_the_last_word_counts_and_a_reader_never_sees_half_of_one(root: Path) -> None:
    words = [bytes([65 + number]) * (1 << 12) for number in range(20)]
    seen: set[bytes] = set()
    with open_store(root) as store:
        store.replace(store.status_name, words[0])
        over = threading.Event()

        def read() -> None:
            while not over.is_set():
                seen.add(store.read(store.status_name))

        reader = threading.Thread(target=read)
        reader.start()
        for word in words[1:]:
            store.replace(store.status_name, word)
        over.set()
        reader.join()
        assert store.read(store.status_name) == words[-1]
    assert seen <= set(words)


def test_it_is_no_claim_and_no_work(root: Path) -> None:
    with open_store(root, "one") as store:
        finish(store, "a")
        store.replace(store.status_name, codec.encode({"any": "thing"}))
        assert store.status_name == "jobs/one/status.json"
    with open_store(root, "two") as store:
        assert not store.holds_work()
        store.remove()
    with open_store(root, "one") as store:
        assert store.read(store.status_name) == b'{"any":"thing"}'
        assert store.done("segments") == {"a"}
        assert store.holds_work()


def test_it_goes_with_the_job(root: Path) -> None:
    with open_store(root) as store:
        finish(store, "a")
        store.replace(store.status_name, b"{}")
        store.finish()
        assert store.expire(0) == ("output",)
        assert not store.exists(store.status_name)
        store.replace(store.status_name, b"{}")
        store.remove()
    with open_store(root) as store:
        assert store.listed("jobs") == []
