"""What a server refuses is one line before any work, with what to do: by servers that do look at keys and rights."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from core.errors import InputError, StorageError
from farm.store.bucket import Bucket
from farm.store.opening import open_store
from farm.store.refusals import Unfit
from farm.store.s3path import ObjectPath, place_of
from farm.store.ways import VERSIONS, find_ways
from tests.farm.s3_servers import ROOT, Server, close_gates, guarded, swift
from tests.system.runs import Ran, farm_here

Be = Callable[[Server, str], None]
RIGHTS = {
    "everything": ["s3:*"],
    "reader": ["s3:GetObject", "s3:ListBucket"],
    "blind": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
    "keeper": ["s3:GetObject", "s3:PutObject", "s3:ListBucket"],
    "writer": ["s3:PutObject", "s3:ListBucket", "s3:DeleteObject"],
}
POLICY = re.search(r"^    ({\"Version\".*?\]})$", (ROOT / "docs" / "storage.md").read_text(), re.DOTALL | re.MULTILINE)


@pytest.fixture
def be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Be:
    (tmp_path / "local").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "local"))

    def become(server: Server, who: str) -> None:
        monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        for name, value in server.environment(who).items():
            monkeypatch.setenv(name, value)

    return become


@pytest.fixture(scope="module")
def strict() -> Iterator[Server]:
    assert POLICY is not None
    documented = [action for one in json.loads(POLICY[1])["Statement"] for action in one["Action"]]
    with guarded({**RIGHTS, "renderer": documented}) as server:
        root: Any = server.client("s3", "root")
        for name in ("films", "versions"):
            root.create_bucket(Bucket=name)
        root.put_bucket_versioning(Bucket="versions", VersioningConfiguration={"Status": "Enabled"})
        root.create_bucket(Bucket="locked", ObjectLockEnabledForBucket=True)
        rule = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 30}}
        lock = {"ObjectLockEnabled": "Enabled", "Rule": rule}
        root.put_object_lock_configuration(Bucket="locked", ObjectLockConfiguration=lock)
        root.put_object(Bucket="films", Key="film.mp4", Body=b"no film at all\n")
        close_gates(server)
        (key, secret, token), (all_key, _) = server.keys["role"], server.keys["everything"]
        more = {"stranger": ("AKIANOBODY", "x"), "forger": (all_key, "x"), "late": (key, secret, f"{token}x")}
        yield Server(server.address, server.region, {**server.keys, **more})


def render(*more: str | Path, target: str = "s3://films/film.mp4") -> Ran:
    return farm_here("render", target, "--swapper", "none", "--local", *more)


LINES = (
    ("stranger", "s3://films/o.mp4", "S3 does not take the credentials (InvalidAccessKeyId); set AWS_ACCESS_KEY_ID"),
    ("forger", "s3://films/o.mp4", "S3 does not take the credentials (SignatureDoesNotMatch); set AWS_ACCESS_KEY_ID"),
    ("late", "s3://films/o.mp4", "S3 does not take the credentials (InvalidToken)"),
    ("reader", "s3://films/o.mp4", "may not create multipart upload here (AccessDenied); give them s3:PutObject"),
    ("writer", "s3://films/o.mp4", "may not get object here (AccessDenied); give them s3:GetObject, and s3:ListBucket"),
    ("blind", "s3://films/o.mp4", "may not list objects v2 here (AccessDenied); give them s3:ListBucket"),
    ("everything", "s3://nowhere/o.mp4", "s3://nowhere: no such bucket; check its name, or make it first"),
    ("everything", "s3://locked/o.mp4", "(object lock), and a store is cleared; choose another with --store"),
    ("everything", "s3://a b/o.mp4", "not a name that S3 takes"),
)


@pytest.mark.parametrize(("who", "output", "words"), LINES)
def test_who_may_not_is_told_in_one_line(strict: Server, be: Be, who: str, output: str, words: str) -> None:
    be(strict, who)
    ran = render("-o", output)
    assert (ran.code, words in ran.error_line) == (2, True), ran.err


@pytest.mark.parametrize(
    ("who", "words"),
    [
        ("reader", "may not put object here (AccessDenied); give them s3:PutObject"),
        ("keeper", "may not delete object here (AccessDenied); give them s3:DeleteObject"),
    ],
)
def test_a_store_that_could_not_be_kept_or_cleared_is_told_before_any_work(
    strict: Server, be: Be, tmp_path: Path, who: str, words: str
) -> None:
    be(strict, who)
    (tmp_path / "film.mp4").write_bytes(b"film")
    ran = render("-o", tmp_path / "o.mp4", "--store", f"s3://films/of-{who}", target=str(tmp_path / "film.mp4"))
    assert (ran.code, words in ran.error_line) == (2, True), ran.err
    assert not any(tmp_path.glob("o.mp4*"))


def test_other_commands_tell_it_too(strict: Server, be: Be) -> None:
    be(strict, "stranger")
    for command in (
        ("probe", "s3://films/film.mp4"),
        ("verify", "s3://films/film.mp4", "s3://films/film.mp4"),
        ("analyse", "s3://films/film.mp4", "--local"),
        ("cast", "s3://films/film.mp4", "--local"),
        ("compare", "s3://films/film.mp4", "s3://films/film.mp4"),
        ("store", "list", "s3://films"),
        ("store", "expire", "s3://films"),
    ):
        ran = farm_here(*command)
        assert (ran.code, "does not take the credentials" in ran.error_line) == (2, True), (command, ran.err)


def test_what_the_documentation_lists_is_enough(strict: Server, be: Be) -> None:
    for who in ("renderer", "role"):
        be(strict, who)
        with open_store(place_of(f"s3://films/{who}.farm")) as store:
            assert store.notes == ()
            store.claim(["plan/a.json"])
            assert store.write("plan/a.json", b"{}")
            scratch = store.scratch(".mp4")
            scratch.write_bytes(bytes(17 << 20))
            assert store.adopt(scratch, "segments/x/1.mp4")
            store.remove()
        assert list(Bucket("films").list(f"{who}.farm")) == []


def test_a_bucket_that_keeps_versions_is_told_of_in_a_note(strict: Server, be: Be) -> None:
    be(strict, "everything")
    with open_store(place_of("s3://versions/a.farm")) as store:
        assert store.notes == (VERSIONS,)
        assert store.write("plan/a.json", b"1")
        store.discard("plan/a.json")
        assert store.write("plan/a.json", b"2")
        assert store.read("plan/a.json") == b"2"
        store.remove()
    assert list(Bucket("versions").list("")) == []


def test_in_the_middle_of_a_run_it_is_trouble_and_no_bad_input(strict: Server, be: Be) -> None:
    be(strict, "everything")
    path = ObjectPath("s3://films/film.mp4")
    assert path.exists()
    with open_store(place_of("s3://films/mid.farm")) as store:
        be(strict, "late")
        fresh = ObjectPath("s3://films/film.mp4")
        for ask in (fresh.exists, fresh.stat, fresh.read_bytes):
            with pytest.raises(StorageError, match="does not take the credentials") as caught:
                ask()
            assert caught.value.exit_code == 4
        with pytest.raises(InputError, match="does not take the credentials"):
            fresh.look()
        be(strict, "everything")
        store.remove()


# ---------------------------------------------------------------- Swift


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with swift(tmp_path_factory.mktemp("swift")) as server:
        client: Any = server.client("s3", "admin")
        client.create_bucket(Bucket="films")
        client.put_object(Bucket="films", Key="film.mp4", Body=b"no film at all\n")
        yield Server(server.address, server.region, {**server.keys, "forger": ("lab:admin", "guess")})


@pytest.mark.heavy
def test_swift_obeys_one_condition_and_not_the_other(other: Server, be: Be) -> None:
    be(other, "admin")
    ways = find_ways(Bucket("films"), "a/")
    assert (ways.fresh, ways.matching, ways.versions, ways.locked_until) == (True, False, False, "")
    assert list(Bucket("films").list("a/")) == []


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("who", "output", "words"),
    [
        ("forger", "s3://films/o.mp4", "S3 does not take the credentials (SignatureDoesNotMatch)"),
        ("guest", "s3://films/o.mp4", "these credentials may not get object here (AccessDenied)"),
        ("admin", "s3://nowhere/o.mp4", "no such bucket"),
    ],
)
def test_swift_refuses_in_the_same_words(other: Server, be: Be, who: str, output: str, words: str) -> None:
    be(other, who)
    ran = render("-o", output)
    assert (ran.code, words in ran.error_line) == (2, True), ran.err


@pytest.mark.heavy
def test_a_clock_that_is_wrong_is_named(tmp_path: Path, be: Be) -> None:
    with swift(tmp_path / "swift", ahead_s=3600) as server:
        be(server, "admin")
        ran = farm_here("probe", "s3://films/film.mp4")
        assert ran.code == 2
        assert "this machine's clock and that of S3 differ too much; set the clock (NTP)" in ran.error_line
        with pytest.raises(Unfit, match="clock"):
            Bucket("films").create("a", b"a")
