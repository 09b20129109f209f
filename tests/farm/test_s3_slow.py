"""A line to a bucket that gives a byte now and then, by which no timeout is met."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from farm.store.bucket import Bucket
from farm.store.pace import LEAST_BYTES_S, PIECE_BYTES
from farm.store.refusals import Broken, Patience
from tests.farm.s3_proxy import Exchange, proxy

FAST = Patience(tries=6, base_s=0.001, cap_s=0.01, connect_s=20.0, slow_s=1.0)
AT_ONCE = Patience(tries=4, base_s=0.001, slow_s=-1e9)  # any piece comes too late
DATA = bytes(range(256)) * 256
MUCH = 8 * PIECE_BYTES


class Trickle:
    """A spoiler that passes on the bodies of the first `left` answers at a sixteenth of the least rate."""

    def __init__(self) -> None:
        self.left = 0
        self.asked: list[int] = []

    def __call__(self, exchange: Exchange) -> None:
        if b"range: bytes=" in exchange.head.lower():
            self.asked.append(int(exchange.head.lower().split(b"range: bytes=")[1].split(b"-")[0]))
            if self.left:
                self.left -= 1
                exchange.pace = LEAST_BYTES_S // 16


@pytest.fixture
def line(s3: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trickle]:
    made: Any = boto3.resource("s3").Bucket("films")
    made.create()
    made.put_object(Key="film", Body=DATA)
    trickle = Trickle()
    with proxy(s3, trickle) as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        yield trickle


def test_a_read_goes_on_over_another_line_where_one_is_too_slow(line: Trickle, tmp_path: Path) -> None:
    bucket = Bucket("films", patience=FAST)
    head = bucket.head("film")
    assert head is not None
    line.left = 1
    assert bucket.part("film", head.etag, 0, len(DATA)) == DATA
    of_part, line.asked, line.left = line.asked, [], 1
    bucket.download(head, tmp_path / "film")
    assert (tmp_path / "film").read_bytes() == DATA
    for asked in (of_part, line.asked):
        assert asked[0] == 0
        assert len(asked) > 1
        assert asked == sorted(asked), "each goes on where the last one was left"


def test_a_line_that_stays_slow_is_told(line: Trickle) -> None:
    bucket = Bucket("films", patience=Patience(tries=2, base_s=0.001, slow_s=1.0))
    head = bucket.head("film")
    assert head is not None
    line.left = 2
    with pytest.raises(Broken, match="slower than 16 kB/s"):
        bucket.part("film", head.etag, 0, len(DATA))


def test_each_try_gets_further_however_late_its_first_piece_comes(line: Trickle) -> None:
    made: Any = boto3.resource("s3").Bucket("films")
    made.put_object(Key="much", Body=bytes(MUCH))
    made.put_object(Key="little", Body=b"little")
    line.asked = []
    bucket = Bucket("films", patience=AT_ONCE)
    head = bucket.head("much")
    assert head is not None
    with pytest.raises(Broken, match="slower than 16 kB/s"):
        bucket.part("much", head.etag, 0, MUCH)
    assert len(line.asked) == AT_ONCE.tries
    assert line.asked == sorted(set(line.asked))
    found = bucket.get("little")
    assert found is not None, "what is whole came in time"
    assert found[0] == b"little"
