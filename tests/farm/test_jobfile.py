"""Job files: what the options say and nothing else, however it is written; one line for what is no job."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any, get_args

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as some

import render as script
from core import codec
from core.errors import InputError
from core.records import EncodeSpec, JobSpec, MaskKind, PasteKind, SourceSpec, SwapOptions
from farm.jobfile import JobFile, parse_job, read_job
from farm.settings import RunOptions
from farm.store.s3path import ObjectPath
from tests.actors.films import make_film
from tests.system.runs import farm_here

TEXTS = some.text(min_size=1).filter(lambda text: "\0" not in text and not text.startswith("s3://"))
NAMES = TEXTS.map(lambda text: "x" + text.encode(errors="ignore").decode())
UNITS = some.floats(0, 1)
SPECS = some.builds(
    JobSpec,
    target=NAMES,
    output=NAMES,
    source=some.none() | some.builds(SourceSpec, NAMES, some.none() | some.integers(1, 9), some.tuples(NAMES)),
    swap=some.builds(
        SwapOptions,
        boost=some.integers(1, 8),
        strength=UNITS,
        masks=some.lists(some.sampled_from(get_args(MaskKind)), min_size=1, unique=True).map(tuple),
        paste=some.sampled_from(get_args(PasteKind)),
    ),
    least_face_px=some.floats(0, 1000),
    encode=some.builds(EncodeSpec, some.none() | some.just("hevc"), some.none() | some.integers(0, 51)),
    segment_s=some.fractions(0, 1000),
)
RUNS = some.builds(
    RunOptions,
    workers=some.none() | some.integers(1, 999),
    address=some.none() | some.just("auto"),
    store=some.none() | NAMES.map(Path) | some.just(ObjectPath("s3://bucket/a prefix")),
    keep=some.booleans(),
)
LEAST = {"spec": {"target": "a.mp4", "output": "b.mp4"}}


@given(SPECS, RUNS)
def test_what_is_written_is_read(spec: JobSpec, run: RunOptions) -> None:
    job = JobFile(spec, run)
    again = parse_job(codec.encode(job))
    assert again == job
    assert type(again.run.store) is type(run.store)


def put(tmp_path: Path, value: Any) -> Path:
    file = tmp_path / "job.json"
    file.write_text(value if isinstance(value, str) else json.dumps(value))
    return file


def test_what_is_left_out_is_as_the_command_has_it(tmp_path: Path) -> None:
    assert read_job(put(tmp_path, LEAST)) == JobFile(JobSpec("a.mp4", "b.mp4"), RunOptions())


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("", "not a JobFile"),
        ("[]", "not a JobFile"),
        ("[" * 100_000, "not a JobFile"),
        ({}, "missing required field `spec`"),
        ({"spec": {"target": "a.mp4"}}, "missing required field `output`"),
        ({"spec": {**LEAST["spec"], "sorce": {"path": "a.png"}}}, "unknown key spec.sorce"),
        ({**LEAST, "runs": {}}, "unknown key runs"),
        ({**LEAST, "run": {"adress": "auto"}}, "unknown key run.adress"),
        ({"spec": {**LEAST["spec"], "swap": {"boost": 9}}}, "spec.swap.boost is 9"),
        ({"spec": {**LEAST["spec"], "swap": {"paste": "glue"}}}, "Invalid enum value 'glue'"),
        ({"spec": {**LEAST["spec"], "swap": {"masks": []}}}, "spec.swap.masks is empty"),
        ({"spec": {**LEAST["spec"], "swap": {"mask_padding": [0, 0, 0, 1]}}}, "spec.swap.mask_padding is 1"),
        ({"spec": {**LEAST["spec"], "segment_s": "-1"}}, "spec.segment_s is -1"),
        ({"spec": {**LEAST["spec"], "segment_s": "1/0"}}, "beyond all bounds"),
        ({"spec": {**LEAST["spec"], "segment_s": "soon"}}, "not a JobFile"),
        ({"spec": {**LEAST["spec"], "select": "reference"}}, "need each other"),
        ({"spec": {**LEAST["spec"], "cast": "c", "source": {"path": "a.png"}}}, "spec.cast says who becomes whom"),
        ({"spec": {"target": "", "output": "b.mp4"}}, "is empty"),
        ({"spec": {"target": "a\0", "output": "b.mp4"}}, "zero byte"),
        ({**LEAST, "run": {"workers": 0}}, "run.workers is 0"),
        ({**LEAST, "run": {"local": True, "address": "auto"}}, "run.local runs in one process"),
    ],
)
def test_what_is_no_job_is_told_in_one_line(value: Any, told: str, tmp_path: Path) -> None:
    file = put(tmp_path, value)
    with pytest.raises(InputError) as caught:
        read_job(file)
    assert told in str(caught.value)
    assert caught.value.hint
    ran = farm_here("job", file)
    assert ran.code == 2
    assert told in ran.error_line


def test_no_file_a_folder_and_a_large_one(tmp_path: Path) -> None:
    for file, told in ((tmp_path / "none", "No such file"), (tmp_path, "directory")):
        assert told in farm_here("job", file).error_line
    assert "larger than any" in farm_here("job", put(tmp_path, " " * (1 << 20) + json.dumps(LEAST))).error_line
    ran = farm_here("render", "a.mp4", "-o", "b.mp4", "--write-job", tmp_path / "no" / "job.json")
    assert ran.code == 2
    assert "the job cannot be written: No such file" in ran.error_line


def test_a_command_as_a_file_means_the_same(s3: str, tmp_path: Path) -> None:
    boto3.client("s3").create_bucket(Bucket="state")
    file = tmp_path / "my job's file.json"
    options = ["--source", "a $HOME 'face'.png", "--swapper", "mesh", "--crf", "20", "--segment-seconds", "1001/30"]
    ran = farm_here(
        "render", "a film; rm -rf.mp4", "-o", "out (1).mp4", *options, "--address", "auto", "--store", "s3://state/c",
        "--write-job", file,
    )  # fmt: skip
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    job = read_job(file)
    spec = JobSpec(
        "a film; rm -rf.mp4",
        "out (1).mp4",
        SourceSpec("a $HOME 'face'.png"),
        encode=EncodeSpec(crf=20),
        segment_s=Fraction(1001, 30),
    )
    assert job == JobFile(spec, RunOptions(address="auto", store=ObjectPath("s3://state/c")))


def test_what_the_script_s_arguments_mean() -> None:
    assert script.command(["a.mp4", "-o", "b.mp4"]) == ["render", "a.mp4", "-o", "b.mp4"]
    assert script.command(["--json", "--job", "j.json"]) == ["job", "--json", "j.json"]
    assert script.command(["--job=j.json", "--json"]) == ["job", "j.json", "--json"]


def test_a_job_file_makes_the_film(tmp_path: Path) -> None:
    film = make_film(tmp_path / "a film.mp4", seconds=2)
    options = ["--swapper", "none", "--local", "--keep"]
    ran = farm_here("render", film, "-o", tmp_path / "out.mp4", *options, "--write-job", tmp_path / "job.json")
    assert ran.code == 0
    assert not (tmp_path / "out.mp4").exists()
    made = farm_here("job", tmp_path / "job.json", "--json").report
    plain = farm_here("render", film, "-o", tmp_path / "b.mp4", *options, "--json").report
    assert made.output_sha256 == plain.output_sha256
    assert (tmp_path / "out.mp4.farm").is_dir(), "the job says that the state is kept"


def test_jobs_in_a_bucket(s3: str, tmp_path: Path) -> None:
    boto3.client("s3").create_bucket(Bucket="jobs")
    ran = farm_here("render", "a.mp4", "-o", "b.mp4", "--write-job", "s3://jobs/tonight/job.json")
    assert (ran.code, ran.err) == (0, "")
    assert read_job(ObjectPath("s3://jobs/tonight/job.json")) == JobFile(JobSpec("a.mp4", "b.mp4"))
    ran = farm_here("job", "s3://jobs/none.json")
    assert ran.code == 2
    assert ran.error_line == "farm: s3://jobs/none.json: no such file; check the path"
