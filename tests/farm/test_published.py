"""A job whose film is published and whose state was half cleared: the next call finishes it and renders nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from core.media.stamp import stamp_of
from core.records import EncodeSpec, JobReport, JobSpec
from farm.artifacts import open_store
from farm.driver import files_read, run_job
from farm.places import store_place
from farm.published import FOUND, job_key, look_up, write_down
from farm.settings import RunOptions
from farm.versions import code_hash
from farm.watching.place import find_job, is_made
from tests.actors.films import make_film
from tests.farm.test_driver import RUN, SETTINGS, UNDISTURBED
from tests.system.runs import leftovers

Change = Callable[[JobSpec], JobSpec]


@pytest.fixture
def spec(tmp_path: Path) -> JobSpec:
    film = make_film(tmp_path / "film.mp4", seconds=2)
    encode = EncodeSpec("h264", 30, "ultrafast")
    return JobSpec(str(film), str(tmp_path / "out.mp4"), swapper="none", encode=encode, segment_s=Fraction(1))


def render(spec: JobSpec, run: RunOptions = RUN) -> JobReport:
    return run_job(spec, run, SETTINGS, UNDISTURBED)


def key_of(spec: JobSpec) -> str:
    return job_key(spec, [path for _, path in files_read(spec)], code=code_hash(), quality=False)


def half_cleared(spec: JobSpec) -> JobReport:
    """As a driver leaves it that is killed while it clears: the film is there, what it was made of is gone."""
    report = render(spec, replace(RUN, keep=True))
    root, owner = store_place(None, Path(spec.output))
    with open_store(root, owner) as store:
        write_down(store, key_of(spec), report)
    shutil.rmtree(root / "segments")
    return report


def test_the_next_call_finds_the_film_and_clears_the_rest(spec: JobSpec, tmp_path: Path) -> None:
    report = half_cleared(spec)
    stamp = Path(spec.output).stat()
    found = render(spec)
    assert (found.segments_rendered, found.segments_reused, found.notes) == (0, 2, (*report.notes, FOUND))
    assert (found.output_sha256, found.checks) == (report.output_sha256, report.checks)
    now = Path(spec.output).stat()
    assert (now.st_mtime_ns, now.st_ino) == (stamp.st_mtime_ns, stamp.st_ino)
    assert leftovers(tmp_path, ["film.mp4", "out.mp4"]) == []
    assert FOUND not in render(spec).notes, "a job that is wholly over is made anew"


class Killed(BaseException):
    """The run ends here."""


def killed_at(step: str, spec: JobSpec, patches: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        raise Killed

    with patches.context() as patch:
        patch.setattr(step, killed)
        with pytest.raises(Killed):
            render(spec)


def test_a_film_whose_run_ended_before_it_could_write_it_down_is_not_published_again(
    spec: JobSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(spec.output).write_bytes(b"an older film")
    killed_at("farm.driver.write_down", spec, monkeypatch)
    stamp = stamp_of(Path(spec.output))
    assert stamp.size_bytes > 100
    killed_at("farm.driver.write_down", spec, monkeypatch)
    told = find_job(spec.output).read()
    assert told is not None
    assert is_made(told), "who watches this run sees that the film is its job's"
    again = render(spec)
    assert (again.segments_rendered, again.segments_reused, FOUND in again.notes) == (0, 2, False)
    assert stamp_of(Path(spec.output)).same_file(stamp)
    assert leftovers(tmp_path, ["film.mp4", "out.mp4"]) == []


def test_a_run_that_ends_before_it_publishes_leaves_what_is_there(
    spec: JobSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(spec.output).write_bytes(b"an older film")
    killed_at("farm.stages.publish_film", spec, monkeypatch)
    assert Path(spec.output).read_bytes() == b"an older film"
    told = find_job(spec.output).read()
    assert told is not None
    assert not is_made(told)
    assert render(spec).output_bytes == Path(spec.output).stat().st_size


def test_with_its_state_kept_the_same_film_stays_and_another_comes(spec: JobSpec) -> None:
    keep = replace(RUN, keep=True)
    render(spec, keep)
    stamp = stamp_of(Path(spec.output))
    assert render(spec, keep).segments_reused == 2
    assert stamp_of(Path(spec.output)).same_file(stamp)
    report = render(other_options(spec), keep)
    assert stamp_of(Path(spec.output)).size_bytes == report.output_bytes != stamp.size_bytes
    assert not stamp_of(Path(spec.output)).same_file(stamp)


def touched(spec: JobSpec) -> JobSpec:
    Path(spec.target).touch()
    return spec


def removed(spec: JobSpec) -> JobSpec:
    Path(spec.output).unlink()
    return spec


def altered(spec: JobSpec) -> JobSpec:
    data = bytearray(Path(spec.output).read_bytes())
    data[-1] ^= 1
    Path(spec.output).write_bytes(data)
    return spec


def other_options(spec: JobSpec) -> JobSpec:
    return replace(spec, encode=EncodeSpec("h264", 31, "ultrafast"))


@pytest.mark.parametrize("change", [touched, removed, altered, other_options])
def test_another_target_film_or_job_is_made(
    spec: JobSpec, tmp_path: Path, change: Callable[[JobSpec], JobSpec]
) -> None:
    report = half_cleared(spec)
    again = render(change(spec))
    assert FOUND not in again.notes
    assert again.segments_rendered == 2
    same = change is not other_options
    assert (again.output_sha256 == report.output_sha256) == same
    assert leftovers(tmp_path, ["film.mp4", "out.mp4"]) == []


def test_the_same_film_in_another_file_is_the_one_that_was_published(spec: JobSpec, tmp_path: Path) -> None:
    report = half_cleared(spec)
    output = Path(spec.output)
    shutil.copyfile(output, tmp_path / "copy")
    (tmp_path / "copy").replace(output)
    root, owner = store_place(None, output)
    with open_store(root, owner) as store:
        found = look_up(store, key_of(spec), output)
        assert found is not None
        assert found.output_sha256 == report.output_sha256
        assert look_up(store, "another job", output) is None
        assert look_up(store, key_of(spec), output) is None, "what is of another job is taken away"


def test_a_job_is_what_its_cast_and_the_faces_that_the_cast_names_are(spec: JobSpec, tmp_path: Path) -> None:
    cast, face = tmp_path / "cast.toml", tmp_path / "faces" / "a.png"
    face.parent.mkdir()
    face.write_bytes(b"a face")
    cast.write_text('[[person]]\nname = "A"\nface = ["faces/a.png"]\n')
    with_cast = replace(spec, cast=str(cast))
    keys = [key_of(spec), key_of(with_cast)]
    face.write_bytes(b"another face")
    keys.append(key_of(with_cast))
    cast.write_text('[[person]]\nname = "A"\nface = "faces"\n')
    keys.append(key_of(with_cast))
    (face.parent / "b.png").write_bytes(b"one more")
    keys.append(key_of(with_cast))
    assert len(set(keys)) == 5
    assert "" not in keys
    cast.write_text("not TOML")
    assert key_of(with_cast) == ""
