"""Reading models out of buckets, against an S3 server on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from core.errors import ModelError
from core.inference.download import Broken, Stream
from core.inference.fetch import FetchOptions, take
from core.inference.weights import model_bytes, pull
from farm.s3 import open_s3
from tests.operator_models import small_manifest, small_onnx

DATA = small_onnx()
LONG = bytes(range(256)) * 8192


@pytest.fixture
def bucket(s3: str) -> Any:
    made = boto3.resource("s3").Bucket("weights")
    made.create()
    return made


def read(stream: Stream) -> bytes:
    return b"".join(stream.chunks)


def test_models_come_out_of_a_bucket(bucket: Any, tmp_path: Path) -> None:
    bucket.put_object(Key="swap/small.onnx", Body=DATA)
    options = FetchOptions(open_s3=open_s3)
    for number, where in enumerate(("s3://weights/swap/", "s3://weights/swap/small.onnx")):
        cache = tmp_path / str(number)
        pull(small_manifest(DATA), cache, lambda _: None, source=where, accept_licence=True, options=options)
        assert model_bytes(small_manifest(DATA), cache) == DATA


def test_a_download_goes_on_where_it_broke(bucket: Any, tmp_path: Path) -> None:
    bucket.put_object(Key="long.bin", Body=LONG)
    whole = open_s3("s3://weights/long.bin", 0, "")
    assert (whole.first, whole.total) == (0, len(LONG))
    assert read(whole) == LONG
    rest = open_s3("s3://weights/long.bin", 700_000, whole.version)
    assert (rest.first, rest.total, rest.version) == (700_000, len(LONG), whole.version)
    assert read(rest) == LONG[700_000:]

    asked: list[int] = []

    def breaks_once(url: str, first: int, version: str) -> Stream:
        """The real reader, its line cut after the first chunk."""
        asked.append(first)
        stream = open_s3(url, first, version)

        def cut() -> Iterator[bytes]:
            yield next(stream.chunks)
            raise Broken("cut")

        return Stream(stream.first, stream.total, stream.version, cut()) if len(asked) == 1 else stream

    found = take("s3://weights/long.bin", "long.bin", tmp_path, FetchOptions(open_s3=breaks_once))
    assert found.data == LONG
    assert asked == [0, 1 << 20]


def test_an_object_that_changed_meanwhile_starts_anew(bucket: Any) -> None:
    bucket.put_object(Key="long.bin", Body=LONG)
    version = open_s3("s3://weights/long.bin", 0, "").version
    bucket.put_object(Key="long.bin", Body=LONG[::-1])
    again = open_s3("s3://weights/long.bin", 700_000, version)
    assert again.first == 0
    assert read(again) == LONG[::-1]
    bucket.put_object(Key="long.bin", Body=b"short")
    assert read(open_s3("s3://weights/long.bin", 700_000, again.version)) == b"short"


def test_refusals_are_one_line(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for url, message in (
        ("s3://weights/nothing", "s3://weights/nothing: no such object; check the address"),
        ("s3://nowhere/a.onnx", "no such object"),
        ("s3://weights", "not an address of an object; write s3://BUCKET/KEY"),
    ):
        with pytest.raises(ModelError, match=message) as caught:
            open_s3(url, 0, "")
        assert "\n" not in str(caught.value)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(ModelError, match="no keys for S3; set them as for the AWS command line"):
        open_s3("s3://weights/a.onnx", 0, "")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(Broken):
        open_s3("s3://weights/a.onnx", 0, "")
