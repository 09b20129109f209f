"""Taking models from web servers, folders and packs; lines that break are gone on with."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import ModelError, StorageError
from core.inference.fetch import FetchOptions, clear, listing, take
from core.inference.weights import model_bytes, pull
from tests.operator_models import other, small_manifest, small_onnx
from tests.web import Site, serve

DATA = small_onnx()
LONG = bytes(range(256)) * 8192  # 2 MB: more than one chunk


def pulled(site: Site, cache: Path, path: str = "/small.onnx", **manifest: object) -> None:
    one = replace(small_manifest(DATA), url=site.url + path, **manifest)  # type: ignore[arg-type]
    pull(one, cache, lambda _: None, accept_licence=True)
    assert model_bytes(one, cache) == DATA


def parts(folder: Path) -> list[str]:
    """What the downloads folder holds, without its lock."""
    return sorted(file.name.partition("-")[2] for file in folder.iterdir() if file.name != "lock")


def test_pull_from_the_manifests_own_address(tmp_path: Path) -> None:
    with serve(Site({"/small.onnx": DATA})) as site:
        pulled(site, tmp_path / "cache")
        assert site.asked == [("/small.onnx", None)]


def test_a_broken_line_is_gone_on_with(tmp_path: Path) -> None:
    told: list[tuple[str, int, int | None]] = []
    options = FetchOptions(meter=lambda name, done, total: told.append((name, done, total)))
    with serve(Site({"/long.bin": LONG}, cut=[700_000, 900_000])) as site:
        found = take(site.url + "/long.bin", "long.bin", tmp_path, options)
        assert found.data == LONG
        assert site.asked == [
            ("/long.bin", None),
            ("/long.bin", "bytes=700000-"),
            ("/long.bin", "bytes=1600000-"),
        ]
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    assert told[-1] == ("long.bin", len(LONG), len(LONG))
    assert parts(tmp_path) == ["long.bin"]  # no parts


def test_another_process_goes_on_where_the_first_one_died(tmp_path: Path) -> None:
    with serve(Site({"/long.bin": LONG}, cut=[700_000] + [0] * 5)) as site:
        with pytest.raises(ModelError, match=r"long\.bin: cannot be fetched: .*; check the network, then run it again"):
            take(site.url + "/long.bin", "long.bin", tmp_path, FetchOptions())
        assert parts(tmp_path) == ["long.bin.part", "long.bin.version"]
        site.asked.clear()
        assert take(site.url + "/long.bin", "long.bin", tmp_path, FetchOptions()).data == LONG
        assert site.asked == [("/long.bin", "bytes=700000-")]


@pytest.mark.parametrize("etag", ['"2"', ""])
def test_a_file_that_changed_meanwhile_starts_anew(etag: str, tmp_path: Path) -> None:
    newer = LONG[::-1]
    with serve(Site({"/long.bin": LONG}, cut=[700_000])) as site:

        def change(_name: str, done: int, _total: int | None) -> None:
            if done == 700_000:
                site.files["/long.bin"], site.etag = newer, etag

        assert take(site.url + "/long.bin", "long.bin", tmp_path, FetchOptions(meter=change)).data == newer
        assert len(site.asked) == 2


def test_a_busy_server_is_asked_again(tmp_path: Path) -> None:
    with serve(Site({"/small.onnx": DATA}, busy=2)) as site:
        pulled(site, tmp_path / "cache")
        assert len(site.asked) == 3


def test_redirects_stay_within_what_is_trusted(tmp_path: Path) -> None:
    with serve(Site({"/small.onnx": DATA})) as site:
        site.moved = {"/there": site.url + "/small.onnx", "/away": "http://models.invalid/small.onnx"}
        pulled(site, tmp_path / "cache", "/there")
        with pytest.raises(ModelError, match=r"models\.invalid/small\.onnx: only https addresses are fetched"):
            take(site.url + "/away", "small.onnx", tmp_path, FetchOptions())


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("http://models.invalid/a.onnx", "only https addresses are fetched; download the file and add it"),
        ("ftp://models.invalid/a.onnx", "only https addresses are fetched"),
        ("https:///a.onnx", "only https addresses are fetched"),
        ("http://[/a.onnx", "not an address"),
        ("s3://bucket/a.onnx", "s3:// cannot be read here"),
        ("/no/such/place", "no such file or folder"),
    ],
)
def test_addresses_that_are_not_taken(where: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=message):
        take(where, "a.onnx", tmp_path, FetchOptions())


def test_answers_that_are_not_the_file(tmp_path: Path) -> None:
    with serve(Site({"/small.onnx": b"<html>log in</html>"})) as site:
        with pytest.raises(ModelError, match="nothing: the server answers 404; check the address"):
            take(site.url + "/nothing", "a.onnx", tmp_path, FetchOptions())
        with pytest.raises(ModelError, match="as small: not an ONNX file: it is a web page"):
            pulled(site, tmp_path / "cache")
        assert parts(tmp_path / "cache/downloads") == []  # the next try starts anew
        site.files["/small.onnx"] = small_onnx(seed=9)
        with pytest.raises(ModelError, match="it has sha256"):
            pulled(site, tmp_path / "cache")
        site.files["/small.onnx"] = DATA
        pulled(site, tmp_path / "cache")


def test_a_folder_behind_an_address(tmp_path: Path) -> None:
    one = small_manifest(DATA, file="small ++.onnx")
    with serve(Site({"/models/small%20%2B%2B.onnx": DATA})) as site:
        pull(one, tmp_path, lambda _: None, source=site.url + "/models/", accept_licence=True)
        assert model_bytes(one, tmp_path) == DATA
        with pytest.raises(ModelError, match="cannot be listed; name the models"):
            listing(site.url + "/models/", tmp_path, FetchOptions())


def pack(path: Path, prefix: str = "buffalo_l/") -> Path:
    """insightface's packs: some zips hold a folder, others the files."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr(f"{prefix}1k3d68.onnx", b"not wanted")
        made.writestr(f"{prefix}det_10g.onnx", small_onnx(seed=1))
        made.writestr(f"{prefix}w600k_r50.onnx", small_onnx(seed=2))
    return path


@pytest.mark.parametrize("prefix", ["buffalo_l/", ""])
def test_a_pack_is_a_zip(prefix: str, tmp_path: Path) -> None:
    zipped = pack(tmp_path / "buffalo_l.zip", prefix)
    assert listing(str(zipped), tmp_path, FetchOptions()) >= {"det_10g.onnx", "w600k_r50.onnx"}
    found = take(str(zipped), "w600k_r50.onnx", tmp_path, FetchOptions())
    assert found.data == small_onnx(seed=2)
    with pytest.raises(ModelError, match=r"buffalo_l\.zip: holds no det_500m\.onnx"):
        take(str(zipped), "det_500m.onnx", tmp_path, FetchOptions())


def test_a_pack_is_a_folder_or_lies_in_one(tmp_path: Path) -> None:
    with zipfile.ZipFile(pack(tmp_path / "buffalo_l.zip")) as zipped:
        zipped.extractall(tmp_path / "models")
    for where in (tmp_path / "models/buffalo_l", tmp_path / "models", tmp_path):
        assert "det_10g.onnx" in listing(str(where), tmp_path, FetchOptions())
        assert take(str(where), "det_10g.onnx", tmp_path, FetchOptions()).data == small_onnx(seed=1)
    for file in (tmp_path / "models/buffalo_l").iterdir():
        file.unlink()
    # only the zip is left in the folder
    assert take(str(tmp_path), "det_10g.onnx", tmp_path, FetchOptions()).data == small_onnx(seed=1)
    with pytest.raises(ModelError, match=r"holds no det_2\.5g\.onnx; the file must have its published name"):
        take(str(tmp_path), "det_2.5g.onnx", tmp_path, FetchOptions())


def test_two_models_of_one_pack_are_one_download(tmp_path: Path) -> None:
    first = other(small_manifest(small_onnx(seed=1)), "one", "det_10g.onnx")
    second = other(small_manifest(small_onnx(seed=2)), "two", "w600k_r50.onnx")
    with serve(Site({"/buffalo_l.zip": pack(tmp_path / "buffalo_l.zip").read_bytes()})) as site:
        for one in (first, second):
            pull(one, tmp_path / "cache", lambda _: None, source=site.url + "/buffalo_l.zip", accept_licence=True)
        assert site.asked == [("/buffalo_l.zip", None)]
    clear(tmp_path / "cache/downloads")
    assert parts(tmp_path / "cache/downloads") == []


def test_broken_packs_are_one_line(tmp_path: Path) -> None:
    whole = pack(tmp_path / "buffalo_l.zip").read_bytes()
    torn = tmp_path / "torn.zip"
    torn.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match=r"as small: not an ONNX file: it is a zip archive.*; download it again"):
        pull(small_manifest(), tmp_path / "cache", lambda _: None, source=str(torn), accept_licence=True)
    at = whole.index(b"det_10g.onnx") + 40
    torn.write_bytes(whole[:at] + bytes(20) + whole[at + 20 :])
    with pytest.raises(ModelError, match=r"torn\.zip: (zip cannot be read|holds no)"):
        take(str(torn), "det_10g.onnx", tmp_path, FetchOptions())


def test_downloads_that_cannot_be_written(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with serve(Site({"/small.onnx": DATA})) as site, pytest.raises(StorageError, match="cache cannot be written"):
        pulled(site, blocked / "cache")
