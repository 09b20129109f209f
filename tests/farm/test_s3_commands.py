"""Every command on films in a bucket: what it says and makes is what it says and makes of files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from core.errors import InputError
from farm.castguard import put_aside
from farm.clusterfile.supply import node_supply
from farm.cost.prices import load_prices
from farm.paths import link_from, place, place_from
from farm.store.s3path import ObjectPath
from farm.store.whole import put_whole
from tests.media_clips import make_clip
from tests.system.runs import Ran, farm_here
from tests.two_people import make_two_people, sources

LOCAL = ("--local", "--json")


@pytest.fixture
def films(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    (tmp_path / "local").mkdir()  # the server's files go there too
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "local"))
    made = boto3.resource("s3").Bucket("films")
    made.create()
    made.objects.all().delete()
    yield made
    made.objects.all().delete()


def names(films: Any) -> list[str]:
    return sorted(entry.key for entry in films.objects.all())


def body(films: Any, key: str) -> bytes:
    data: bytes = films.Object(key).get()["Body"].read()
    return data


def done(ran: Ran) -> Any:
    assert ran.code == 0, ran.err
    return ran.json


@pytest.mark.heavy
def test_probe_and_verify_say_of_an_object_what_they_say_of_a_file(films: Any, clips: Path) -> None:
    near, far = make_clip("cfr_mp4", clips), "s3://films/in/a film.mp4"
    films.put_object(Key="in/a film.mp4", Body=near.read_bytes())
    said = done(farm_here("probe", far, "--json"))
    assert said | {"path": str(near)} == done(farm_here("probe", near, "--json"))
    for pair in ((far, near), (near, far), (far, far)):
        assert done(farm_here("verify", *pair, "--json")) == done(farm_here("verify", near, near, "--json"))
    for command in (("probe", "s3://films/none.mp4"), ("verify", near, "s3://films/none.mp4")):
        ran = farm_here(*command)
        assert (ran.code, "s3://films/none.mp4: no such file" in ran.error_line) == (2, True)
    films.put_object(Key="text.mp4", Body=b"hello, there is no film here\n")
    ran = farm_here("probe", "s3://films/text.mp4")
    assert (ran.code, "s3://films/text.mp4: is a text file" in ran.error_line) == (2, True)


@pytest.mark.heavy
def test_a_film_is_cast_in_a_bucket_and_rendered_from_there(films: Any, tmp_path: Path) -> None:
    film = make_two_people(tmp_path / "film.mp4")
    pictures = sources(tmp_path)
    films.upload_file(str(film), "in/film.mp4")
    films.upload_file(str(pictures[0]), "faces/astronaut.png")

    known = ("--known", "Eileen=s3://films/faces/astronaut.png")
    report = done(farm_here("cast", "s3://films/in/film.mp4", *known, *LOCAL))
    assert report["cast"] == "s3://films/in/film.cast/cast.toml"
    assert sorted(person["name"] for person in report["people"]) == ["", "Eileen"]
    beside = {name.removeprefix("in/film.cast/") for name in names(films) if name.startswith("in/film.cast/")}
    made = {"analysis.json", "cast.png", "cast.toml", "doubts.json", "index.html", "people/p1.jpg", "people/p2.jpg"}
    assert made <= beside
    assert {name.split("/")[0] for name in beside - made} == {"store"}
    assert b'href="../film.mp4' in body(films, "in/film.cast/index.html")

    ran = farm_here("cast", "s3://films/in/film.mp4", *LOCAL)
    assert (ran.code, "there is a cast already" in ran.error_line) == (2, True)
    again = done(farm_here("analyse", "s3://films/in/film.mp4", *LOCAL))
    assert again["segments_reused"] == again["segments"] > 0

    text = body(films, "in/film.cast/cast.toml").decode()
    first, second = text.split('id = "p2"')
    for source, words in (("her.png", 'no source image "her.png"; paths start at s3://films/in/film.cast'), ("", "")):
        asked = source or "../../faces/astronaut.png"
        edited = first.replace('source = ""', f'source = "{asked}"') + 'id = "p2"' + second
        films.put_object(Key="in/film.cast/cast.toml", Body=edited.encode())
        render = ("render", "s3://films/in/film.mp4", "--cast", "s3://films/in/film.cast/cast.toml")
        ran = farm_here(*render, "-o", "s3://films/o.mp4", "--preset", "ultrafast", *LOCAL)
        if words:
            assert (ran.code, words in ran.error_line) == (2, True), ran.err
    assert ran.report.segments_reused == 0

    # the same of files, in a folder that the bucket's was copied to
    for name in [name for name in names(films) if name.startswith("in/film.cast/")]:
        target = tmp_path / name.removeprefix("in/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(body(films, name))
    cast = tmp_path / "film.cast" / "cast.toml"
    cast.write_text(cast.read_text().replace("../../faces/astronaut.png", str(pictures[0])))
    near = ("render", film, "--cast", cast, "-o", tmp_path / "o.mp4", "--preset", "ultrafast", *LOCAL)
    assert farm_here(*near).report.faces == ran.report.faces > 0
    assert (tmp_path / "o.mp4").read_bytes() == body(films, "o.mp4")

    compared = ("compare", "s3://films/in/film.mp4", "s3://films/o.mp4", "--cast", "s3://films/in/film.cast", "--json")
    far_report = done(farm_here(*compared))
    near_report = done(farm_here("compare", film, tmp_path / "o.mp4", "--cast", tmp_path / "film.cast", "--json"))
    assert far_report["people"][0] | {"source": ""} == near_report["people"][0] | {"source": ""}
    assert {"o.mp4.quality/index.html", "o.mp4.quality/report.json"} <= set(names(films))
    assert json.loads(body(films, "o.mp4.quality/report.json"))["original"] == "s3://films/in/film.mp4"
    shutil.rmtree(tmp_path / "film.cast")

    forced = done(farm_here("cast", "s3://films/in/film.mp4", "--force", *LOCAL))
    assert "the cast that was here is kept as cast.toml.old" in forced["notes"]
    assert body(films, "in/film.cast/cast.toml.old").decode() == edited
    films.put_object(Key="other/letter.txt", Body=b"dear")
    ran = farm_here("analyse", "s3://films/in/film.mp4", "-o", "s3://films/other", *LOCAL)
    assert (ran.code, "not empty, and not the folder of a cast" in ran.error_line) == (2, True)


def test_a_cast_in_a_bucket_is_put_aside(films: Any) -> None:
    cast = ObjectPath("s3://films/x.cast/cast.toml")
    assert put_aside(cast) is None
    for text, kept in ((b"one", "cast.toml.old"), (b"one", "cast.toml.old"), (b"two", "cast.toml.old.2")):
        put_whole(cast, text)
        aside = put_aside(cast)
        assert aside is not None
        assert (aside.name, aside.read_bytes()) == (kept, text)
    assert names(films) == ["x.cast/cast.toml.old", "x.cast/cast.toml.old.2"]
    film, folder = ObjectPath("s3://films/in/a film.mp4"), ObjectPath("s3://films/in/a.cast")
    assert link_from(folder, film) == "../a%20film.mp4"
    assert link_from(Path("/home/cast"), film) == "s3://films/in/a%20film.mp4"
    assert link_from(folder, Path("/films/a.mp4")) == "/films/a.mp4"
    assert place_from(folder, "faces/a.png") == ObjectPath("s3://films/in/a.cast/faces/a.png")
    assert place_from(Path("/home/cast"), "s3://films/a.png") == ObjectPath("s3://films/a.png")
    with pytest.raises(InputError, match="leads out of the bucket"):
        place_from(folder, "../../../a.png")


def test_prices_and_a_cluster_file_out_of_a_bucket(films: Any) -> None:
    films.put_object(Key="prices.toml", Body='currency = "EUR"\n[kinds]\n"Gehäuse" = "g6.xlarge spot"\n'.encode())
    films.put_object(Key="cluster.yaml", Body=Path(__file__).parents[2].joinpath("cluster.yaml").read_bytes())
    assert load_prices(place("s3://films/prices.toml")).own == ("Gehäuse",)
    assert node_supply(place("s3://films/cluster.yaml")).at_most == 200
    for read in (load_prices, node_supply):
        with pytest.raises(InputError, match="No such file or directory"):
            read(place("s3://films/none"))


def test_a_prefix_is_a_folder(films: Any) -> None:
    for key in ("a/b/c.txt", "a/d.txt", "e.txt"):
        films.put_object(Key=key, Body=key.encode())
    root = ObjectPath("s3://films")
    assert sorted(str(path) for path in root.iterdir()) == ["s3://films/a", "s3://films/e.txt"]
    folder = root / "a"
    assert (folder.is_dir(), folder.is_file(), folder.exists()) == (True, False, True)
    assert sorted(path.name for path in folder.iterdir()) == ["b", "d.txt"]
    assert (folder / "../e.txt").read_bytes() == b"e.txt"
    assert folder.joinpath("b", "c.txt").read_bytes() == b"a/b/c.txt"
    assert str((folder / "d.txt").parent) == "s3://films/a"
    assert str((folder / "d.txt").with_suffix(".cast")) == "s3://films/a/d.cast"
    assert folder / "/etc/hosts" == Path("/etc/hosts")
    assert not (folder / "none").exists()
    (folder / "n.txt").write_bytes(b"new")
    assert body(films, "a/n.txt") == b"new"
    (folder / "n.txt").unlink()
    (folder / "n.txt").unlink(missing_ok=True)
    for missing in ((folder / "n.txt").unlink, (folder / "n.txt").read_bytes):
        with pytest.raises(FileNotFoundError):
            missing()
