"""Films out of a bucket: read as files are, only what is needed of them, and refused when they change."""

from __future__ import annotations

import hashlib
import importlib
import os
import pickle
import random
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import boto3
import pytest

from core.errors import InputError
from core.media.decode import DecodedFrame, decode_segment
from core.media.index import index_film
from core.media.plan import plan_segments
from core.media.stamp import check_stamp, stamp_of
from farm.stages import index_film_safely
from farm.store.bucket import Bucket
from farm.store.ranged import AHEAD_BLOCKS, Blocks, ObjectFile
from farm.store.refusals import Patience
from farm.store.s3path import ObjectPath, place_of
from tests.media_clips import ffmpeg, make_clip
from tests.system.runs import farm_here

DATA = random.Random(7).randbytes(700_001)


@pytest.fixture
def films(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    (tmp_path / "local").mkdir()  # the server's files go there too
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "local"))
    made = boto3.resource("s3").Bucket("films")
    made.create()
    made.objects.all().delete()
    yield made
    made.objects.all().delete()


def test_an_object_reads_as_a_file_does(films: Any, tmp_path: Path) -> None:
    films.put_object(Key="a.bin", Body=DATA)
    (tmp_path / "a.bin").write_bytes(DATA)
    bucket = Bucket("films")
    head = bucket.head("a.bin")
    assert head is not None
    blocks = Blocks(bucket, head, block_bytes=10_000, kept=8)
    draw = random.Random(1)
    with ObjectFile(blocks, "a") as far, (tmp_path / "a.bin").open("rb") as near:
        for _ in range(60):
            whence = draw.choice([os.SEEK_SET, os.SEEK_END, os.SEEK_CUR])
            place = draw.randrange(0, len(DATA)) if whence == os.SEEK_SET else -draw.randrange(0, near.tell() + 1)
            place = max(place, -len(DATA)) if whence == os.SEEK_END else place
            assert far.seek(place, whence) == near.seek(place, whence)
            size = draw.choice([0, 1, 999, 10_000, 35_000])
            assert far.read(size) == near.read(size)
            assert far.tell() == near.tell()
        far.seek(0)
        assert far.readall() == DATA
        with pytest.raises(OSError, match="before the start"):
            far.seek(-1)
    assert len(blocks._blocks) <= max(8, AHEAD_BLOCKS)


def test_reading_on_asks_for_more_at_a_time_and_jumping_does_not(films: Any) -> None:
    films.put_object(Key="a.bin", Body=DATA)
    asked: list[tuple[int, int]] = []

    class Counting(Bucket):
        def part(self, key: str, etag: str, first: int, size: int, patience: Patience | None = None) -> bytes:
            asked.append((first, size))
            return super().part(key, etag, first, size, patience)

    bucket = Counting("films")
    head = bucket.head("a.bin")
    assert head is not None
    far = ObjectFile(Blocks(bucket, head, block_bytes=1000, kept=100), "a")
    for _ in range(60):
        far.read(1000)
    assert [size for _, size in asked] == [1000, 2000, 4000, 8000, 16000, 32000]
    asked.clear()
    for place in (600_000, 200_000, 400_000):
        far.seek(place)
        far.read(10)
    assert asked == [(600_000, 1000), (200_000, 1000), (400_000, 1000)]


def test_what_is_read_is_hashed_as_it_comes(films: Any) -> None:
    """Whatever is read in which order, the hash is that of all, and what was read on is not fetched again."""
    films.put_object(Key="a.bin", Body=DATA)
    bucket = Bucket("films")
    head = bucket.head("a.bin")
    assert head is not None
    draw = random.Random(3)
    for places in ([], [650_000, 0], [0, 30_000, 95_000], [draw.randrange(len(DATA)) for _ in range(20)]):
        blocks = Blocks(bucket, head, block_bytes=10_000, kept=8)
        with blocks.hashed() as whole, ObjectFile(blocks, "a") as file:
            for place in places:
                file.seek(place)
                assert file.read(15_000) == DATA[place : place + 15_000]
            assert whole() == hashlib.sha256(DATA).hexdigest() == whole()
    blocks = Blocks(bucket, head, block_bytes=10_000, kept=8)
    with blocks.hashed() as whole, ObjectFile(blocks, "a") as file:
        while file.read(9_999):
            file.seek(25_000, os.SEEK_CUR)  # as a demuxer passes over what it does not want
        assert whole() == hashlib.sha256(DATA).hexdigest()
    assert blocks.bytes_fetched == len(DATA)


def test_a_path_into_a_bucket_is_a_path(films: Any) -> None:
    films.put_object(Key="in/a film.mp4", Body=DATA)
    path = place_of("s3://films/in/a film.mp4")
    assert (str(path), path.name, path.suffix) == ("s3://films/in/a film.mp4", "a film.mp4", ".mp4")
    assert str(path.with_name("o.mp4.farm")) == "s3://films/in/o.mp4.farm"
    assert path.absolute() == path.resolve() == path == pickle.loads(pickle.dumps(path))
    assert path.stat().st_size == len(DATA)
    with path.open("rb") as file:
        assert file.read() == DATA
    assert not ObjectPath("s3://films/none").exists()
    with pytest.raises(FileNotFoundError):
        ObjectPath("s3://films/none").stat()
    for bad in ("s3://", "s3:///a", "s3://films/../a", "s3://films/a\0"):
        with pytest.raises(InputError, match="not an address in a bucket"):
            place_of(bad)


def test_a_first_look_is_over_within_minutes(films: Any) -> None:
    films.put_object(Key="film", Body=DATA)
    module, _, name = ObjectPath.opener.partition(":")
    looked: ObjectPath = getattr(importlib.import_module(module), name)("s3://films/film")
    assert looked == ObjectPath("s3://films/film")
    assert looked.bucket.patience.longest_s == ObjectPath.wait_s < 180
    with looked.open("rb") as file:
        assert file.read() == DATA


def test_a_film_that_changes_is_refused(films: Any) -> None:
    films.put_object(Key="a.bin", Body=DATA)
    path = ObjectPath("s3://films/a.bin")
    begun = stamp_of(path)
    assert check_stamp(pickle.loads(pickle.dumps(path)), begun) == begun
    file = path.open("rb")
    file.read(10)
    films.put_object(Key="a.bin", Body=DATA[::-1])
    file.seek(600_000)
    with pytest.raises(InputError, match="changed while it was read"):
        file.read(10)
    with pytest.raises(InputError, match="changed while it was rendered"):
        check_stamp(path, begun)


def frames_of(decoded: Iterator[DecodedFrame]) -> list[tuple[int, bytes]]:
    return [(one.pts, one.frame.to_ndarray().tobytes()) for one in decoded]


@pytest.mark.heavy
def test_a_segment_of_a_long_film_costs_its_own_bytes(films: Any, tmp_path: Path) -> None:
    """Noise of 40 s, with the table of frames at the end of the file: one GOP in its middle, then the next one."""
    near = tmp_path / "film.mp4"
    picture = ["-f", "lavfi", "-i", "testsrc2=size=128x96:rate=25:duration=40,noise=alls=100:allf=t"]
    ffmpeg(*picture, "-c:v", "libx264", "-preset", "ultrafast", "-crf", "1", "-g", "25", "-pix_fmt", "yuv420p", near)
    Bucket("films").upload("film.mp4", near, "")
    far = ObjectPath("s3://films/film.mp4")
    head = far.head()
    assert head is not None
    far._blocks = Blocks(far.bucket, head, kept=12)  # as little of the film as of a long one
    index = index_film_safely(far)
    assert index.sha256 == index_film(near).sha256
    segments = plan_segments(index, Fraction(1))
    size = near.stat().st_size
    assert size > 8 << 20
    assert size <= far.bytes_fetched < 1.25 * size, "the film comes over the line once, and its head and tail again"
    fresh = ObjectPath("s3://films/film.mp4")
    spent = []
    for segment in segments[20:22]:
        before = fresh.bytes_fetched
        made = [(shown.pts, shown.frame.to_ndarray().tobytes()) for shown in decode_segment(fresh, index, segment)]
        assert made == [
            (shown.pts, shown.frame.to_ndarray().tobytes()) for shown in decode_segment(near, index, segment)
        ]
        spent.append(fresh.bytes_fetched - before)
    assert max(spent) < size / 4, (spent, size)
    assert spent[1] < spent[0], "headers and what was read ahead are kept"


@pytest.mark.heavy
def test_farm_render_reads_and_writes_buckets(films: Any, clips: Path, tmp_path: Path) -> None:
    films.put_object(Key="film.mp4", Body=make_clip("cfr_mp4", clips).read_bytes())
    plain = ("--swapper", "none", "--local", "--preset", "ultrafast", "--json")
    ran = farm_here("render", "s3://films/film.mp4", "-o", "s3://films/out/o.mp4", *plain)
    assert ran.report.output == "s3://films/out/o.mp4"
    assert sorted(entry.key for entry in films.objects.all()) == ["film.mp4", "out/o.mp4"]
    kept = ("-o", tmp_path / "o.mp4", "--store", "s3://films/st", "--keep")
    ran = farm_here("render", "s3://films/film.mp4", *kept, *plain)
    assert ran.code == 0, ran.err
    assert (tmp_path / "o.mp4").read_bytes() == films.Object("out/o.mp4").get()["Body"].read()
    again = farm_here("render", "s3://films/film.mp4", *kept, *plain)
    assert again.report.segments_reused == again.report.segments
    films.Versioning().enable()
    far = ("-o", "s3://films/out/p.mp4", *kept[2:])
    for _ in range(2):
        assert farm_here("render", "s3://films/film.mp4", *far, *plain).code == 0
    assert len(list(films.object_versions.filter(Prefix="out/p.mp4"))) == 1, "a film that is there is not put again"
    for target, words in (("s3://films/none.mp4", "no such file"), ("s3://nowhere/a.mp4", "no such bucket")):
        ran = farm_here("render", target, "-o", tmp_path / "p.mp4", *plain)
        assert ran.code == 2
        assert words in ran.error_line
    same = farm_here("render", "s3://films/film.mp4", "-o", "s3://films/film.mp4", *plain)
    assert (same.code, "the output is the target itself" in same.error_line) == (2, True)
