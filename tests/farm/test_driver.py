"""A job from end to end in this process, with something done to its film or its store at a stage."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import pytest

from actors.drive import Happening, Order, Watch
from core.errors import FarmError, InputError, StorageError
from core.records import EncodeSpec, JobReport, JobSpec
from farm.artifacts import DiskStore
from farm.driver import run_job
from farm.settings import RunOptions, Settings
from farm.tidy import UNTIDY, tidied
from tests.actors.films import make_film
from tests.system.runs import leftovers

SETTINGS = Settings(cores=2, model_cache=Path("unused"))
RUN = RunOptions(local=True)


@dataclass
class At:
    """Progress that does something when a stage begins."""

    name: str
    act: Callable[[], None]

    def stage(self, name: str) -> None:
        if name == self.name:
            self.act()

    def watch(self, orders: Sequence[Order], open_orders: Sequence[Order]) -> Watch:
        assert len(open_orders) <= len(orders)
        heard: list[Happening] = []
        return lambda happening, _: heard.append(happening)

    def note(self, text: str) -> None:
        assert text

    def close(self) -> None:
        assert self.name


UNDISTURBED = At("no such stage", lambda: None)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_film(tmp_path_factory.mktemp("film") / "film.mp4", seconds=3)


@pytest.fixture
def spec(tmp_path: Path, original: Path) -> JobSpec:
    film = tmp_path / "film.mp4"
    film.write_bytes(original.read_bytes())
    return make_spec(film, tmp_path / "out.mp4")


def make_spec(film: Path, output: Path, crf: int = 30) -> JobSpec:
    encode = EncodeSpec("h264", crf, "ultrafast")
    return JobSpec(str(film), str(output), swapper="none", encode=encode, segment_s=Fraction(1))


def render(spec: JobSpec, run: RunOptions = RUN, progress: At = UNDISTURBED) -> JobReport:
    return run_job(spec, run, SETTINGS, progress)


def segments(store: Path) -> list[Path]:
    return sorted(store.glob("segments/*/*.mp4"))


@pytest.mark.parametrize("stage", ["plan", "render", "join", "verify"])
def test_a_film_that_changes_during_the_job_is_not_published(spec: JobSpec, tmp_path: Path, stage: str) -> None:
    def change() -> None:
        with Path(spec.target).open("r+b") as file:
            file.seek(-4000, os.SEEK_END)
            file.write(b"\0" * 4000)

    with pytest.raises(InputError, match="the film changed while it was rendered"):
        render(spec, RUN, At(stage, change))
    assert not Path(spec.output).exists()
    assert leftovers(tmp_path, ["film.mp4", "out.mp4.farm"]) == []


def test_a_film_put_in_place_of_another_during_the_job(spec: JobSpec, tmp_path: Path) -> None:
    film = Path(spec.target)

    def replace_film() -> None:
        status = film.stat()
        other = tmp_path / "other.mp4"
        other.write_bytes(film.read_bytes())
        os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
        other.replace(film)

    with pytest.raises(InputError, match="the film changed while it was rendered"):
        render(spec, RUN, At("verify", replace_film))
    assert not Path(spec.output).exists()
    # The bytes are the same, so the work is not lost.
    assert render(spec).segments_reused == 3
    assert leftovers(tmp_path, ["film.mp4", "out.mp4"]) == []


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize(
    ("name", "harm"),
    [
        ("segments/*/*.mp4", flip),
        ("segments/*/*.mp4", cut),
        ("segments/*/DONE.json", cut),
        ("index/*.json", flip),
        ("index/*.json", cut),
        ("plan/*.json", cut),
    ],
)
def test_kept_state_that_was_harmed_is_made_again(
    spec: JobSpec, tmp_path: Path, name: str, harm: Callable[[Path], None]
) -> None:
    kept = RunOptions(local=True, keep=True)
    whole = render(spec, kept)
    store = tmp_path / "out.mp4.farm"
    first = sorted(store.glob(name))[0]
    harm(first)
    again = render(spec, kept)
    assert again.output_sha256 == whole.output_sha256
    assert again.segments_rendered == (1 if name.startswith("segments") else 0)
    assert hashlib.sha256(Path(spec.output).read_bytes()).hexdigest() == whole.output_sha256


def test_a_segment_harmed_before_the_join_is_named_and_rendered_anew(spec: JobSpec, tmp_path: Path) -> None:
    store = tmp_path / "out.mp4.farm"
    with pytest.raises(StorageError, match="was altered after it was rendered"):
        render(spec, RUN, At("join", lambda: flip(segments(store)[1])))
    assert not Path(spec.output).exists()
    report = render(spec)
    assert (report.segments_rendered, report.segments_reused) == (1, 2)
    assert leftovers(tmp_path, ["film.mp4", "out.mp4"]) == []


def stop_at_join() -> None:
    raise FarmError("stopped")


def test_a_job_leaves_the_work_of_another_in_their_store(spec: JobSpec, tmp_path: Path) -> None:
    shared = RunOptions(local=True, store=tmp_path / "shared")
    other = make_spec(Path(spec.target), tmp_path / "other.mp4", crf=35)
    with pytest.raises(FarmError, match="stopped"):
        render(other, shared, At("join", stop_at_join))
    theirs = segments(tmp_path / "shared")
    assert len(theirs) == 3
    assert render(spec, shared).segments_rendered == 3
    assert segments(tmp_path / "shared") == theirs
    with pytest.raises(InputError, match="crf"):
        render(make_spec(Path(spec.target), tmp_path / "third.mp4", crf=999), shared)
    assert segments(tmp_path / "shared") == theirs
    assert render(other, shared).segments_reused == 3
    assert leftovers(tmp_path, ["film.mp4", "out.mp4", "other.mp4"]) == []


def test_what_an_earlier_wish_for_the_same_output_left_goes_with_it(spec: JobSpec, tmp_path: Path) -> None:
    with pytest.raises(FarmError, match="stopped"):
        render(spec, RUN, At("join", stop_at_join))
    render(make_spec(Path(spec.target), Path(spec.output), crf=35))
    assert leftovers(tmp_path, ["film.mp4", "out.mp4"]) == []


def test_a_store_moved_with_its_film_and_output_goes_on_and_goes_away(spec: JobSpec, tmp_path: Path) -> None:
    with pytest.raises(FarmError, match="stopped"):
        render(spec, RUN, At("join", stop_at_join))
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("film.mp4", "out.mp4.farm"):
        (tmp_path / name).rename(moved / name)
    assert render(make_spec(moved / "film.mp4", moved / "out.mp4")).segments_reused == 3
    assert leftovers(moved, ["film.mp4", "out.mp4"]) == []


@dataclass
class Notes(At):
    """Progress that keeps its notes."""

    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        self.notes.append(text)


def refuse(_: DiskStore) -> None:
    raise StorageError("the bucket does not answer", where="s3://films/farm", hint="try again")


UNCLEARED = f"{UNTIDY}: s3://films/farm: the bucket does not answer"


@pytest.mark.parametrize("keep", [False, True])
def test_a_store_that_cannot_be_cleared_does_not_undo_a_published_film(
    spec: JobSpec, monkeypatch: pytest.MonkeyPatch, keep: bool
) -> None:
    with monkeypatch.context() as broken:
        # what a bucket may say at any time, at the moment when all is done
        broken.setattr(DiskStore, "finish" if keep else "close_down", refuse)
        report = render(spec, RunOptions(local=True, keep=keep))
    assert report.notes[-1] == UNCLEARED
    assert hashlib.sha256(Path(spec.output).read_bytes()).hexdigest() == report.output_sha256
    assert UNCLEARED not in render(spec, RunOptions(local=True, keep=keep)).notes


def test_a_store_that_cannot_be_cleared_does_not_hide_what_ended_the_job(
    spec: JobSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop() -> None:
        monkeypatch.setattr(DiskStore, "sweep", refuse)
        stop_at_join()

    progress = Notes("join", stop)
    with pytest.raises(FarmError, match="stopped"):
        render(spec, RUN, progress)
    assert UNCLEARED not in progress.notes  # the line of the error is the only one


def test_what_a_disk_says_to_tidying_is_one_line() -> None:
    def full() -> None:
        raise OSError(errno.EIO, "input/output error", "/store/tmp")

    assert tidied(full) == f"{UNTIDY}: /store/tmp: input/output error"
    assert tidied(lambda: None) == ""
