"""What people give the client: address, key, names of files, a cast. What cannot be is told in one line, and no line
holds a key."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import InputError
from farm.api.schemas import NAME, NewUpload
from farm.cli.remote_cast import Cast
from farm.client import AsyncFarm, Farm
from farm.client.calls import job
from farm.client.given import plain_name
from tests.farm.api.conftest import House
from tests.farm.api.flows import picture_bytes

KEY = "farm_abc_secret"
CLIENTS = (Farm, AsyncFarm)


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("key", ["", " ", f"{KEY}\nx", f"{KEY} x", f"{KEY}\u00fc", f"{KEY}\0", f"{KEY}\udcff"])
def test_what_is_no_key_is_told_and_not_shown(client: type[Farm | AsyncFarm], key: str) -> None:
    with pytest.raises(InputError) as told:
        client("http://127.0.0.1:1", key)
    assert str(told.value).startswith("this is no API key; ")
    assert "secret" not in repr(told.value)
    assert told.value.__cause__ is None


@pytest.mark.parametrize("around", ["{}\n", "\r\n{}\r\n", " {}\t"])
def test_a_key_and_an_address_as_files_hold_them(house: House, around: str) -> None:
    with Farm(around.format(house.server.url + "/"), around.format(house.secret)) as farm:
        assert farm.me().scopes


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:8000",
        "ftp://farm",
        "http://",
        "http://127.0.0.1:port",
        "http://127.0.0.1:99999",
        "http://127.0.0.1:0",
        "http://[::1",
        "http://a..b",
        "http://" + "a" * 64,
        "http://a b",
        "http://a\nb",
        "http://farm/?tenant=x",
        "http://farm/#jobs",
        "http://\udcff",
        "http://me:secret@farm",
        "http://me:secret@farm:port",
    ],
)
def test_what_is_no_address_is_told(client: type[Farm | AsyncFarm], url: str) -> None:
    with pytest.raises(InputError) as told:
        client(url, KEY)
    assert "address" in str(told.value)
    assert "secret" not in repr(told.value)


def test_texts_that_no_call_can_hold(house: House) -> None:
    with Farm(house.server.url, house.secret) as farm:
        with pytest.raises(InputError, match="idempotency key"):
            farm.submit_body({}, idempotency_key="shot\n12")
        with pytest.raises(InputError, match="idempotency key"):
            farm.submit_body({}, idempotency_key="Aufnahme-\u00fc")
        with pytest.raises(InputError, match="no Unicode"):
            farm.submit_body({"title": "\udcff"})
        for name in ("a\nb", "../keys", "\udcff", "job_x?limit=1", "x" * 70_000):
            with pytest.raises(InputError):
                farm.job(name)
    assert job("../keys") == "/v1/jobs/..%2Fkeys"


@settings(max_examples=50)
@given(st.binary(min_size=1, max_size=255).filter(lambda name: not {0, 47} & set(name) and name not in (b".", b"..")))
def test_every_name_that_a_file_can_have_is_one_for_the_service(name: bytes) -> None:
    told = plain_name(Path(name.decode("utf-8", "surrogateescape")))
    assert NewUpload(purpose="target", name=told, size_bytes=1).name == told
    assert re.search(NAME, told)
    if all(letter.isalnum() and letter.isascii() for letter in told):
        assert told == name.decode()[:200]


def test_names_keep_their_ending() -> None:
    assert plain_name(Path("a\\b\n.mp4")) == "a_b_.mp4"
    assert plain_name(Path("x" * 251 + ".mkv")) == "x" * 196 + ".mkv"
    assert plain_name(Path("x" * 30 + "." + "y" * 220)) == "x" * 30 + "." + "y" * 169


def test_a_file_of_any_name_is_sent(house: House, tmp_path: Path) -> None:
    data = picture_bytes(tmp_path)
    with Farm(house.server.url, house.secret) as farm:
        for name in (b"a\\b\n\xff.png", b"x" * 251 + b".png"):
            file = tmp_path / name.decode("utf-8", "surrogateescape")
            file.write_bytes(data)
            assert farm.upload(file, "source").state == "ready"


@pytest.mark.parametrize(
    "text",
    [
        '[[people]]\nsource = "her.png"\n',
        'people = "x"\n',
        '[[people]]\nid = "p1"\nranges = "x"\n',
        '[[people]]\nid = "p1"\nsource = 3\n',
        '[[people]]\nid = "p1"\nsource = [3]\n',
        '[[people]]\nid = "p1"\n[[people]]\nid = "p1"\n',
        "no TOML",
        "\udcff",
    ],
)
def test_what_is_no_cast_is_told_before_anything_is_sent(tmp_path: Path, text: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text, errors="surrogateescape")
    with pytest.raises(InputError) as told:
        Cast.read(file)
    assert told.value.where == str(file)


def test_a_picture_that_is_not_there_is_told_before_anything_is_sent(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('[[people]]\nid = "p1"\n[[people.ranges]]\nsource = ["s3://faces/a.png", "her.png"]\n')
    with pytest.raises(InputError, match=r"her\.png: no such file"):
        Cast.read(file)
    with pytest.raises(InputError, match="cannot be read"):
        Cast.read(tmp_path)
