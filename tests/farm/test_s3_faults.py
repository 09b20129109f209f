"""A bucket behind a line that spoils what goes over it: all ends well, or in one clear line."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import InputError, StorageError
from farm.places import holds_film
from farm.store.bucket import PART_BYTES, Bucket
from farm.store.holder import Holder, is_free
from farm.store.lease import Lease
from farm.store.opening import open_store
from farm.store.output import check_output_object, publish_object
from farm.store.refusals import Conflict, Patience, Unfit
from farm.store.s3path import ObjectPath, place_of
from tests.farm.s3_proxy import Exchange, Spoil, proxy, refusal
from tests.system.runs import farm_here

FAST = Patience(tries=6, base_s=0.001, cap_s=0.01, connect_s=5.0, read_s=60.0)
LONG = bytes(range(256)) * (PART_BYTES // 256 + 400)  # two parts


class Line:
    """A proxy whose spoiler a test may change."""

    def __init__(self) -> None:
        self.spoil: Spoil = lambda _: None
        self.seen: list[str] = []

    def __call__(self, exchange: Exchange) -> None:
        self.seen.append(exchange.method)
        self.spoil(exchange)


@pytest.fixture
def line(films: Any, s3: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    made = Line()
    with proxy(s3, made) as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        yield made


def first(count: int, do: Spoil) -> Spoil:
    """Spoil the first `count` exchanges."""
    left = [count]

    def spoil(exchange: Exchange) -> None:
        if left[0] > 0:
            left[0] -= 1
            do(exchange)

    return spoil


def answer(status: int, code: str) -> Spoil:
    def spoil(exchange: Exchange) -> None:
        exchange.answer = refusal(status, code).replace(b"\r\n", b"\r\nx-amz-bucket-region: eu-west-1\r\n", 1)

    return spoil


def lose(exchange: Exchange) -> None:
    """The server does it, and nobody is told."""
    exchange.dead = True


def truncate(exchange: Exchange) -> None:
    exchange.cut = 1 << 20 if exchange.method == "GET" else 20


@pytest.mark.parametrize("fault", [answer(503, "SlowDown"), answer(500, "InternalError"), lose, truncate])
def test_what_another_try_mends_ends_well(line: Line, films: Any, tmp_path: Path, fault: Spoil) -> None:
    bucket = Bucket("films", patience=FAST)
    line.spoil = first(3, fault)
    assert bucket.create("a/one", b"one") is True, "an answer that was lost does not make us second"
    line.spoil = first(3, fault)
    assert bucket.create("a/one", b"two") is False
    line.spoil = first(3, fault)
    assert bucket.get("a/one")[0] == b"one"  # type: ignore[index]
    line.spoil = first(2, fault)
    assert [entry.key for entry in bucket.list("a/")] == ["a/one"]
    file = tmp_path / "film"
    file.write_bytes(LONG)
    line.spoil = first(4, fault)
    assert bucket.create_from("a/long", file, "") is True
    head = bucket.head("a/long")
    assert head is not None
    line.spoil = first(2, fault)
    bucket.download(head, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == LONG
    bucket.abort_uploads("a/")  # those begun whose answers were lost
    assert list(boto3.client("s3").list_multipart_uploads(Bucket="films").get("Uploads", [])) == []


def test_a_download_goes_on_where_it_broke(line: Line, films: Any, tmp_path: Path) -> None:
    films.put_object(Key="long", Body=LONG)
    bucket = Bucket("films", patience=FAST)
    head = bucket.head("long")
    assert head is not None
    asked: list[bytes] = []

    def spoil(exchange: Exchange) -> None:
        ranges = [row.split(b"=")[1] for row in exchange.head.split(b"\r\n") if row.lower().startswith(b"range:")]
        asked.extend(ranges)
        if len(asked) == 1:
            exchange.cut = 3 << 20

    line.spoil = spoil
    bucket.download(head, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == LONG
    assert asked[0] == b"0-"
    assert int(asked[1].rstrip(b"-")) > 1 << 20, "not from the start"


REFUSALS = (
    (answer(403, "SignatureDoesNotMatch"), 2, "does not take the credentials"),
    (answer(403, "InvalidAccessKeyId"), 2, "does not take the credentials"),
    (answer(403, "RequestTimeTooSkewed"), 2, "clock"),
    (answer(403, "AccessDenied"), 2, "may not"),
    (answer(404, "NoSuchBucket"), 2, "no such bucket"),
    (answer(301, "PermanentRedirect"), 2, "another region"),
    (answer(400, "AuthorizationHeaderMalformed"), 2, "another region"),
)


@pytest.mark.parametrize(("fault", "code", "words"), REFUSALS)
def test_what_no_try_mends_is_one_line_before_any_work(
    line: Line, tmp_path: Path, fault: Spoil, code: int, words: str
) -> None:
    (tmp_path / "film.mp4").write_bytes(b"film")
    line.spoil = fault
    output = tmp_path / "o.mp4"
    ran = farm_here("render", tmp_path / "film.mp4", "-o", output, "--store", "s3://films/x", "--swapper", "none")
    assert ran.code == code, ran.err
    assert words in ran.error_line
    assert len(line.seen) <= 8, "told at once"


def test_who_may_read_but_not_put_is_told_before_any_work(line: Line, tmp_path: Path) -> None:
    (tmp_path / "film.mp4").write_bytes(b"film")

    def spoil(exchange: Exchange) -> None:
        if exchange.method in {"PUT", "POST"}:
            exchange.answer = refusal(403, "AccessDenied")

    line.spoil = spoil
    for more in (("-o", "s3://films/o.mp4"), ("-o", str(tmp_path / "o.mp4"), "--store", "s3://films/x")):
        ran = farm_here("render", tmp_path / "film.mp4", *more, "--swapper", "none", "--local")
        assert ran.code == 2, ran.err
        assert "these credentials may not" in ran.error_line


def test_no_keys_and_nobody_there_are_one_line(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    ran = farm_here("render", "s3://films/a.mp4", "-o", tmp_path / "o.mp4", "--swapper", "none")
    assert (ran.code, "cannot be reached" in ran.error_line) == (2, True)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    ran = farm_here("render", "s3://films/a.mp4", "-o", tmp_path / "o.mp4", "--swapper", "none")
    assert (ran.code, "no credentials for S3" in ran.error_line) == (2, True)
    ran = farm_here("render", "s3://", "-o", tmp_path / "o.mp4", "--swapper", "none")
    assert (ran.code, "not an address in a bucket" in ran.error_line) == (2, True)


def test_a_server_that_stays_busy_is_a_storage_error(line: Line) -> None:
    line.spoil = answer(503, "SlowDown")
    with pytest.raises(StorageError, match="SlowDown") as caught:
        Bucket("films", patience=FAST).create("a", b"a")
    assert not isinstance(caught.value, Unfit)
    assert len(line.seen) == FAST.tries


def test_pauses_are_drawn_from_all_of_a_growing_span() -> None:
    patience = Patience(tries=6, base_s=1, cap_s=5)
    assert list(patience.pauses(lambda: 1.0)) == [1, 2, 4, 5, 5]
    assert list(patience.pauses(lambda: 0.0)) == [0] * 5


@pytest.mark.parametrize("silent", [True, False])
def test_a_server_without_conditional_puts_is_found_out_and_told(line: Line, silent: bool) -> None:
    def spoil(exchange: Exchange) -> None:
        rows = exchange.head.split(b"\r\n")
        asked = [row for row in rows if row.lower().startswith((b"if-none-match:", b"if-match:"))]
        if asked and exchange.method == "PUT":
            if silent:
                exchange.head = b"\r\n".join(row for row in rows if row not in asked)
            else:
                exchange.answer = refusal(501, "NotImplemented")

    line.spoil = spoil
    with open_store(place_of("s3://films/job.farm")) as store:
        assert "no conditional puts" in store.notes[0]
        assert store.write("plan/a.json", b"first") is True
        assert store.write("plan/a.json", b"second") is False
        assert store.read("plan/a.json") == b"first"


def test_a_lease_is_taken_from_who_does_not_renew_it(films: Any) -> None:
    bucket = Bucket("films", patience=FAST)
    ours, theirs = (Lease(bucket, "lock", lease_s=1.0, poll_s=0.1) for _ in range(2))
    assert ours.take()
    assert ours.epoch == 1
    assert not theirs.take(), "it is renewed"
    ours._over.set()  # as a process that hangs: nothing is renewed, nothing given back
    assert theirs.take()
    assert theirs.epoch == 2
    ours._over.clear()
    with pytest.raises(StorageError, match="another run took this job over"):
        ours.check()
    theirs.check()
    theirs.give_back()
    after = Lease(bucket, "lock", lease_s=60.0)
    assert after.take(), "what was given back is free at once"
    assert after.epoch == 3
    after.remove()
    assert bucket.head("lock") is None
    assert not is_free(Holder("t", 1, "elsewhere", "b", 1))


def test_a_holder_that_was_stopped_finds_out_before_it_does_anything(films: Any) -> None:
    bucket = Bucket("films", patience=FAST)
    # S3 dates by whole seconds: a lock looks up to a second older than it is
    ours, theirs = (Lease(bucket, "lock", lease_s=2.4, poll_s=0.1) for _ in range(2))
    assert ours.take()
    ours._stop()  # as a process that was stopped: its thread has not yet come to renew anything
    ours._over.clear()
    assert theirs.take()
    with pytest.raises(StorageError, match="another run took this job over"):
        ours.check()
    theirs.check()
    theirs.remove()


def test_a_renewal_whose_answer_is_lost_does_not_lose_the_lease(films: Any, line: Line) -> None:
    ours = Lease(Bucket("films", patience=FAST), "lock", lease_s=60.0)
    assert ours.take()

    def dumb(exchange: Exchange) -> None:
        exchange.dead = True

    line.spoil = dumb
    with pytest.raises(StorageError, match="cannot be reached"):
        ours._renew_once()
    line.spoil = lambda _: None
    ours._renew_once()
    ours.check()
    ours.remove()
    assert Bucket("films").head("lock") is None


def test_uploads_that_killed_runs_began_at_the_output_end_with_the_next(films: Any, tmp_path: Path) -> None:
    client = films.meta.client
    for key in ("out.mp4", "out.mp4.another"):
        client.create_multipart_upload(Bucket="films", Key=key)
    (tmp_path / "film.mp4").write_bytes(b"film")
    publish_object(tmp_path / "film.mp4", ObjectPath("s3://films/out.mp4"))
    left = client.list_multipart_uploads(Bucket="films")["Uploads"]
    assert [entry["Key"] for entry in left] == ["out.mp4.another"]
    client.abort_multipart_upload(Bucket="films", Key="out.mp4.another", UploadId=left[0]["UploadId"])


class Gate:
    """Lets the requests of two writers through one at a time, in the order that `turns` says."""

    def __init__(self, turns: list[bool]) -> None:
        self._turns, self._waiting, self._over = turns, [False, False], [False, False]
        self._change = threading.Condition()

    def spoiler(self, writer: int) -> Spoil:
        return lambda _: self._wait(writer)

    def _wait(self, writer: int) -> None:
        with self._change:
            self._waiting[writer] = True
            self._change.notify_all()
            self._change.wait_for(lambda: self._next() == writer)
            if self._turns:
                self._turns.pop(0)
            self._waiting[writer] = False
            self._change.notify_all()

    def _next(self) -> int | None:
        ready = [self._waiting[n] or self._over[n] for n in (0, 1)]
        if not all(ready):
            return None
        wanted = int(self._turns[0]) if self._turns else 0
        return wanted if self._waiting[wanted] else 1 - wanted

    def end(self, writer: int) -> None:
        with self._change:
            self._over[writer] = True
            self._change.notify_all()


@pytest.mark.heavy
@settings(max_examples=12)
@given(turns=st.lists(st.booleans(), max_size=12), large=st.booleans())
def test_any_interleaving_of_two_writers_leaves_one_whole_winner(
    turns: list[bool], large: bool, s3_server: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("writers")
    contents = [bytes([number]) * (PART_BYTES + 1 if large else 1000) for number in (1, 2)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_ENDPOINT_URL", s3_server)
        boto3.client("s3").create_bucket(Bucket="race")
        plain = Bucket("race")
        plain.delete(["name"])
        gate, won, writers = Gate(turns), [None, None], []
        with proxy(s3_server, gate.spoiler(0)) as one, proxy(s3_server, gate.spoiler(1)) as two:
            for address in (one, two):
                patch.setenv("AWS_ENDPOINT_URL", address)
                writers.append(Bucket("race", patience=FAST))
                writers[-1]._client()

            def write(number: int) -> None:
                file = folder / str(number)
                file.write_bytes(contents[number])
                try:
                    won[number] = writers[number].create_from("name", file, "")  # type: ignore[call-overload]
                finally:
                    gate.end(number)

            threads = [threading.Thread(target=write, args=(number,)) for number in (0, 1)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert sorted(won) == [False, True], won  # type: ignore[type-var]
        found = plain.get("name")
        assert found is not None
        assert found[0] == contents[won.index(True)]  # type: ignore[arg-type]


def test_an_output_that_somebody_else_put_meanwhile_stays(line: Line, films: Any, tmp_path: Path) -> None:
    finished = tmp_path / "joined"
    for content in (b"one", b"two"):
        finished.write_bytes(content)
        publish_object(finished, ObjectPath("s3://films/o.mp4"))
        assert films.Object("o.mp4").get()["Body"].read() == content
        assert not finished.exists()
        named = [hashlib.sha256(each).hexdigest() for each in (b"one", b"two")]
        there = [holds_film(ObjectPath("s3://films/o.mp4"), sha256, 3) for sha256 in named]
        assert there == [content == b"one", content == b"two"]
    finished.write_bytes(b"three")

    def spoil(exchange: Exchange) -> None:
        if exchange.method == "PUT" and exchange.body == b"three":
            line.spoil = lambda _: None
            films.put_object(Key="o.mp4", Body=b"theirs")

    line.spoil = spoil
    with pytest.raises(StorageError, match="another run wrote this output meanwhile"):
        publish_object(finished, ObjectPath("s3://films/o.mp4"))
    assert films.Object("o.mp4").get()["Body"].read() == b"theirs"
    assert finished.exists()
    assert [entry.key for entry in films.objects.all()] == ["o.mp4"]
    with pytest.raises(Conflict):
        Bucket("films", patience=FAST).put("o.mp4", b"x", {"IfMatch": '"none"'})
    with pytest.raises(InputError, match="folder"):
        check_output_object(ObjectPath("s3://films"))
